package store

import (
	"context"
	"fmt"
	"runtime"
	"time"

	bolt "go.etcd.io/bbolt"
)

// One goroutine writes state.db. It applies what the inbox received, and it is the one door for
// outcomes: takes, settlements and the operator's commands ride in the same transactions, so that
// nothing ever edits the outbox behind apply's back.

// command is something to do in the writer's next transaction.
type command struct {
	do    func(b *batch) error
	after func(b *batch) // reads the result, once everything is written and before the commit
	done  chan error     // buffer of one
}

const (
	// portionLeast and portionMost bound how much of the inbox one transaction applies; see portion.
	portionLeast = 1 << 20
	portionMost  = 8 << 20

	// While events are being acknowledged, apply shares processors and disk with them, and yields: after
	// a batch it rests some times as long as the batch took, and the next batch gathers more records for
	// the pages it writes. In a crowd, when commits of the inbox gather crowd records and more, whoever
	// sends is waiting for the disk: apply rests longer then. It rests less the longer the oldest record
	// has waited, and not at all once that is patience: so a burst is acknowledged as fast as the inbox
	// can, and under a load that stays a record waits about so long where apply keeps up: two minutes of as
	// much as 64 connections can send left 4 to 6 s with nothing stored. With 20 million users they left
	// 8 s after a fresh start, and 15 to 19 s behind a burst. With 10 s of patience, and a rest all the
	// same, it was 16 to 35 s.
	restFactor  = 4
	minRest     = 20 * time.Millisecond
	maxRest     = 500 * time.Millisecond
	crowd       = 12
	crowdFactor = 19
	crowdRest   = 4 * time.Second
	patience    = 6 * time.Second

	// writeRetry is how long the writer waits after a failed transaction, as on a full disk.
	writeRetry = time.Second
)

func (s *Store) writeLoop() {
	defer close(s.gone)
	rest := time.NewTimer(0)
	defer rest.Stop()
	rested := false // apply may go on
	for {
		var commands []*command
		select {
		case c := <-s.commands:
			commands = s.gather(c)
		case f := <-s.between:
			f()
			rest.Reset(0)
			continue
		case <-s.inbox.written:
		case <-rest.C:
			rested = true
		case <-s.closing:
			return
		}
		held := s.trace.full()
		if held {
			rest.Reset(minRest)
		}
		apply := rested && s.lag() > 0 && !held
		sweep := rested && len(s.state.sweeping) > 0
		if len(commands) == 0 && !apply && !sweep && !(rested && (s.stranded || len(s.adrift) > 0)) {
			continue
		}
		began, received, commits := time.Now(), s.inbox.events(), s.inbox.commits.Load()
		if err := s.write(commands, apply); err != nil {
			if s.isBroken() {
				return
			}
			s.log.Error("the state could not be written; trying again", "err", err)
			rested = false
			rest.Reset(writeRetry)
			continue
		}
		if apply || len(s.state.sweeping) > 0 {
			rested = false
			arrived := s.inbox.events() - received
			s.portion.adapt(arrived <= 0, s.lag(), time.Now())
			rest.Reset(s.restAfter(time.Since(began), arrived, s.inbox.commits.Load()-commits))
		}
	}
}

// lag is how many records the inbox holds that are not applied yet.
func (s *Store) lag() uint64 { return s.inbox.next.Load() - 1 - s.state.applied }

// restAfter is how long apply rests after a batch that took so long, while so many events arrived.
func (s *Store) restAfter(took time.Duration, arrived int64, commits uint64) time.Duration {
	waited := max(time.Since(s.reached), 0)
	switch {
	case s.starved:
		return writeRetry
	case arrived <= 0 && s.lag() > 0:
		return 0 // nobody is waiting for the disk
	case waited >= patience:
		return 0
	}
	factor, longest := float64(restFactor), maxRest
	if arrived >= crowd*int64(commits) {
		factor, longest = crowdFactor, crowdRest
	}
	factor *= 1 - waited.Seconds()/patience.Seconds()
	return min(max(time.Duration(factor*float64(took)), minRest), longest)
}

// portion is how many bytes of the inbox the next batch applies. A large one writes fewer pages a record;
// but every commit of the inbox waits for what the state has under way on the same disk, so a small one
// keeps the slowest answers quick. With a million records to apply and 64 connections, 8 MiB applied
// 36,000 a second at a p99 of 32 ms, 1 MiB 18,000 at 8 ms; with nothing to apply the p99 was 6 ms.
//
// So while nobody posts it is large, and while somebody does it is small, and grows as long as more
// comes than is applied.
type portion struct {
	alone  bool
	beside int // while somebody posts; 0 is portionLeast
	since  time.Time
	lag    uint64 // at since
}

func (p *portion) bytes() int {
	if p.alone {
		return portionMost
	}
	return max(p.beside, portionLeast)
}

// adapt learns of a batch: whether anything came meanwhile, and how many records are not applied.
func (p *portion) adapt(alone bool, lag uint64, now time.Time) {
	p.alone = alone
	if now.Sub(p.since) < patience {
		return
	}
	switch {
	case p.since.IsZero():
	case lag > p.lag:
		p.beside = min(2*max(p.beside, portionLeast), portionMost)
	default:
		p.beside = max(p.beside/2, portionLeast)
	}
	p.since, p.lag = now, lag
}

