package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"

	berrors "go.etcd.io/bbolt/errors"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// Errors a caller can tell apart.
var (
	ErrInUse    = boltfile.ErrInUse
	ErrNotFound = domain.ErrNotFound
	ErrBusy     = domain.ErrBusy
	ErrFull     = domain.ErrFull
	ErrNoRoom   = errors.New("there is no room to start") // to make a store in, or to migrate one
	ErrClosed   = domain.ErrClosed
	ErrNewer    = wire.ErrNewer
	ErrNoData   = errors.New("no data here yet")
	ErrNoPlace  = errors.New("the data directory is not there yet") // a disk that is not mounted, perhaps
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
	CheckInChild func(ctx context.Context, dir string) (*CheckReport, error)

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
	place     *place           // of the files
	barred    atomic.Bool      // the inbox takes nothing: the epoch of the changes that it would make is not on disk yet
	now       func() time.Time // of a command; time.Now but in tests
	looking   sync.Mutex       // held while they are compared with their names
	written   time.Time        // see Written

	commands chan *command
	closing  chan struct{}    // closed by Close; ends the writer
	gone     chan struct{}    // closed when the writer has ended
	wake     [2]chan struct{} // by Endpoint - 1; buffers of one
	once     sync.Once

	applied  atomic.Uint64 // number of the last record applied, on disk
	round    atomic.Pointer[round]
	finished atomic.Uint64 // transactions of the writer that came to an end, good or bad
	beat     beat          // of Liveness

	budget       *diskBudget // whether there is any for more events
	marker       *shutdownMarker
	checkInChild func(ctx context.Context, dir string) (*CheckReport, error)
	broken       chan struct{} // closed when damage was met at work
	brokenOnce   sync.Once
	unreadable   sync.Once

	life      context.Context // ends with Close
	end       context.CancelFunc
	upkeep    sync.Mutex     // held by a compaction, a backup or a check: one at a time
	compacted atomic.Int64   // when it was last compacted unasked, ns
	tail      atomic.Bool    // a backup reads the inbox: nothing of it is removed
	exits     exitWalk       // of Prune
	others    sync.WaitGroup // goroutines beside the writer and the committer

	// The writer's own.
	state       *state
	parkings    *parkings // parked by this process, for those who follow
	refused     *refusals
	unread      bool      // a transaction failed, and state was not read back since: see readBack
	left        bool      // when it was opened, the state was as the last run left it
	arrival     *arrival  // still to be noted; nil: nothing is
	flown       uint64    // the last lease before that transaction
	starved     bool      // the last batch found none of the records it looked for
	reached     time.Time // receipt of the newest record applied by this process
	pacing      pacing
	orphaned    []uint64 // flights that nobody was given: they are still to be put back
	interrupted bool     // flights that the last process left are still to be settled: there was no room
	between     chan func()
	dirty       *dirtySet // what a compaction must copy again; nil without one
	arena       []byte    // memory of the last batch, for the next

	rulesMu  sync.Mutex    // orders SetRules
	appended *domain.Rules // the newest rules in the inbox, nil while unknown
	unsure   bool          // an append of rules failed, and may have reached the inbox all the same
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
	go s.writeLoop()
	s.others.Go(s.watchDisk)
	s.others.Go(s.watchPlace)
	return s, nil
}

