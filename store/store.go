package store

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Errors a caller can tell apart.
var (
	ErrInUse    = errors.New("the data directory is in use by another process")
	ErrNotFound = errors.New("nothing there")
	ErrBusy     = errors.New("the inbox is full") // try again in a moment
	ErrFull     = errors.New("the data directory has reached its limit")
	ErrClosed   = errors.New("the store is closed")
	ErrNewer    = errors.New("the data was written by a newer version")
	ErrNoData   = errors.New("no data here yet")
)

// Options opens a store. The zero value is usable in tests; Log is required.
type Options struct {
	Log *slog.Logger

	// How long things stay, zero for ever. See [retention] of the configuration.
	Delivered     time.Duration
	ReceivedFor   time.Duration
	ReceivedBytes int64
	Parked        time.Duration
}

// Store is the durable state of one agent: the inbox, and what follows from it.
// All methods may be called concurrently.
type Store struct {
	View
}

// View answers questions about the state. It reads and never changes anything. Every method is one
// short read transaction, so a page of a listing is consistent in itself.
type View struct{}

// Open locks dir, recovers what a crash left, and starts applying. The directory is made if missing.
// ErrInUse, ErrNewer and damage are told apart.
func Open(dir string, o Options) (*Store, error) { panic("stub") }

// OpenReadOnly opens the files of a stopped agent for inspection. It answers ErrNoData when there is
// no store in dir, and ErrInUse when an agent holds it.
func OpenReadOnly(dir string) (*View, error) { panic("stub") }

// Close ends a read-only view.
func (v *View) Close() error { panic("stub") }

// Close stops applying, waits for what is being written, and releases the directory.
func (s *Store) Close() error { panic("stub") }

// Append puts events on disk, in order, and returns once they are: after a nil error they survive
// kill -9 and power loss. Nothing of a failed Append is applied, unless the process died in it.
// ErrBusy, ErrFull and ErrClosed ask the sender to try again.
func (s *Store) Append(ctx context.Context, events ...*Event) error { panic("stub") }

// SetRules makes r the rules for every event appended after it returns. Equal rules cost nothing.
func (s *Store) SetRules(ctx context.Context, r Rules) error { panic("stub") }

// CountRejected adds to the count of requests refused at the door. It is cheap and never blocks.
func (s *Store) CountRejected() { panic("stub") }

// Take commits a flight of due deliveries and returns it, or nil when nothing is due. Users of a
// flight are out of reach of further Takes on its road until it is settled. next is when something may be due
// that is not yet: a receipt time of a job that Due held back, or a retry time; zero when unknown.
func (s *Store) Take(ctx context.Context, o TakeOptions) (f *Flight, next Next, err error) {
	panic("stub")
}

// Next says what Take left behind.
type Next struct {
	Retry time.Time            // the earliest retry time
	Jobs  map[string]time.Time // earliest receipt time of what waits, by job
}

// Preview returns the flight that Take would commit, and changes nothing.
func (v *View) Preview(o TakeOptions) (*Flight, error) { panic("stub") }

// Settle writes what became of a flight. After it returns, the outcome survives a crash.
func (s *Store) Settle(ctx context.Context, o Outcome) error { panic("stub") }

// Wake returns a channel that receives after a commit that made something newly due. It has a
// buffer of one: a slow reader misses repetitions, never the last.
func (s *Store) Wake() <-chan struct{} { panic("stub") }

// Prune removes what its retention no longer covers, a bounded slice at a time; more says that
// another call would find work.
func (s *Store) Prune(ctx context.Context, now time.Time) (more bool, err error) { panic("stub") }

// Sent returns the users and events that left in each second since the given time, for meters that
// must survive a restart.
func (v *View) Sent(since time.Time) ([]SentSecond, error) { panic("stub") }

// SentSecond is how much left within one second.
type SentSecond struct {
	At            time.Time
	Users, Events int
}

// JobRun is the last run of a scheduled job, kept so that a run missed while down is known.
type JobRun struct {
	Job      string    `json:"job"`
	Started  time.Time `json:"started"`  // the scheduled time of the last run that began
	Finished time.Time `json:"finished"` // zero while it is under way
	Missed   uint64    `json:"missed"`   // runs that fell into downtime, ever
}

// JobRuns lists the jobs' last runs, by name.
func (v *View) JobRuns() ([]JobRun, error) { panic("stub") }

// SetJobRun records a run.
func (s *Store) SetJobRun(ctx context.Context, r JobRun) error { panic("stub") }

// Counts returns the ledgers and gauges.
func (v *View) Counts() (Counts, error) { panic("stub") }

// Changes lists changes by id, oldest first; history is listed newest first.
// more says that the listing goes on behind the last one.
func (v *View) Changes(f OutboxFilter) (page []ChangeInfo, more bool, err error) { panic("stub") }

// Change returns one change, wherever it is, and the raw event that caused it while that is kept.
func (v *View) Change(id ID) (c *Change, raw []byte, err error) { panic("stub") }

// Stats groups what waits, is held or is parked.
func (v *View) Stats() ([]StatLine, error) { panic("stub") }

// Computations lists every computation seen, by key.
func (v *View) Computations() ([]ComputationInfo, error) { panic("stub") }

// Members lists the members of one computation; after is the user behind whom to go on, "" for the
// first page. An unknown key is ErrNotFound; an ambiguous one is an *AmbiguousError.
func (v *View) Members(key, after string, limit int) (page []MemberInfo, more bool, err error) {
	panic("stub")
}

// User returns everything known of one user, or ErrNotFound.
func (v *View) User(id string) (*UserInfo, error) { panic("stub") }

// AmbiguousError says that a key names several computations.
type AmbiguousError struct {
	Key string
	IDs []string
}

func (e *AmbiguousError) Error() string {
	return e.Key + " names several computations: give one of their ids instead"
}

// Describe turns a change into its line of a listing.
func (c *Change) Describe() ChangeInfo { panic("stub") }
