package agent

import (
	"context"
	"errors"
	"time"

	"personasync/store"
)

const (
	// lockPoll is the pause between two tries of a lock that another process holds.
	lockPoll = 50 * time.Millisecond

	// agentPatience is how long the lock of another agent is waited for. An agent that stops releases it, and a command
	// that has just taken the lock has not yet written that it is a command.
	agentPatience = time.Second

	// unknownPatience is how long a lock is waited for if its holder is unknown.
	unknownPatience = 30 * time.Second

	// waitNotedEvery is how often the log names the command that a start waits for.
	waitNotedEvery = 10 * time.Second
)

// waitForCommand retries open for as long as a command holds the data in dir, because its work ends. An agent holds them
// for good, so its lock is an error. waiting receives every 50 ms the holder and how long it has been waited for.
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

// holding is the process that holds dir, by err or by the kernel's list of locks.
func holding(dir string, err error) store.Holding {
	if held := (*store.InUseError)(nil); errors.As(err, &held) {
		return held.Holding
	}
	by, _ := store.Holder(dir) // zero: a command that only reads has no lock on the directory
	return by
}