// openAtRest is Open up to where it is ready to apply.
func openAtRest(dir string, o Options) (s *Store, err error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir, o.Command)
	if err != nil {
		return nil, roomless(err)
	}
	s = &Store{
		log: o.Log, dir: dir, lock: lock, now: time.Now,
		commands: make(chan *command), closing: make(chan struct{}), gone: make(chan struct{}), wake: [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)},
		between: make(chan func()),
		budget:  newDiskBudget(o.MaxDataBytes),
		broken:  make(chan struct{}), checkInChild: o.CheckInChild,
	}
	if o.Start == nil {
		o.Start = context.Background()
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.retention.Store(&o)
	s.written = lastWritten(dir)
	if s.place, err = newPlace(dir); err != nil {
		_ = boltfile.Unlock(lock)
		return nil, err
	}
	if err := s.open(o.Start); err != nil {
		s.place.held.Close()
		_ = boltfile.Unlock(lock)
		return nil, err
	}
	s.r.damaged = s.noteRead
	s.round.Store(newRound(nil))
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
		return fmt.Errorf("%w: %s does not exist: mount its disk, or make that folder", ErrNoPlace, filepath.Dir(dir))
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %s points to a folder that does not exist: mount its disk, or make that folder", ErrNoPlace, dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s does not exist, and this user may not make it: mount its disk, or make it and give it to the agent's user",
			ErrNoPlace, dir)
	}
	return roomless(fmt.Errorf("make the data directory: %w", err))
}

// Written is when the files were last written to before they were opened, by the clock of then; the zero
// time if there were none. A clock that shows less now was set back.
func (s *Store) Written() time.Time { return s.written }

func lastWritten(dir string) (last time.Time) {
	paths, err := dataFiles(dir)
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
	epoch, err := s.openState()
	if err != nil {
		return err
	}
	inbox, err := wal.Open(s.dir, epoch, s.state.applied+1, inboxRecords)
	if err != nil {
		s.db.Close()
		if s.state.applied == 0 {
			err = roomless(err)
		}
		return err
	}
	inbox.MaxBytes.Store(s.budget.segment())
	inbox.Hooks = wal.Hooks{Refuse: s.refuseRecords, Home: s.place.check, Naming: &s.place.naming, AfterCommit: s.afterCommit}
	s.inbox, s.r.inbox = inbox, inbox
	if s.parkings == nil {
		s.parkings = newParkings(time.Now())
	}
	if s.refused == nil {
		s.refused = newRefusals(time.Now())
		if err := s.look(func(tx *bolt.Tx) error { return s.refused.load(tx, s.state.ledger.rejected) }); err != nil {
			inbox.Close()
			s.db.Close()
			return err
		}
	}
	s.r.parkings, s.r.refused = s.parkings, s.refused
	s.applied.Store(s.state.applied)
	s.arrive()
	s.lookAround()
	if err := boltfile.Guard(s.recover); err != nil {
		inbox.Close()
		s.db.Close()
		return err
	}
	return nil
}

// openState opens state.db, or makes it where there is no store yet. An inbox without a state is not
// a new store: starting empty would forget every membership in silence.
func (s *Store) openState() (epoch uint32, err error) {
	path := filepath.Join(s.dir, stateFile)
	found, err := boltfile.Exists(path)
	if err != nil {
		return 0, fmt.Errorf("look for the state: %w", err)
	}
	if !found {
		if inboxes, _, err := wal.Files(s.dir); err != nil {
			return 0, err
		} else if len(inboxes) > 0 {
			return 0, fmt.Errorf("%w: %s has an inbox but no %s: restore a backup, or move the inbox files away to start anew", ErrUnsalvageable, s.dir, stateFile)
		}
		s.tellOfBeginning()
		if err := boltfile.Create(path, func(db *bolt.DB) error { return initState(db, rand.Uint32()|1) }); err != nil {
			return 0, roomless(err)
		}
	}
	db, err := boltfile.Open(path, stateMmap, false)
	if err != nil {
		return 0, err
	}
	s.db = newStateDB(db)
	s.r = &reader{db: s.db}
	if s.place.state, err = os.Stat(path); err != nil {
		s.db.Close()
		return 0, err
	}
	err = boltfile.Guard(func() error {
		if err := migrate(db, migrations, s.log); err != nil {
			return err
		}
		if epoch, err = boltfile.Epoch(db); err != nil {
			return err
		}
		if err := s.addBuckets(); err != nil {
			return err
		}
		return s.db.View(func(tx *bolt.Tx) error {
			s.state, err = loadCounted(tx)
			return err
		})
	})
	if err != nil {
		s.db.Close()
		return 0, err
	}
	return epoch, nil
}

