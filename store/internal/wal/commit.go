package wal

import (
	"context"
	"fmt"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/internal/boltfile"
)

// appendRequest is one caller of Append, waiting.
type appendRequest struct {
	frames [][]byte
	size   int
	other  bool       // they are no events
	done   chan error // buffer of one
}

const (
	// queueLength bounds how many requests wait for the next commit. With Segment's usual request of
	// one event that is 4,096 connections; more than that are told to come again.
	queueLength = 4096

	// groupBytes bounds one commit, so that the first of a long queue is not kept waiting by the last.
	GroupBytes = 8 << 20

	// commitHold is how many groups the committer commits before others may have the turn.
	commitHold = 64
)

// Append waits until records, encoded as frames, are on disk. After a DoubtError they may be there all the same.
func (in *Log) Append(ctx context.Context, frames ...[]byte) error {
	return in.append(ctx, false, frames)
}

func (in *Log) append(ctx context.Context, other bool, frames [][]byte) error {
	req := &appendRequest{frames: frames, other: other, done: make(chan error, 1)}
	for _, f := range frames {
		req.size += len(f)
	}
	err := ask(in.Hooks.Refuse)
	if err == nil {
		err = in.enqueue(req)
	}
	if err != nil {
		return err
	}
	in.lead()
	select {
	case err := <-req.done:
		return err
	case <-ctx.Done():
		return &DoubtError{ctx.Err()}
	}
}

// A DoubtError ends an append whose records may be on disk, and take effect. It reads as its cause.
type DoubtError struct{ cause error }

// Error implements error.
func (e *DoubtError) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *DoubtError) Unwrap() error { return e.cause }

// AppendOther is Append for records that are no events. Others counts them until they are applied.
func (in *Log) AppendOther(ctx context.Context, frames ...[]byte) error {
	in.Others.Add(int64(len(frames)))
	err := in.append(ctx, true, frames)
	if err != nil {
		in.Others.Add(-int64(len(frames)))
	}
	return err
}

// Events counts the events that this process has committed. Other records do not count: an operator who gives an
// order waits until it is applied, and not for the disk.
func (in *Log) Events() int64 { return in.events.Load() }

func (in *Log) enqueue(req *appendRequest) error {
	in.senders.RLock()
	defer in.senders.RUnlock()
	if in.closed {
		return domain.ErrClosed
	}
	select {
	case in.requests <- req:
		return nil
	default:
		return domain.ErrBusy
	}
}

// lead commits the queued requests, once, if nobody has the turn. The committer does what came meanwhile.
func (in *Log) lead() {
	if !in.commitMu.TryLock() {
		return
	}
	in.commitOnce()
	in.releaseCommit()
}

func (in *Log) commitLoop() {
	defer close(in.gone)
	for {
		select {
		case <-in.waiting:
			in.drain()
		case <-in.closing:
			in.drain()
			return
		}
	}
}

// drain commits until no request is queued. It gives the turn back now and then: under a load that does not
// end requests are always queued, and a forget needs the turn, too.
func (in *Log) drain() {
	for len(in.requests) > 0 {
		in.commitMu.Lock()
		for n := 0; n < commitHold && in.commitOnce(); n++ {
		}
		in.commitMu.Unlock()
	}
}

// commitOnce commits a group of the queued requests, and reports whether there were any.
func (in *Log) commitOnce() bool {
	if len(in.requests) == 0 {
		return false
	}
	in.keepApart()
	group, size := []*appendRequest(nil), 0
	for size < GroupBytes {
		select {
		case req := <-in.requests:
			group, size = append(group, req), size+req.size
			continue
		default:
		}
		break
	}
	in.commit(group)
	return true
}

// keepApart waits until the next commit may begin, unless the inbox closes.
func (in *Log) keepApart() {
	apart := time.Duration(in.Apart.Load())
	if wait := time.Until(in.began.Add(apart)); apart > 0 && wait > 0 {
		select {
		case <-time.After(wait):
		case <-in.closing:
		}
	}
	in.began = time.Now()
}

func (in *Log) commit(group []*appendRequest) {
	err := in.write(group)
	if err == nil {
		if err = ask(in.Hooks.AfterCommit); err != nil {
			err = &DoubtError{err}
		}
	}
	in.Finished.Add(1)
	for _, req := range group {
		req.done <- err
	}
	if err != nil {
		return
	}
	select {
	case in.Written <- struct{}{}:
	default:
	}
}

func (in *Log) write(group []*appendRequest) error {
	s, err := in.writable()
	if err != nil {
		return err
	}
	first, count, events, newest := in.Next.Load(), uint64(0), 0, int64(0)
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
	in.Next.Store(first + count)
	in.events.Add(int64(events))
	in.Commits.Add(1)
	return nil
}

// Probe has the committer make an empty transaction, as if for a sender. It does not take the turn
// itself: then it could not stop waiting for a disk that does not answer.
func (in *Log) Probe(ctx context.Context) error {
	req := &appendRequest{done: make(chan error, 1)}
	if err := in.enqueue(req); err != nil {
		return err
	}
	select {
	case in.waiting <- struct{}{}:
	default:
	}
	select {
	case <-req.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
