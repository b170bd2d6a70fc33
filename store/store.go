package store

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/datadir"
	"personasync/store/internal/orders"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/repair"
	"personasync/store/internal/state"
	"personasync/store/internal/writer"
)

// Options opens a store. Log is required; a zero retention keeps things forever.
type Options struct {
	Log *slog.Logger

	// Command is the command that opens the store, as a person would type it. The lock file names it to a process that
	// finds the directory in use. "" is the agent.
	Command string

	Delivered     time.Duration // how long closed changes stay inspectable
	ReceivedFor   time.Duration // how long raw received events stay, once applied …
	ReceivedBytes int64         // … and at most how many bytes of them
	Parked        time.Duration
	ExMembers     time.Duration // how long an exit is remembered
	Journal       time.Duration // how long enters and exits stay in the journal; 0: there is none …
	JournalBytes  uint64        // … and at most how many bytes of them; 0: no limit

	// MaxDataBytes is how much disk the data may take; 0: until the disk says no. See internal/datadir/budget.go.
	MaxDataBytes int64

	// CheckInChild does what Check does for dir in a process of its own, which damage may kill: see
	// the function CheckInChild. It is called only when there is a reason to doubt the files.
	// nil: they are checked in this process.
	CheckInChild func(ctx context.Context, dir string) (*repair.CheckReport, error)

	// Start is done when Open is not to go on with a check, which takes minutes where there is much: it
	// returns the cause then, and the next Open checks again. nil: never.
	Start context.Context

	moving    bool // the store may have been moved already, by a move that did not come to its end
	restoring bool // the files are those of a restore, which moves the numbers on
}

// Store is the durable state of one agent: the inbox, and what follows from it. All methods may be called concurrently.
//
// It is a facade over the parts below. Each part says who owns its fields, and what of them survives a crash. The goroutines
// of a store are the inbox's committer, the writer, the disk watch and the watch of the place.
//
// Lock order: rules.mu and upkeep.busy are taken first, and never one inside the other. Below them are the locks of the
// place and of the inbox, in this order; the writer's goroutine takes the place's while it swaps a compacted file in.
//
// It has more than 40 methods because it is the only way in: each passes a question or an order on to one part.
type Store struct {
	View
	*files         // nil on PostgreSQL
	records  inbox // of the files, or on PostgreSQL
	writer   *writer.Writer
	liveness writer.Liveness
	term     *term // on PostgreSQL; nil in files
	damage   *datadir.Damage
	rules    ruleKeeper
	orders   *orders.Runner
	upkeep   *upkeep
	run      running

	written time.Time // see Written
}

// files is what a store has beside its state and its inbox where it is kept in files.
type files struct {
	place  *datadir.Place
	marker *datadir.ShutdownMarker
	disk   *diskWatch
}

// inbox is the log of a store: files, or a table.
type inbox interface {
	writer.Inbox

	// First returns the number of the oldest record that is kept, 0 without any.
	First() uint64

	// Trim removes records up to applied: those received before now-keepFor, and the oldest until keepBytes are left.
	// 0 keeps all.
	Trim(applied uint64, now time.Time, keepFor time.Duration, keepBytes int64) error

	// Rewrite has edit change the frames of records that are applied, a part at a time, and returns how many it did.
	Rewrite(ctx context.Context, edit func(frames [][]byte) (edited uint64, err error)) (edited uint64, err error)

	// Stop answers the appends that wait and refuses further ones. Records can be read until CloseFiles.
	Stop()
	CloseFiles()
}

// running is what Close ends.
type running struct {
	life   context.Context // ends with Close
	end    context.CancelFunc
	others sync.WaitGroup // goroutines beside the writer and the committer
	once   sync.Once
}

// Close stops applying, waits for the writes under way, and releases the directory.
func (s *Store) Close() (err error) {
	s.run.once.Do(func() {
		s.records.Stop()
		s.run.end()
		s.writer.Stop()
		s.run.others.Wait()
		s.upkeep.busy.Lock() // for good: a caller that waits for it finds the store closed
		defer s.upkeep.busy.Unlock()
		err = s.writer.Finish()
		s.records.CloseFiles()
		s.term.end()
		if s.damage.IsBroken() { // a file that panicked may hold its own lock forever
			go s.r.State.Close()
		} else {
			err = errors.Join(err, s.r.State.Close())
		}
		if s.files != nil {
			err = errors.Join(err, s.marker.Ended(s.records.Next()-1), s.place.Close())
		}
	})
	return err
}

// Written is when the files were last written to before they were opened, by the clock of then; the zero time if there
// were none. A clock that shows less now was set back.
func (s *Store) Written() time.Time { return s.written }

