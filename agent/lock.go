package agent

import (
	"context"
	"errors"
	"time"

	"personasync/store"
)

const (
	// lockPoll is how often a lock is tried that another process has.
	lockPoll = 50 * time.Millisecond

	// agentPatience is how long the lock of another agent is waited for: one that is stopping lets go
	// of it, and a command that has just taken it has not yet said that it is one.
	agentPatience = time.Second

	// unknownPatience is how long a lock is waited for whose holder is not known.
	unknownPatience = 30 * time.Second

	// waitNotedEvery is how often the agent says what its start waits for.
	waitNotedEvery = 10 * time.Second
)

// waitForCommand has open try again for as long as a command holds the data in dir: its work comes to
// an end. An agent has them for good, so that its lock is an error. waiting is told every 50 ms who
// holds the data, and how long that has been waited for.
func waitForCommand(ctx context.Context, dir string, waiting func(store.Holding, time.Duration), open func() error) error {
	for begun := time.Now(); ; {
		err := open()
		if !errors.Is(err, store.ErrInUse) {
			return err
		}
		by, since := holding(dir, err), time.Since(begun)
		if by.IsAgent() && since > agentPatience || by.PID == 0 && since > unknownPatience {
			return err
		}
		if since > agentPatience {
			waiting(by, since)
		}
		if pause(ctx, lockPoll) != nil {
			return context.Cause(ctx)
		}
	}
}

// pause waits for d, or for the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// holding is who holds dir, which err says or the list of locks.
func holding(dir string, err error) store.Holding {
	if held := (*store.InUseError)(nil); errors.As(err, &held) {
		return held.Holding
	}
	by, _ := store.Holder(dir) // nobody: a command that reads has no lock on the directory
	return by
}
