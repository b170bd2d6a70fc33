package writer

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/datadir"
	"personasync/store/internal/outbox"
	"personasync/store/internal/refusal"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// Writer makes the write transactions of a store. Do, Pause, Await, Applied, Wake, EpochPending and Liveness may be
// called from any goroutine. Its many fields have three owners, who stand above them.
type Writer struct {
	log      *slog.Logger
	db       engine.State
	inbox    Inbox
	damage   *datadir.Damage
	checked  uint64          // see Config
	parkings *state.Parkings // parked by this process, for the readers that follow
	refused  *refusal.Counts

	mailbox
	notify   *notifier
	applied  atomic.Uint64 // number of the last record applied, on disk
	finished atomic.Uint64 // transactions that have ended, well or badly

	// What follows belongs to the goroutine of Run; before Run and after Stop, to their caller.

	state *state.State
	carry carryOver
	apply applier
	tight func() error // see Config
	full  func() bool  // a compaction has too much to copy again: nothing is applied meanwhile; nil without one
	arena []byte       // memory of the last transaction, for the next
}

// Config is what a Writer works on.
type Config struct {
	Log      *slog.Logger
	DB       engine.State
	State    *state.State // as DB has it; the writer's from now on
	Inbox    Inbox
	Damage   *datadir.Damage
	Checked  uint64 // number of the last record that this start looked for in a check of the files; 0: it trusted them
	Parkings *state.Parkings
	Refused  *refusal.Counts
	Tight    func() error // not nil while the disk has room for outcomes alone, so that no record is applied; may be nil
}

// New returns a writer that Recover and Run start.
func New(c Config) *Writer {
	w := &Writer{
		log: c.Log, db: c.DB, inbox: c.Inbox, damage: c.Damage, checked: c.Checked, parkings: c.Parkings, refused: c.Refused,
		mailbox: newMailbox(), notify: newNotifier(), state: c.State, tight: c.Tight,
	}
	w.applied.Store(c.State.Applied)
	return w
}

// writeRetry is how long the writer waits after a failed transaction, as on a full disk.
const writeRetry = time.Second

// Run makes transactions until Stop, or until one meets damage.
func (w *Writer) Run() {
	defer close(w.mailbox.ended)
	r := rest{timer: time.NewTimer(0)}
	defer r.timer.Stop()
	for {
		commands, open := w.wait(&r)
		if !open {
			return
		}
		if err := w.turn(&r, commands); err != nil && w.damage.IsBroken() {
			return
		}
	}
}

// rest is the time between two batches, in which events gather.
type rest struct {
	timer *time.Timer
	over  bool // the next batch may begin
	quiet bool // no event came beside the last batch: a caller of Await may end the rest
}

// retry has what failed tried again later.
func (r *rest) retry() {
	r.over, r.quiet = false, false
	r.timer.Reset(writeRetry)
}

// wait returns when there may be something to do, with the commands that were given by then. It is not open after Stop.
func (w *Writer) wait(r *rest) (commands []*Command, open bool) {
	for {
		select {
		case c := <-w.commands:
			return w.gather(c), true
		case f := <-w.between:
			f()
			r.timer.Reset(0)
		case <-w.inbox.Written():
			return nil, true
		case <-r.timer.C:
			r.over = true
			return nil, true
		case <-w.awaited:
			r.over = r.over || r.quiet
			return nil, true
		case <-w.closing:
			return nil, false
		}
	}
}

// turn makes one transaction of commands and of what else is due, or none if nothing is. What failed is tried again after
// a rest, but for the commands: those are answered.
func (w *Writer) turn(r *rest, commands []*Command) error {
	if err := w.readBack(); err != nil {
		answer(commands, err)
		w.notify.ended(err, true)
		r.retry()
		return err
	}
	apply := w.mayApply(r)
	sweep := r.over && len(w.state.Sweeping) > 0
	if len(commands) == 0 && !apply && !sweep && !(r.over && w.carry.any()) {
		return nil
	}
	began, received := time.Now(), w.inbox.Events()
	err := w.Write(apply, commands...)
	w.notify.ended(w.fault(err, apply), apply)
	if err != nil {
		if !w.damage.IsBroken() {
			w.log.Error("the state could not be written; trying again", "err", err)
		}
		r.retry()
		return err
	}
	if apply || len(w.state.Sweeping) > 0 {
		arrived := w.inbox.Events() - received
		r.over, r.quiet = false, arrived <= 0 && !w.apply.unreadable
		w.pace(arrived <= 0)
		r.timer.Reset(w.restAfter(time.Since(began), arrived))
	}
	return nil
}

// mayApply says whether received events are applied now: some are due, and neither a compaction nor a full disk stands in
// the way.
func (w *Writer) mayApply(r *rest) bool {
	if w.full != nil && w.full() {
		r.timer.Reset(minRest)
		return false
	}
	if !r.over || w.lag() == 0 {
		return false
	}
	if w.tight == nil {
		return true
	}
	err := w.tight()
	if err != nil {
		w.notify.ended(err, true)
		w.log.Error("received events are not applied", "err", err)
		r.retry()
	}
	return err == nil
}

