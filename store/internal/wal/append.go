package wal

import (
	"cmp"
	"fmt"

	"personasync/store/crashpoint"
	"personasync/store/engine"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/groupcommit"
)

// commit writes a group. The caller holds the commit lock.
func (in *Log) commit(group groupcommit.Group) error {
	err := in.write(group)
	if err == nil {
		if err = ask(in.hooks.AfterCommit); err != nil {
			err = &engine.DoubtError{Cause: err}
		}
	}
	return err
}

func (in *Log) write(group groupcommit.Group) error {
	s, err := in.writable()
	if err != nil {
		return err
	}
	first, count, newest := in.next.Load(), uint64(0), int64(0)
	for _, req := range group {
		count += uint64(len(req.Frames))
		for _, f := range req.Frames {
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
	s.first = cmp.Or(s.first, first)
	s.last, s.newest = first+count-1, max(s.newest, newest)
	in.mu.Unlock()
	in.next.Store(first + count)
	return nil
}