// roomless tells a start that a full disk ends from those that it does not: nothing is received yet, or
// nothing can be until the data is migrated, so there is no use in trying again unasked.
func roomless(err error) error {
	if errors.Is(translate(err), domain.ErrFull) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	return err
}

// tellOfBeginning says that a store begins with nothing, and whether there was one before.
func (s *Store) tellOfBeginning() {
	if s.marker.last == (lastRun{}) {
		s.log.Info("a new store begins", "dir", s.dir)
		return
	}
	s.log.Error("an agent has run on this directory, and its data is gone: beginning with nothing, so that every membership is unknown; "+
		"if that is not what you want, stop and restore a backup", "dir", s.dir)
}

// recover settles the flights that were under way when the last process ended, and writes the epoch that this one
// begins. Without either it writes nothing. On a full disk the writer does it later: a start needs no room. No
// record is taken before the epoch is on disk: a crash would leave its change to the epoch of before.
func (s *Store) recover() error {
	begins := s.arrival != nil && s.arrival.epoch != 0
	s.barred.Store(begins)
	if s.interrupted = len(s.state.leases)+len(s.state.corruptLeases) > 0; !s.interrupted && !begins {
		return nil
	}
	err := s.transact(nil, false)
	if errors.Is(err, domain.ErrFull) {
		s.log.Error("the disk is full: requests that the last stop cut off are settled, and events taken, once there is room", "err", err)
		return nil
	}
	return err
}

// strand puts back the flights that never left, and settles those that were under way when the last
// process ended.
func (s *Store) settleInterrupted(b *batch) {
	for _, n := range s.orphaned {
		b.settle(domain.Settlement{Lease: n, At: time.Now(), NotSent: true})
	}
	if !s.interrupted {
		return
	}
	for _, f := range slices.Sorted(maps.Keys(s.state.leases)) {
		b.interrupt(f, time.Now())
	}
	for _, n := range s.state.corruptLeases {
		key := numberKey(n)
		b.quarantine(bucketFlights, key, b.tx.Bucket(bucketFlights).Get(key), wire.ErrDamaged)
	}
}

// Close stops applying, waits for what is being written, and releases the directory.
func (s *Store) Close() (err error) {
	s.once.Do(func() {
		s.inbox.Stop()
		s.end()
		close(s.closing)
		<-s.gone
		s.others.Wait()
		s.upkeep.Lock() // for good: what waits for it finds the store closed
		defer s.upkeep.Unlock()
		if counts := s.refused.unwritten(); (counts || s.arrival != nil) && !s.isBroken() {
			if err = s.write(nil, false); !counts {
				err = nil // the next start arrives once more
			}
		}
		s.inbox.CloseFiles()
		err = errors.Join(err, s.closeState(), s.marker.ended(), s.place.held.Close(), boltfile.Unlock(s.lock))
	})
	return err
}

// SetRetention changes how long things stay, from the next Prune on, and how much they may take. Of o
// nothing else counts.
func (s *Store) SetRetention(o Options) {
	s.retention.Store(&o)
	s.budget.limit.Store(o.MaxDataBytes)
	s.inbox.MaxBytes.Store(s.budget.segment())
	s.budget.look()
}

// refuseRecords says why the inbox takes nothing; nil when it does.
func (s *Store) refuseRecords() error {
	if err := s.place.refusal(); err != nil {
		return err
	}
	if s.barred.Load() {
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
		frames[i] = appendEvent(make([]byte, 0, len(e.Raw)+512), e)
		size += len(frames[i])
	}
	err := s.inbox.Append(ctx, frames...)
	s.note(err)
	err = translate(err)
	s.budget.note(size, err)
	return err
}

