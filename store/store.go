package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/orders"
	"personasync/store/internal/outbox"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/recovery"
	"personasync/store/internal/repair"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/writer"
)

// Options opens a store. Log is required; a zero retention keeps things for ever.
type Options struct {
	Log *slog.Logger

	// Command is what the store is opened for, as a person would type it: the lock says it to whoever
	// finds the directory in use. "" is the agent.
	Command string

	Delivered     time.Duration // how long closed changes stay inspectable
	ReceivedFor   time.Duration // how long raw received events stay, once applied …
	ReceivedBytes int64         // … and at most how many bytes of them
	Parked        time.Duration
	ExMembers     time.Duration // how long an exit is remembered

	// MaxDataBytes is how much disk the data may take; 0: until the disk says no. See space.go.
	MaxDataBytes int64

	// CheckInChild does what Check does for dir in a process of its own, which damage may kill: see
	// the function CheckInChild. It is called only when there is a reason to doubt the files.
	// nil: they are checked in this process.
	CheckInChild func(ctx context.Context, dir string) (*repair.CheckReport, error)

	// Start is done when Open is not to go on with a check, which takes minutes where there is much: it
	// returns the cause then, and the next Open checks again. nil: never.
	Start context.Context

	restoring bool // the files are those of a restore, which moves the numbers on
}

// Store is the durable state of one agent: the inbox, and what follows from it.
// All methods may be called concurrently.
type Store struct {
	View
	retention atomic.Pointer[Options]
	log       *slog.Logger
	dir       string
	lock      *os.File         // belongs to looking, once the store is open
	place     *datadir.Place   // of the files
	now       func() time.Time // of a command; time.Now but in tests
	looking   sync.Mutex       // held while they are compared with their names
	written   time.Time        // see Written

	once     sync.Once
	writer   *writer.Writer
	liveness writer.Liveness
	damage   *datadir.Damage
	orders   *orders.Runner
	refused  *state.Refusals

	budget *datadir.DiskBudget // whether there is any for more events
	marker *datadir.ShutdownMarker
	start  *recovery.Start

	life      context.Context // ends with Close
	end       context.CancelFunc
	upkeep    sync.Mutex     // held by a compaction, a backup or a check: one at a time
	compacted atomic.Int64   // when it was last compacted unasked, ns
	tail      atomic.Bool    // a backup reads the inbox: nothing of it is removed
	exits     exitWalk       // of Prune
	others    sync.WaitGroup // goroutines beside the writer and the committer

	rules ruleKeeper
}

// Open locks dir, recovers what a crash left, and starts applying. The directory is made if missing, see
// makeDir. A directory that is locked is an *InUseError.
// Files that the last stop may have torn are checked first; what is damaged is salvaged and kept aside,
// see Salvage. ErrInUse, ErrNewer and ErrUnsalvageable, damage of which nothing can be saved, are told apart.
func Open(dir string, o Options) (*Store, error) {
	s, err := openAtRest(dir, o)
	if err != nil {
		return nil, err
	}
	go s.writer.Run()
	s.others.Go(s.watchDisk)
	s.others.Go(s.watchPlace)
	return s, nil
}

// openAtRest is Open up to where it is ready to apply.
func openAtRest(dir string, o Options) (s *Store, err error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := datadir.LockDir(dir, o.Command)
	if err != nil {
		return nil, datadir.Roomless(err)
	}
	s = &Store{
		log: o.Log, dir: dir, lock: lock, now: time.Now,
		budget: datadir.NewDiskBudget(o.MaxDataBytes),
	}
	if o.Start == nil {
		o.Start = context.Background()
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.retention.Store(&o)
	s.written = lastWritten(dir)
	if s.place, err = datadir.NewPlace(dir); err != nil {
		_ = boltfile.Unlock(lock)
		return nil, err
	}
	if s.start, err = recovery.Begin(dir, o.Log, o.CheckInChild); err == nil {
		s.marker = s.start.Marker
		err = s.start.Run(o.Start, s.openFiles)
	}
	if err != nil {
		s.place.Held.Close()
		_ = boltfile.Unlock(lock)
		return nil, err
	}
	s.r.Damaged = s.damage.NoteRead
	return s, nil
}

// makeDir makes dir where it is missing, but nothing above it: a folder that is missing there is a disk
// that is not mounted yet, more often than not, and data beside its mount point would be out of sight
// afterwards.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	_, there := os.Stat(dir)
	switch {
	case err == nil, there == nil:
		return nil // what else is wrong with it, lockDir says
	case !errors.Is(there, fs.ErrNotExist):
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s does not exist: mount its disk, or make that folder", datadir.ErrNoPlace, filepath.Dir(dir))
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %s points to a folder that does not exist: mount its disk, or make that folder", datadir.ErrNoPlace, dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s does not exist, and this user may not make it: mount its disk, or make it and give it to the agent's user",
			datadir.ErrNoPlace, dir)
	}
	return datadir.Roomless(fmt.Errorf("make the data directory: %w", err))
}

