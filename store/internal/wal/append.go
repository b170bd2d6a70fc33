package wal

import (
	"context"
	"fmt"

	"personasync/store/crashpoint"
	"personasync/store/engine"
	"personasync/store/internal/boltfile"
)

// Append waits until records, encoded as frames, are on disk. Requests that come while a commit is under way share the
// next one. The errors are those of Hooks.Refuse, ErrBusy if too many requests wait, ErrClosed after Stop, and those of
// the disk. After an engine.DoubtError the records may be on disk all the same.
func (in *Log) Append(ctx context.Context, frames ...[]byte) error {
	return in.append(ctx, false, frames)
}

func (in *Log) append(ctx context.Context, other bool, frames [][]byte) error {
	req := &appendRequest{frames: frames, other: other, done: make(chan error, 1)}
	for _, f := range frames {
		req.size += len(f)
	}
	err := ask(in.hooks.Refuse)
	if err == nil {
		err = in.committer.enqueue(req)
	}
	if err != nil {
		return err
	}
	in.committer.lead()
	select {
	case err := <-req.done:
		return err
	case <-ctx.Done():
		return &engine.DoubtError{Cause: ctx.Err()}
	}
}

// AppendOther is Append for records that are not events. Others counts them until they are applied.
func (in *Log) AppendOther(ctx context.Context, frames ...[]byte) error {
	in.count.others.Add(int64(len(frames)))
	err := in.append(ctx, true, frames)
	if err != nil {
		in.count.others.Add(-int64(len(frames)))
	}
	return err
}

// Others returns how many records this process appended with AppendOther that are not applied yet.
func (in *Log) Others() int64 { return in.count.others.Load() }

// OthersApplied subtracts n applied records from Others. Those that another process appended do not take it below 0.
// One caller at a time.
func (in *Log) OthersApplied(n int64) { in.count.others.Add(-min(n, in.count.others.Load())) }

// Events returns how many events this process has committed. Other records do not count: an operator who gives an order
// waits until it is applied, and not for the disk.
func (in *Log) Events() int64 { return in.count.events.Load() }

// Probe makes the committer commit an empty transaction, and returns once that has succeeded or failed, or with the
// error of ctx. It does not commit itself: it could not stop waiting for a disk that does not answer.
func (in *Log) Probe(ctx context.Context) error {
	req := &appendRequest{done: make(chan error, 1)}
	if err := in.committer.enqueue(req); err != nil {
		return err
	}
	in.committer.wake()
	select {
	case <-req.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commit writes a group and answers it. The caller holds the commit lock.
func (in *Log) commit(group []*appendRequest) {
	err := in.write(group)
	if err == nil {
		if err = ask(in.hooks.AfterCommit); err != nil {
			err = &engine.DoubtError{Cause: err}
		}
	}
	in.count.finished.Add(1)
	for _, req := range group {
		req.done <- err
	}
	if err != nil {
		return
	}
	select {
	case in.written <- struct{}{}:
	default:
	}
}

func (in *Log) write(group []*appendRequest) error {
	s, err := in.writable()
	if err != nil {
		return err
	}
	first, count, events, newest := in.next.Load(), uint64(0), 0, int64(0)
	for _, req := range group {
		count += uint64(len(req.frames))
		if !req.other {
			events += len(req.frames)
		}
		for _, f := range req.frames {
			newest = in.records.Received(f, newest)
		}
	}
	if err = boltfile.Guard(func() error { in.buf, err = s.write(first, group, in.buf); return err }); err != nil {
		return fmt.Errorf("write the inbox: %w", err)
	}
	if count == 0 { // a probe
		return nil
	}
	crashpoint.Reach(crashpoint.InboxCommitted)
	in.mu.Lock()
	if s.first == 0 {
		s.first = first
	}
	s.last, s.newest = first+count-1, max(s.newest, newest)
	in.mu.Unlock()
	in.next.Store(first + count)
	in.count.events.Add(int64(events))
	in.count.commits.Add(1)
	return nil
}
