package domain

import "time"

// RetryJob is the job name under which users wait for a retry; its time is the stored retry time.
const RetryJob = "retry"

// TakeOptions says what a sender is ready to send.
type TakeOptions struct {
	Endpoint Endpoint
	Now      time.Time

	// Due returns the latest receipt time that a job lets through now; the zero time closes the job.
	// The job "" is the default schedule. A retry is due by its own stored time and is not asked about.
	Due func(job string) time.Time

	// Longest is the longest that anything is put off for a retry. What would wait for longer is due: the
	// clock was ahead when it was put off. Zero believes every time.
	Longest time.Duration

	// Force takes users whose retry time has not come, too: an operator's flush.
	Force bool

	// Skip, unless nil, reports whether a user must be left out of this request. It must not call the store.
	Skip func(user string) bool

	// Pass, unless nil, reports whether a user's changes must be left out of this request. It must not call the store.
	Pass func(UserChanges) bool

	MaxUsers  int // users with attributes, at most
	MaxEvents int // users with an event, at most

	// Fit is asked once about each user's changes, in the order in which they would be sent. Those that it accepts are
	// the lease; the first false ends the request, and that user's changes stay in the outbox. Changes that fit no
	// request even alone must be accepted and then settled as parked. Fit runs in the write transaction: it must not
	// call the store, nor wait for a lock that is held for longer than a moment.
	Fit func(UserChanges) bool
}

// UserChanges is what one request says of one user: attributes, then at most one event. A delete stands in the place of
// the event.
type UserChanges struct {
	User       string
	Attributes []Change
	Event      *Change
}

// Lease is the changes of one request, or of several if MoEngage refuses it whole. It is on disk before the first
// leaves, and stays until it is settled. One that is found at a start is settled as uncertain.
type Lease struct {
	ID       uint64
	Endpoint Endpoint
	Users    []UserChanges
}

// Verdict is what became of the attributes, or of the event, of one user in a request.
type Verdict uint8

const (
	Untried   Verdict = iota // never left, or left beside an offender: waits again, no attempt is spent
	Delivered                // MoEngage accepted it
	Refused                  // MoEngage certainly did not take it; worth another attempt
	Uncertain                // it may have arrived: attributes are sent again whatever they say
	Parked                   // MoEngage will never take it as it is
)

// Result is a verdict with its circumstances.
type Result struct {
	Verdict  Verdict
	RetryAt  time.Time // Refused and Uncertain: not before; zero is at once
	Alone    bool      // no other user was in the request
	Reason   string    // code; not for Delivered
	Sentence string
	Answer   Answer
}

// UserResult reports both halves of one user's changes, in the order of Lease.Users.
type UserResult struct {
	Attributes Result // meaningless when the user had none
	Event      Result // likewise
}

// Settlement settles a lease.
type Settlement struct {
	Lease   uint64
	At      time.Time
	NotSent bool // the request certainly did not leave, so that no limit counts it
	Results []UserResult
}

// Next says what Take left behind.
type Next struct {
	Retry time.Time            // the earliest retry time
	Jobs  map[string]time.Time // earliest receipt time of pending changes, by job, in whole seconds

	// RetryJobs is the same for changes that wait for a retry. It is nil when nothing does, and when those are
	// more users than were looked at.
	RetryJobs map[string]time.Time

	// More says that the Take looked at as much as one may, and something else may be due.
	More bool
}

// SentSecond is how much left within one second.
type SentSecond struct {
	At            time.Time
	Users, Events int
	Cohorts       int // requests on the endpoint of cohorts
	Deletes       int // users to delete, one a request
}