// SetRetention changes how long things stay, from the next Prune on, and how much they may take. Other options of o are
// ignored.
func (s *Store) SetRetention(o Options) {
	s.upkeep.retention.Store(&o)
	if s.files == nil {
		return
	}
	s.disk.budget.Limit.Store(o.MaxDataBytes)
	s.inbox.SetMaxBytes(s.disk.budget.Segment())
	s.disk.budget.Look()
}

// Refusal says why events are refused, as long as that lasts: the data was moved (ErrMoved), or there is no room (a
// *FullError). It is nil while they are taken, and costs nothing.
func (s *Store) Refusal() error {
	if s.files == nil {
		return nil
	}
	if err := s.place.Refusal(); err != nil {
		return err
	}
	return s.disk.budget.Refusal()
}

// Space returns the last measurement of the disk, at most about a second old. On PostgreSQL it is zero.
func (s *Store) Space() (space datadir.Space) {
	if s.files != nil {
		space = s.disk.budget.Measured()
	}
	return space
}

// Append puts events on disk, in order, and returns once they are. After a nil error they survive kill -9 and power loss.
// Nothing of a failed Append is applied, unless the process died in it, the caller stopped waiting, or the answer is
// ErrMoved. ErrBusy, ErrFull, ErrMoved and ErrClosed ask the sender to try again.
func (s *Store) Append(ctx context.Context, events ...*domain.Event) error {
	if len(events) == 0 {
		return nil
	}
	if err := s.Refusal(); err != nil {
		return err
	}
	frames, size := make([][]byte, len(events)), 0
	for i, e := range events {
		frames[i] = record.AppendEvent(make([]byte, 0, record.RoomFor(e)), e)
		size += len(frames[i])
	}
	err := s.records.Append(ctx, frames...)
	s.damage.Note(err)
	err = datadir.Translate(err)
	if s.files != nil {
		s.disk.budget.Note(size, err)
	}
	return err
}

// SetRules makes r the rules for every event appended after it returns. Equal rules cost nothing. The rules of a door are
// put in force when it becomes the writer; it logs that they differ from those of the present one.
func (s *Store) SetRules(ctx context.Context, r domain.Rules) error {
	if !s.Role().Writer {
		s.rules.compare(r)
		return nil
	}
	return s.rules.set(ctx, r)
}

// CountRefusal counts one request that was refused for good, at its Last. It waits for no disk. A door counts none: its
// metrics do.
func (s *Store) CountRefusal(r domain.Refusal) {
	if s.r.Refused != nil {
		s.r.Refused.Count(r)
	}
}

// Take commits a lease of due changes and returns it, or nil when nothing is due. Users of a lease are out of reach of
// further Takes on its endpoint until it is settled.
func (s *Store) Take(ctx context.Context, o domain.TakeOptions) (f *domain.Lease, next domain.Next, err error) {
	if s.writer.Ended() {
		return nil, domain.Next{}, domain.ErrClosed
	}
	if idle, err := s.r.Idle(o.Endpoint); idle || err != nil {
		return nil, domain.Next{}, err // an idle agent writes nothing; a change that is applied a moment later wakes the sender
	}
	if s.files != nil {
		if err := s.disk.tight(datadir.ForOutcomes); err != nil {
			return nil, domain.Next{}, err
		}
	}
	more := false
	err = s.writer.Do(ctx, func(tx *state.Tx) error {
		f, more = outbox.Take(tx, o)
		return nil
	}, func(tx *state.Tx) { next = outbox.Next(tx, o.Endpoint) })
	next.More = more
	if err != nil {
		return nil, domain.Next{}, err
	}
	return f, next, nil
}

// Settle writes what became of a lease. After it returns, the outcome survives a crash.
func (s *Store) Settle(ctx context.Context, o domain.Settlement) error {
	return s.writer.Do(ctx, func(tx *state.Tx) error { outbox.Settle(tx, o); return nil }, nil)
}

// Wake returns a channel that receives after a commit that made something newly due on an endpoint. It has a buffer of
// one: a slow reader misses repetitions, never the last.
func (s *Store) Wake(endpoint domain.Endpoint) <-chan struct{} { return s.writer.Wake(endpoint) }

// Applied waits until everything appended before the call has been applied. It gives up when the disk is full, because
// that lasts until the operator makes room.
func (s *Store) Applied(ctx context.Context) error {
	return s.writer.AwaitApplied(ctx, s.records.Last())
}

// Liveness returns nil once the two goroutines that write, the inbox's and the state's, have each finished a
// transaction since the last Liveness that returned nil. One that had nothing to do is given an empty transaction, which
// writes and syncs two pages. One caller at a time.
//
// Any error but ErrClosed says that commits do not come to an end within the patience of ctx.
func (s *Store) Liveness(ctx context.Context) error { return s.liveness.Check(ctx) }

// Broken is closed when a write met damage. The store answers errors from then on; the next Open checks the files and
// salvages them.
func (s *Store) Broken() <-chan struct{} { return s.damage.Broken() }
