package writer

import (
	"context"
	"time"

	"personasync/store/engine"
)

// Inbox is the log of a store, as its writer needs it. All methods may be called concurrently.
type Inbox interface {
	engine.Log

	// Written returns a channel that receives after a commit. It has a buffer of one: a slow reader misses
	// repetitions, never the last.
	Written() <-chan struct{}

	// Next returns the number that the next record gets.
	Next() uint64

	// Spans reports whether a file of the inbox should have record n, so that a hole there is damage.
	Spans(n uint64) bool

	// Events returns how many events this process has committed. OthersApplied subtracts n applied records from Others.
	Events() int64
	OthersApplied(n int64)

	// Commits returns how many commits with records this process has made. CommitInterval is the least time from the
	// beginning of one to that of the next, 0 at first.
	Commits() uint64
	CommitInterval() time.Duration
	SetCommitInterval(d time.Duration)

	// Finished returns how many commits have succeeded or failed in this process. Probe makes an empty one, and
	// returns once it has, or with the error of ctx.
	Finished() uint64
	Probe(ctx context.Context) error
}
