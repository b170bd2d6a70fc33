package groupcommit

import "sync/atomic"

// counters count since the log was opened. The methods that return them say what.
type counters struct {
	commits, finished atomic.Uint64
	others, events    atomic.Int64
}

// add counts a group that was committed. A probe is none.
func (c *counters) add(group Group) {
	records, events := 0, 0
	for _, req := range group {
		records += len(req.Frames)
		if !req.other {
			events += len(req.Frames)
		}
	}
	if records > 0 {
		c.events.Add(int64(events))
		c.commits.Add(1)
	}
}

// Others returns how many records this process appended with AppendOther that are not applied yet.
func (c *Committer) Others() int64 { return c.count.others.Load() }

// OthersApplied subtracts n applied records from Others. Those that another process appended do not take it below 0.
// One caller at a time.
func (c *Committer) OthersApplied(n int64) { c.count.others.Add(-min(n, c.count.others.Load())) }

// Events returns how many events this process has committed, or learned of with Arrived. Other records do not count: an
// operator who gives an order waits until it is applied, and not for the disk.
func (c *Committer) Events() int64 { return c.count.events.Load() }

// Commits returns how many commits with records this process has made.
func (c *Committer) Commits() uint64 { return c.count.commits.Load() }

// Finished returns how many transactions have succeeded or failed in this process, probes included.
func (c *Committer) Finished() uint64 { return c.count.finished.Load() }

// Written returns a channel that receives after a commit. It has a buffer of one: a slow reader misses repetitions,
// never the last.
func (c *Committer) Written() <-chan struct{} { return c.written }

// signal has Written receive.
func (c *Committer) signal() {
	select {
	case c.written <- struct{}{}:
	default:
	}
}

// Arrived counts records that another process has committed to the same log as events, and has Written receive.
func (c *Committer) Arrived(records int64) {
	c.count.events.Add(records)
	c.signal()
}