// gather takes the other commands that wait by now.
func (s *Store) gather(first *command) []*command {
	commands := []*command{first}
	for {
		select {
		case c := <-s.commands:
			commands = append(commands, c)
		default:
			return commands
		}
	}
}

// write is one transaction: the commands, then, if it is time to apply, a batch of the inbox. What
// found no room for a batch finds it for commands: they go alone while apply rests after a failure.
func (s *Store) write(commands []*command, apply bool) error {
	err := s.transact(commands, apply)
	for _, c := range commands {
		c.done <- err
	}
	return err
}

func (s *Store) transact(commands []*command, apply bool) error {
	var touched []spot
	var parked []*stored
	var woke [2]bool
	aside := false
	rejected, flown := s.rejected.Swap(0), s.state.flight
	err := translate(s.update(func(tx *bolt.Tx) error {
		b := newBatch(tx, s.state, s.log)
		b.tracing = s.trace != nil
		b.arena = s.arena[:0]
		defer func() { s.arena, touched = b.arena, b.touched }()
		s.strand(b)
		for _, c := range commands {
			if err := c.do(b); err != nil {
				return err
			}
		}
		if apply {
			if err := s.applyNext(b); err != nil {
				return err
			}
		}
		b.sweep()
		b.st.ledger.rejected += rejected
		if err := b.flush(); err != nil {
			return err
		}
		if b.st.ledger.changes.Pending > 0 && b.nobodyIsDue() {
			b.contradiction("changes wait, by the ledger, and no user is due")
		}
		for _, c := range commands {
			if c.after != nil {
				c.after(b)
			}
		}
		woke, parked, aside = b.woke, b.parkings, b.aside
		Reach(PointStateWritten)
		return b.err
	}))
	s.finished.Add(1)
	s.trace.merge(touched) // after the commit: whoever takes a key now also reads what was written
	if err != nil {
		s.rejected.Add(rejected)
		s.reload()
		s.seeAdrift(flown)
		return err
	}
	Reach(PointCommitted)
	if aside { // the disk is not to be trusted, and what a lost row pointed to is out of reach
		s.watch.note(fmt.Errorf("%w: a row or a change was passed over", errDamaged))
	}
	s.stranded, s.adrift = false, nil
	s.parkings.merge(parked)
	s.applied.Store(s.state.applied)
	for i := range woke {
		if woke[i] {
			s.signal(Road(i + 1))
		}
	}
	return nil
}

// pauseWriter runs f in the writer's goroutine between two transactions, and returns when it has.
func (s *Store) pauseWriter(f func()) error {
	done := make(chan struct{})
	select {
	case s.between <- func() { f(); close(done) }:
		<-done
		return nil
	case <-s.gone:
		return ErrClosed
	}
}

// applyNext applies the next records of the inbox, if there are any.
func (s *Store) applyNext(b *batch) error {
	records, err := s.inbox.read(b.st.applied+1, s.portion.bytes())
	if err != nil { // outcomes and takes must not wait for it
		s.log.Error("the inbox could not be read; trying again", "err", err)
		s.starved = true
		return nil
	}
	if s.starved = len(records) == 0; s.starved {
		s.log.Error("records that were received are not in the inbox", "from", b.st.applied+1)
	}
	for i, r := range records {
		yield(i)
		rec, err := decodeRecord(r.seq, r.frame)
		if err != nil {
			b.applyDamaged(r.seq, r.frame, err)
			continue
		}
		b.apply(rec, r.frame)
		s.reached = b.now
		if rec.outsider() && s.inbox.others.Load() > 0 {
			s.inbox.others.Add(-1)
		}
	}
	return b.err
}

// yield lets others run now and then in a long loop. Left to itself a goroutine keeps its processor for
// 10 ms, and as many acknowledgements wait behind it: with two processors that showed in their 99th
// percentile.
func yield(i int) {
	if i%16 == 15 {
		runtime.Gosched()
	}
}

// reload reads the state back after a transaction that failed.
func (s *Store) reload() {
	err := s.look(func(tx *bolt.Tx) error {
		st, err := loadCounted(tx)
		if err == nil {
			s.state = st
		}
		return err
	})
	if err != nil {
		s.log.Error("the state could not be read back", "err", err)
	}
}

// seeAdrift notes the flights of a transaction that failed at its very end, and is in the file all the
// same: whoever asked for them was told that there are none, so nobody carries them.
func (s *Store) seeAdrift(flown uint64) {
	for n := range s.state.flights {
		if n > flown {
			s.adrift = append(s.adrift, n)
		}
	}
}

// run has the writer do something, and waits until it is on disk. ctx can stop the wait for the
// writer's attention, not what it has begun: the caller may then rely on what do and after wrote.
func (s *Store) run(ctx context.Context, do func(b *batch) error, after func(b *batch)) error {
	c := &command{do: do, after: after, done: make(chan error, 1)}
	select {
	case s.commands <- c:
	case <-s.gone:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-c.done // the writer answers every command it took before it ends
}

func (s *Store) signal(road Road) {
	select {
	case s.wake[road-1] <- struct{}{}:
	default:
	}
}
