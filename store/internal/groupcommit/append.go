package groupcommit

import (
	"context"
	"time"

	"personasync/store/engine"
)

// Append waits until records, encoded as frames, are durable. Requests that come while a commit is under way share the
// next one. The errors are those of Config.Refuse, ErrBusy if too many requests wait, ErrClosed after Stop, and those of
// Config.Commit. After an engine.DoubtError the records may be durable all the same.
func (c *Committer) Append(ctx context.Context, frames ...[]byte) error {
	return c.append(ctx, NewRequest(frames...))
}

func (c *Committer) append(ctx context.Context, req *Request) error {
	if c.config.Refuse != nil {
		if err := c.config.Refuse(); err != nil {
			return err
		}
	}
	if err := c.enqueue(req); err != nil {
		return err
	}
	c.lead()
	select {
	case err := <-req.done:
		return err
	case <-ctx.Done():
		return &engine.DoubtError{Cause: ctx.Err()}
	}
}

// AppendOther is Append for records that are not events. Others counts them until they are applied.
func (c *Committer) AppendOther(ctx context.Context, frames ...[]byte) error {
	c.count.others.Add(int64(len(frames)))
	req := NewRequest(frames...)
	req.other = true
	err := c.append(ctx, req)
	if err != nil {
		c.count.others.Add(-int64(len(frames)))
	}
	return err
}

// Probe makes the committer commit an empty transaction, and returns once that has succeeded or failed, or with the
// error of ctx. It does not commit itself: it could not stop waiting for a disk that does not answer.
func (c *Committer) Probe(ctx context.Context) error {
	req := NewRequest()
	if err := c.enqueue(req); err != nil {
		return err
	}
	c.wake()
	select {
	case <-req.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SetCommitInterval sets the least time from the beginning of one commit to that of the next. It is 0 at first: a commit
// begins as soon as the one before has ended.
func (c *Committer) SetCommitInterval(d time.Duration) { c.interval.Store(int64(d)) }

// CommitInterval returns what SetCommitInterval set.
func (c *Committer) CommitInterval() time.Duration { return time.Duration(c.interval.Load()) }