// Written is when the files were last written to before they were opened, by the clock of then; the zero
// time if there were none. A clock that shows less now was set back.
func (s *Store) Written() time.Time { return s.written }

func lastWritten(dir string) (last time.Time) {
	paths, err := repair.DataFiles(dir)
	if err != nil {
		return last // whoever reads them next says why
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}

func (s *Store) openFiles() error {
	st, err := s.openState()
	if err != nil {
		return err
	}
	inbox, err := wal.Open(s.dir, wal.Config{
		Epoch: st.Epoch, First: st.Applied + 1, MaxBytes: s.budget.Segment(), Records: record.InboxRecords,
		Hooks: wal.Hooks{Refuse: s.refuseRecords, Home: s.place.Check, Naming: &s.place.Naming, AfterCommit: s.afterCommit},
	})
	if err != nil {
		s.db.Close()
		if st.Applied == 0 {
			err = datadir.Roomless(err)
		}
		return err
	}
	s.inbox, s.r.Inbox = inbox, inbox
	s.refused = state.NewRefusals(time.Now())
	if err := s.look(func(tx engine.Tx) error { return s.refused.Load(tx, st.Ledger.Rejected) }); err != nil {
		inbox.Close()
		s.db.Close()
		return err
	}
	parkings := state.NewParkings(time.Now())
	s.r.Parkings, s.r.Refused = parkings, s.refused
	s.damage = datadir.NewDamage(s.log, s.marker)
	s.writer = writer.New(writer.Config{
		Log: s.log, DB: s.db, State: st, Inbox: inbox, Damage: s.damage, Parkings: parkings, Refused: s.refused,
	})
	s.liveness = writer.Liveness{Writer: s.writer}
	s.orders = &orders.Runner{Dir: s.dir, Reader: s.r, Inbox: inbox, Budget: s.budget, Writer: s.writer}
	s.writer.Arrive(s.start.Arrival(st.Home, inbox.Next(), s.retention.Load().restoring))
	s.lookAround()
	if err := boltfile.Guard(s.writer.Recover); err != nil {
		inbox.Close()
		s.db.Close()
		return err
	}
	return nil
}

// openState opens state.db, or makes it where there is no store yet. An inbox without a state is not
// a new store: starting empty would forget every membership in silence.
func (s *Store) openState() (st *state.State, err error) {
	path := filepath.Join(s.dir, datadir.StateFile)
	found, err := boltfile.Exists(path)
	if err != nil {
		return nil, fmt.Errorf("look for the state: %w", err)
	}
	if !found {
		if inboxes, _, err := wal.Files(s.dir); err != nil {
			return nil, err
		} else if len(inboxes) > 0 {
			return nil, fmt.Errorf("%w: %s has an inbox but no %s: restore a backup, or move the inbox files away to start anew", boltfile.ErrUnsalvageable, s.dir, datadir.StateFile)
		}
		s.logNewStore()
		if err := bolt.Create(path, rand.Uint32()|1, state.StateBuckets, state.Init); err != nil {
			return nil, datadir.Roomless(err)
		}
	}
	if s.db, err = bolt.Open(path, state.StateMmap, false); err != nil {
		return nil, err
	}
	s.r = &query.Reader{State: s.db}
	if s.place.State, err = os.Stat(path); err != nil {
		s.db.Close()
		return nil, err
	}
	err = boltfile.Guard(func() error {
		if err := s.db.Migrate(bolt.Migrations, s.log); err != nil {
			return err
		}
		if _, err := s.db.Epoch(); err != nil {
			return err
		}
		if err := s.addBuckets(); err != nil {
			return err
		}
		return s.db.View(func(tx engine.Tx) error {
			st, err = state.LoadCounted(tx)
			return err
		})
	})
	if err != nil {
		s.db.Close()
		return nil, err
	}
	return st, nil
}

// logNewStore says that a store begins with nothing, and whether there was one before.
func (s *Store) logNewStore() {
	if s.marker.Last == (datadir.LastRun{}) {
		s.log.Info("a new store begins", "dir", s.dir)
		return
	}
	s.log.Error("an agent has run on this directory, and its data is gone: beginning with nothing, so that every membership is unknown; "+
		"if that is not what you want, stop and restore a backup", "dir", s.dir)
}

// Close stops applying, waits for what is being written, and releases the directory.
func (s *Store) Close() (err error) {
	s.once.Do(func() {
		s.inbox.Stop()
		s.end()
		s.writer.Stop()
		s.others.Wait()
		s.upkeep.Lock() // for good: what waits for it finds the store closed
		defer s.upkeep.Unlock()
		err = s.writer.Finish()
		s.inbox.CloseFiles()
		err = errors.Join(err, s.closeState(), s.marker.Ended(), s.place.Held.Close(), boltfile.Unlock(s.lock))
	})
	return err
}

// SetRetention changes how long things stay, from the next Prune on, and how much they may take. Of o
// nothing else counts.
func (s *Store) SetRetention(o Options) {
	s.retention.Store(&o)
	s.budget.Limit.Store(o.MaxDataBytes)
	s.inbox.SetMaxBytes(s.budget.Segment())
	s.budget.Look()
}

// refuseRecords says why the inbox takes nothing; nil when it does.
func (s *Store) refuseRecords() error {
	if err := s.place.Refusal(); err != nil {
		return err
	}
	if s.writer.EpochPending() {
		return fmt.Errorf("%w: this run cannot be noted", domain.ErrFull)
	}
	return nil
}

// Append puts events on disk, in order, and returns once they are: after a nil error they survive
// kill -9 and power loss. Nothing of a failed Append is applied, unless the process died in it, the
// caller stopped waiting, or the answer is ErrMoved. ErrBusy, ErrFull, ErrMoved and ErrClosed ask the
// sender to try again.
func (s *Store) Append(ctx context.Context, events ...*domain.Event) error {
	if len(events) == 0 {
		return nil
	}
	if err := s.Refusal(); err != nil {
		return err
	}
	frames, size := make([][]byte, len(events)), 0
	for i, e := range events {
		frames[i] = record.AppendEvent(make([]byte, 0, len(e.Raw)+512), e)
		size += len(frames[i])
	}
	err := s.inbox.Append(ctx, frames...)
	s.damage.Note(err)
	err = datadir.Translate(err)
	s.budget.Note(size, err)
	return err
}

// CountRefusal counts one request that was refused for good, at its Last. It waits for no disk.
func (s *Store) CountRefusal(r domain.Refusal) { s.refused.Count(r) }

// Take commits a lease of due deliveries and returns it, or nil when nothing is due. Users of a
// lease are out of reach of further Takes on its endpoint until it is settled.
func (s *Store) Take(ctx context.Context, o domain.TakeOptions) (f *domain.Lease, next domain.Next, err error) {
	if empty, err := s.empty(o.Endpoint); empty || err != nil {
		return nil, domain.Next{}, err // an idle agent writes nothing
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

// empty reports whether nobody waits on an endpoint. What is applied a moment later wakes the sender.
func (s *Store) empty(endpoint domain.Endpoint) (empty bool, err error) {
	if s.writer.Ended() {
		return false, domain.ErrClosed
	}
	err = s.look(func(tx engine.Tx) error {
		k, _ := tx.Bucket(state.BucketDue).Cursor().Seek([]byte{byte(endpoint)})
		empty = k == nil || domain.Endpoint(k[0]) != endpoint
		return nil
	})
	return empty, err
}

// Settle writes what became of a lease. After it returns, the outcome survives a crash.
func (s *Store) Settle(ctx context.Context, o domain.Settlement) error {
	return s.writer.Do(ctx, func(tx *state.Tx) error { outbox.Settle(tx, o); return nil }, nil)
}

// Wake returns a channel that receives after a commit that made something newly due on an endpoint. It has
// a buffer of one: a slow reader misses repetitions, never the last.
func (s *Store) Wake(endpoint domain.Endpoint) <-chan struct{} { return s.writer.Wake(endpoint) }

// Applied waits until everything appended before the call has been applied. It gives up when the disk is full: that
// lasts until somebody makes room.
func (s *Store) Applied(ctx context.Context) error {
	return s.writer.AwaitApplied(ctx, s.inbox.Last())
}

// Liveness returns nil once the two goroutines that write, the inbox's and the state's, have each finished a
// transaction since the last Liveness that returned nil: see writer.Liveness. One caller at a time.
//
// Any error but ErrClosed says that commits do not come to an end within the patience of ctx.
func (s *Store) Liveness(ctx context.Context) error { return s.liveness.Check(ctx) }

// Broken is closed when damage was met at work. The store answers errors from then on; the next Open checks the
// files and salvages them.
func (s *Store) Broken() <-chan struct{} { return s.damage.Broken() }

// closeState closes the state. A file that panicked may hold its own lock for ever.
func (s *Store) closeState() error {
	if s.damage.IsBroken() {
		go s.db.Close()
		return nil
	}
	return s.db.Close()
}

// addBuckets makes the buckets that an older version did not know. It writes nothing where they are
// there already; without room the store goes on without them.
func (s *Store) addBuckets() error {
	missing := false
	err := s.db.View(func(tx engine.Tx) error {
		missing = slices.ContainsFunc(state.StateBuckets, func(name []byte) bool { return tx.Bucket(name) == nil })
		return nil
	})
	if err != nil || !missing {
		return err
	}
	err = datadir.Translate(s.db.AddBuckets(state.StateBuckets...))
	if errors.Is(err, domain.ErrFull) {
		s.log.Error("the disk is full: the history of the status page is kept from the next start on", "err", err)
		return nil
	}
	return err
}
