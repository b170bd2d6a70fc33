package store

import (
	"sync/atomic"
	"time"
)

// brake keeps the lag bounded under a load that does not end. A burst is acknowledged as fast as the
// inbox can, whatever apply does: it has time for that later. Under a load that stays there is no
// later, and what the inbox takes of the disk and the processors apply does not have. So once records
// have waited for brakeAge, and have for brakeAfter, no more are received in a second than are applied,
// somewhat less while the lag is longer than brakeLag and somewhat more while it is shorter: there they
// meet. Nobody is refused for it. Whoever sends waits a little longer for the next commit, which then
// gathers more.
//
// The writer learns, the committer obeys.
type brake struct {
	rate atomic.Int64 // events a second that may be received; 0: as many as come

	since   time.Time // since when it is time to turn, zero when it is not; the writer's
	learned time.Time // when the last batch was applied; the writer's
	pace    pace      // the writer's
	due     time.Time // when the next group may be committed; belongs to the turn
}

const (
	brakeAge   = 10 * time.Second
	brakeAfter = 20 * time.Second
	brakeLag   = 4 * time.Second
	brakeOff   = time.Second      // a lag that is less …
	brakeOver  = 10 * time.Second // … for so long, or no batch, says that the load is over; apply rests for less

	brakeLeast = 100                   // records a second: who asks whether the inbox works is not kept waiting for long
	brakePause = time.Second           // the longest before a commit
	brakeSlack = 50 * time.Millisecond // what commits took is made up for, but not a time without any
)

// on reports whether less is received than comes.
func (k *brake) on() bool { return k.rate.Load() > 0 }

// learn takes, after a batch, how many records were applied so far, how many wait, and how long the
// oldest has. It reports whether the brake was put on or let go.
func (k *brake) learn(applied, waiting uint64, age time.Duration, now time.Time) (turned bool) {
	was, idle := k.on(), now.Sub(k.learned) >= brakeOver
	k.learned = now
	if idle { // nothing came, or nothing could be applied: this is another load
		k.since, k.pace = time.Time{}, pace{since: now, before: applied}
		k.rate.Store(0)
		return was
	}
	rate := k.pace.learn(applied, now)
	if rate == 0 {
		return false
	}
	behind := time.Duration(float64(waiting) / rate * float64(time.Second))
	switch {
	case was && k.lasts(behind < brakeOff, brakeOver, now):
		k.rate.Store(0)
		return true
	case was || k.lasts(age >= brakeAge, brakeAfter, now):
		share := max(1.5-0.5*behind.Seconds()/brakeLag.Seconds(), 0.5)
		k.rate.Store(max(int64(share*rate), brakeLeast))
		return !was
	}
	return false
}

// lasts reports whether something is so, and has been for a while. Then it begins anew.
func (k *brake) lasts(so bool, long time.Duration, now time.Time) bool {
	switch {
	case !so:
		k.since = time.Time{}
	case k.since.IsZero():
		k.since = now
	case now.Sub(k.since) >= long:
		k.since = time.Time{}
		return true
	}
	return false
}

// pause is how long the next commit has to wait.
func (k *brake) pause(now time.Time) time.Duration {
	if !k.on() {
		return 0
	}
	return min(k.due.Sub(now), brakePause)
}

// received takes that a group of so many events was committed.
func (k *brake) received(events int, now time.Time) {
	rate := k.rate.Load()
	if rate == 0 {
		return
	}
	if earliest := now.Add(-brakeSlack); k.due.Before(earliest) {
		k.due = earliest
	}
	k.due = k.due.Add(time.Duration(float64(events) / float64(rate) * float64(time.Second)))
}

// pace is how many records are applied a second, over windows of paceWindow and more: a batch comes all
// at once.
type pace struct {
	since  time.Time
	before uint64 // applied at since
	rate   float64
}

const paceWindow = 2 * time.Second

func (p *pace) learn(applied uint64, now time.Time) float64 {
	took := now.Sub(p.since)
	switch {
	case p.since.IsZero() || took < 0:
		p.rate = 0
	case took < paceWindow:
		return p.rate
	default:
		p.rate = float64(applied-p.before) / took.Seconds()
	}
	p.since, p.before = now, applied
	return p.rate
}