// translate gives what the file system said a name of ours. bbolt keeps only the words of an error
// met while a file grows.
func translate(err error) error {
	switch {
	case err == nil, errors.Is(err, domain.ErrFull):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, berrors.ErrMaxSizeReached),
		strings.Contains(err.Error(), syscall.ENOSPC.Error()), strings.Contains(err.Error(), syscall.EDQUOT.Error()):
		return fmt.Errorf("%w: %w", domain.ErrFull, err)
	}
	return err
}

// SetRules makes r the rules for every event appended after it returns. Equal rules cost nothing.
func (s *Store) SetRules(ctx context.Context, r domain.Rules) error {
	s.rulesMu.Lock()
	defer s.rulesMu.Unlock()
	r.Names = domain.NamesAsSent
	if s.appended != nil && !s.unsure && sameRules(s.appended, &r) {
		return nil
	}
	if s.appended == nil && !s.unsure { // since start: what is applied counts, if that is all there is
		known, err := s.appliedRules()
		if err != nil {
			return err
		}
		if known != nil && sameRules(known, &r) {
			s.appended = &r
			return nil
		}
	}
	frame, err := appendRules(nil, &r)
	if err != nil {
		return err
	}
	if err := s.inbox.AppendOther(ctx, frame); err != nil {
		s.unsure = true
		return translate(err)
	}
	s.appended, s.unsure = &r, false
	return nil
}

func sameRules(a, b *domain.Rules) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

// appliedRules returns the rules in force, or nil while records wait that may change them.
func (s *Store) appliedRules() (known *domain.Rules, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		text := meta.Get(metaRules)
		if text == nil || number(meta.Get(metaApplied)) < s.inbox.Last() {
			return nil
		}
		known = new(domain.Rules)
		return json.Unmarshal(text, known)
	})
	return known, err
}

// CountRefusal counts one request that was refused for good, at its Last. It waits for no disk.
func (s *Store) CountRefusal(r domain.Refusal) { s.refused.count(r) }

// Take commits a lease of due deliveries and returns it, or nil when nothing is due. Users of a
// lease are out of reach of further Takes on its endpoint until it is settled.
func (s *Store) Take(ctx context.Context, o domain.TakeOptions) (f *domain.Lease, next domain.Next, err error) {
	if empty, err := s.empty(o.Endpoint); empty || err != nil {
		return nil, domain.Next{}, err // an idle agent writes nothing
	}
	more := false
	err = s.run(ctx, func(b *batch) error {
		f, more = b.take(o)
		return nil
	}, func(b *batch) { next = b.next(o.Endpoint) })
	next.More = more
	if err != nil {
		return nil, domain.Next{}, err
	}
	return f, next, nil
}

// empty reports whether nobody waits on an endpoint. What is applied a moment later wakes the sender.
func (s *Store) empty(endpoint domain.Endpoint) (empty bool, err error) {
	select {
	case <-s.gone:
		return false, domain.ErrClosed
	default:
	}
	err = s.look(func(tx *bolt.Tx) error {
		k, _ := tx.Bucket(bucketDue).Cursor().Seek([]byte{byte(endpoint)})
		empty = k == nil || domain.Endpoint(k[0]) != endpoint
		return nil
	})
	return empty, err
}

// Settle writes what became of a lease. After it returns, the outcome survives a crash.
func (s *Store) Settle(ctx context.Context, o domain.Settlement) error {
	return s.run(ctx, func(b *batch) error { b.settle(o); return nil }, nil)
}

// Wake returns a channel that receives after a commit that made something newly due on an endpoint. It has
// a buffer of one: a slow reader misses repetitions, never the last.
func (s *Store) Wake(endpoint domain.Endpoint) <-chan struct{} { return s.wake[endpoint-1] }

// AmbiguousError says that a key names several computations.
type AmbiguousError struct {
	Key string
	IDs []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%s names several computations: give one of their ids instead", e.Key)
}
