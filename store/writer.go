package store

import (
	"context"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/internal/apply"
	"personasync/store/internal/datadir"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// One goroutine writes state.db. It applies what the inbox received, and it is the one door for
// outcomes: takes, settlements and the operator's commands ride in the same transactions, so that
// nothing ever edits the outbox behind apply's back.

// command is something to do in the writer's next transaction.
type command struct {
	do    func(tx *state.Tx) error
	after func(tx *state.Tx) // reads the result, once everything is written and before the commit
	done  chan error         // buffer of one
}

const (
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
		case <-s.inbox.Written:
		case <-rest.C:
			rested = true
		case <-s.closing:
			return
		}
		if err := s.readBack(); err != nil {
			answer(commands, err)
			s.endRound(err, true)
			if s.isBroken() {
				return
			}
			rested = false
			rest.Reset(writeRetry)
			continue
		}
		held := s.dirty.Full()
		if held {
			rest.Reset(minRest)
		}
		apply := rested && s.lag() > 0 && !held
		sweep := rested && len(s.state.Sweeping) > 0
		if len(commands) == 0 && !apply && !sweep && !(rested && (s.interrupted || s.arrival != nil || len(s.orphaned) > 0)) {
			continue
		}
		began, received := time.Now(), s.inbox.Events()
		err := s.write(commands, apply)
		s.endRound(err, apply)
		if err != nil {
			if s.isBroken() {
				return
			}
			s.log.Error("the state could not be written; trying again", "err", err)
			rested = false
			rest.Reset(writeRetry)
			continue
		}
		if apply || len(s.state.Sweeping) > 0 {
			rested = false
			arrived := s.inbox.Events() - received
			s.pace(arrived <= 0)
			rest.Reset(s.restAfter(time.Since(began), arrived))
		}
	}
}

// lag is how many records the inbox holds that are not applied yet.
func (s *Store) lag() uint64 { return s.inbox.Next.Load() - 1 - s.state.Applied }

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
	answer(commands, err)
	return err
}

func answer(commands []*command, err error) {
	for _, c := range commands {
		c.done <- err
	}
}

func (s *Store) transact(commands []*command, apply bool) error {
	if err := s.readBack(); err != nil {
		return err
	}
	var touched []state.DirtyKey
	var parked []*state.Stored
	var parkedAll uint64
	var woke [2]bool
	aside, outsiders := false, int64(0)
	flown := s.state.LastLease
	err := datadir.Translate(s.update(func(tx *bolt.Tx) error {
		b := state.NewBatch(tx, s.state, s.log)
		b.Tracing = s.dirty != nil
		b.Arena = s.arena[:0]
		defer func() { s.arena, touched = b.Arena, b.Touched }()
		if s.arrival != nil {
			b.MoveIn(s.arrival)
		}
		s.settleInterrupted(b)
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
		outbox.Sweep(b)
		s.refused.Write(b)
		if err := b.Flush(); err != nil {
			return err
		}
		if b.State.Ledger.Changes.Pending > 0 && b.NobodyIsDue() {
			b.Contradiction("changes wait, by the ledger, and no user is due")
		}
		for _, c := range commands {
			if c.after != nil {
				c.after(b)
			}
		}
		woke, parked, aside, outsiders = b.Woke, b.Parkings, b.Aside, b.Outsiders
		parkedAll = b.ParkedAll
		crashpoint.Reach(crashpoint.StateWritten)
		return b.Err
	}))
	s.finished.Add(1)
	s.dirty.Merge(touched) // after the commit: whoever takes a key now also reads what was written
	if err != nil {
		s.refused.Failed()
		s.unread, s.flown = true, flown
		_ = s.readBack() // else before the next transaction
		return err
	}
	crashpoint.Reach(crashpoint.StateCommitted)
	s.inbox.Others.Add(-min(outsiders, s.inbox.Others.Load()))
	if aside { // the disk is not to be trusted, and what a lost row pointed to is out of reach
		s.marker.Note(fmt.Errorf("%w: a row or a change was passed over", wire.ErrDamaged))
	}
	s.interrupted, s.arrival, s.orphaned = false, nil, nil
	s.barred.Store(false)
	s.parkings.Merge(parked, parkedAll)
	s.applied.Store(s.state.Applied)
	for i := range woke {
		if woke[i] {
			s.signal(domain.Endpoint(i + 1))
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
		return domain.ErrClosed
	}
}

// applyNext applies the next records of the inbox, if there are any.
func (s *Store) applyNext(tx *state.Tx) error {
	records, err := s.inbox.Read(tx.State.Applied+1, s.pacing.portion())
	if err != nil { // outcomes and takes must not wait for it
		s.log.Error("the inbox could not be read; trying again", "err", err)
		s.starved = true
		return nil
	}
	if s.starved = len(records) == 0; s.starved {
		s.log.Error("records that were received are not in the inbox", "from", tx.State.Applied+1)
	}
	_, heard := s.refused.List()
	defer func() { s.refused.Hear(heard) }()
	for i, r := range records {
		state.Yield(i)
		if missing := r.Seq - 1 - tx.State.Applied; missing > 0 {
			apply.Missing(tx, missing)
		}
		rec, err := record.DecodeRecord(r.Seq, r.Frame)
		if err != nil {
			apply.Damaged(tx, r.Seq, r.Frame, err)
			continue
		}
		apply.Record(tx, rec, r.Frame)
		if rec.Event != nil {
			heard.Note(rec.Event)
		}
		s.reached = tx.Now
		if rec.Outsider() {
			tx.Outsiders++
		}
	}
	return tx.Err
}

// readBack reads the state from the file after a transaction that failed. Until it succeeds there is no
// other transaction: what the failed one left in memory would be written by the next.
func (s *Store) readBack() error {
	if !s.unread {
		return nil
	}
	err := s.look(func(tx *bolt.Tx) error {
		st, err := state.LoadCounted(tx)
		if err == nil {
			s.state = st
		}
		return err
	})
	if err != nil {
		s.note(err)
		s.log.Error("the state could not be read back after a transaction that failed; trying again", "err", err)
		return fmt.Errorf("read the state back after a transaction that failed: %w", err)
	}
	s.unread = false
	s.noteOrphaned(s.flown)
	return nil
}

// noteOrphaned notes the flights of a transaction that failed at its very end, and is in the file all the
// same: whoever asked for them was told that there are none, so nobody carries them.
func (s *Store) noteOrphaned(flown uint64) {
	for n := range s.state.Leases {
		if n > flown {
			s.orphaned = append(s.orphaned, n)
		}
	}
}

// run has the writer do something, and waits until it is on disk. ctx can stop the wait for the
// writer's attention, not what it has begun: the caller may then rely on what do and after wrote.
func (s *Store) run(ctx context.Context, do func(tx *state.Tx) error, after func(tx *state.Tx)) error {
	c := &command{do: do, after: after, done: make(chan error, 1)}
	select {
	case s.commands <- c:
	case <-s.gone:
		return domain.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-c.done // the writer answers every command it took before it ends
}

func (s *Store) signal(endpoint domain.Endpoint) {
	select {
	case s.wake[endpoint-1] <- struct{}{}:
	default:
	}
}