// Absent makes w a writer that never runs, because another process writes: it answers every question with why. It is
// called in place of Recover and Run.
func (w *Writer) Absent(why func() error) {
	w.absent = why
	close(w.mailbox.ended)
}

// Stop ends Run once the transaction under way has, and waits for it. It is called once.
func (w *Writer) Stop() {
	close(w.closing)
	<-w.mailbox.ended
}

// Finish writes what a stopped writer still has in memory: the counts of refused requests, and where the state runs.
func (w *Writer) Finish() error {
	counts := w.refused.Unwritten()
	if !counts && w.carry.arrival == nil || w.absent != nil || w.damage.IsBroken() {
		return nil
	}
	if err := w.Write(false); counts {
		return err
	}
	return nil // the next start arrives once more
}

// lag is how many records the inbox holds that are not applied yet.
func (w *Writer) lag() uint64 { return w.inbox.Next() - 1 - w.state.Applied }

var errUnreadable = errors.New("records that were received cannot be read from the inbox")

// fault is what the goroutines that wait for records to be applied are told of a transaction.
func (w *Writer) fault(err error, apply bool) error {
	if err == nil && apply && w.apply.unreadable {
		return errUnreadable
	}
	return err
}

// Write is one transaction: the commands, then, if apply says so, a batch of the inbox. A disk that has no room for a
// batch may have it for commands: they go alone while apply rests after a failure. Only Run calls it while it runs;
// Recover does before, and Finish after.
func (w *Writer) Write(apply bool, commands ...*Command) error {
	err := w.transact(apply, commands)
	answer(commands, err)
	return err
}

// written is what a transaction leaves for the time after its commit.
type written struct {
	parked    []*state.Stored
	parkedAll uint64
	woke      [domain.Endpoints]bool
	aside     bool
	others    int64
}

func (w *Writer) transact(apply bool, commands []*Command) error {
	if err := w.readBack(); err != nil {
		return err
	}
	var done written
	lastLease := w.state.LastLease
	err := datadir.Translate(w.update(func(tx engine.Tx) error { return w.fill(tx, apply, commands, &done) }))
	w.finished.Add(1)
	if err != nil {
		w.refused.Failed()
		w.carry.unread, w.carry.lastLease = true, lastLease
		_ = w.readBack() // else before the next transaction
		return err
	}
	crashpoint.Reach(crashpoint.StateCommitted)
	w.inbox.OthersApplied(done.others)
	if done.aside { // the disk is not to be trusted, and what a lost row pointed to is out of reach
		w.damage.NoteRow(fmt.Errorf("%w: a row or a change was passed over", wire.ErrDamaged))
	}
	w.carry.settled()
	w.parkings.Merge(done.parked, done.parkedAll)
	w.applied.Store(w.state.Applied)
	for i, woke := range done.woke {
		if woke {
			w.notify.signal(domain.Endpoint(i + 1))
		}
	}
	return nil
}

// fill does all that belongs into one transaction, up to the commit.
func (w *Writer) fill(kv engine.Tx, apply bool, commands []*Command, done *written) error {
	tx := state.NewTx(kv, w.state, w.log)
	tx.Arena = w.arena[:0]
	defer func() { w.arena = tx.Arena }()
	w.settleCarried(tx)
	for _, c := range commands {
		if err := c.Do(tx); err != nil {
			return err
		}
	}
	if apply {
		if err := w.applyNext(tx); err != nil {
			return err
		}
	}
	outbox.Sweep(tx)
	w.refused.Write(tx)
	if err := tx.Flush(); err != nil {
		return err
	}
	if tx.State.Ledger.Changes.Pending > 0 && state.NobodyIsDue(tx) {
		tx.Contradiction("changes wait, by the ledger, and no user is due")
	}
	for _, c := range commands {
		if c.After != nil {
			c.After(tx)
		}
	}
	done.woke, done.parked, done.aside, done.others = tx.Woke, tx.Parkings, tx.Aside, tx.Others
	done.parkedAll = tx.ParkedAll
	crashpoint.Reach(crashpoint.StateWritten)
	return tx.Err
}

// update is one write transaction on the state. A damaged page ends the writer and not the process, see Damage.
func (w *Writer) update(f func(tx engine.Tx) error) error {
	err := w.db.Update(f)
	w.damage.Note(err)
	return err
}

// HoldWhile has the writer apply nothing while full says so; nil ends that. It is called within Pause.
func (w *Writer) HoldWhile(full func() bool) { w.full = full }

// Moved notes that the state has another file under its name from now on. It is called within Pause.
func (w *Writer) Moved(home []byte) {
	w.full = nil
	if w.carry.arrival == nil {
		w.carry.arrival = new(state.Arrival)
	}
	w.carry.arrival.Home = home
}
