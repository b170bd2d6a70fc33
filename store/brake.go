package store

import (
	"math"
	"sync/atomic"
	"time"
)

// brake keeps the lag bounded under a load that does not end. A burst is acknowledged as fast as the
// inbox can, whatever apply does: it has time for that later. Under a load that stays there is no
// later, and what the inbox takes of the disk and the processors apply does not have. First apply gives
// up its rests, once the oldest record has waited for patience. Where that is not enough, where after
// brakeAfter of it no fewer records wait, no more are received in a second than are applied: somewhat
// less while the oldest has waited for longer than brakeLag, and somewhat more while it has not. There
// they meet. Nobody is refused for it. Whoever sends waits a little longer for the next commit, which
// then gathers more.
//
// brakeLag is beyond patience, so that a brake that is on never meets an apply that rests: each would
// wait for the other. It is let go where apply begins to rest again.
//
// The writer learns, the committer obeys.
type brake struct {
	rate atomic.Int64 // events a second that may be received; 0: as many as come

	since   time.Time // since when the oldest record has waited for patience, zero when it has not; the writer's
	waiting uint64    // how many records did at since; the writer's
	learned time.Time // when the last batch was applied; the writer's
	pace    pace      // the writer's
	due     time.Time // when the next group may be committed; belongs to the turn
}

const (
	brakeAfter = 25 * time.Second
	brakeLag   = patience + 2*time.Second
	brakeIdle  = 10 * time.Second // no batch for so long: what comes is another load

	brakeLeast = 100                   // records a second: who asks whether the inbox works is not kept waiting for long
	brakePause = time.Second           // the longest before a commit
	brakeSlack = 50 * time.Millisecond // what commits took is made up for, but not a time without any
)

// on reports whether less is received than comes.
func (k *brake) on() bool { return k.rate.Load() > 0 }

// learn takes, after a batch, how many records were applied so far, how many wait, and how long the
// oldest has. It reports whether the brake was put on or let go.
func (k *brake) learn(applied, waiting uint64, age time.Duration, now time.Time) (turned bool) {
	was := k.on()
	if now.Sub(k.learned) >= brakeIdle {
		k.pace = pace{}
	}
	k.learned = now
	rate := k.pace.learn(applied, now)
	switch long := now.Sub(k.since) >= brakeAfter; {
	case age < patience || rate == 0:
		k.since = time.Time{}
		k.rate.Store(0)
	case k.since.IsZero(), long && waiting < k.waiting && !k.on():
		k.since, k.waiting = now, waiting
	case long:
		behind := float64(waiting) / rate // age would say it only once what was received before is applied
		share := min(max(2-behind/brakeLag.Seconds(), 0.5), 1.25)
		k.rate.Store(max(int64(share*rate), brakeLeast))
	}
	return was != k.on()
}

// pause is how long the next commit has to wait.
func (k *brake) pause(now time.Time) time.Duration {
	if !k.on() {
		return 0
	}
	return min(k.due.Sub(now), brakePause)
}

// most is how many events one commit may have, but for its last request: what comes in a longer pause than
// brakePause.
func (k *brake) most() int {
	if rate := k.rate.Load(); rate > 0 {
		return int(float64(rate) * brakePause.Seconds())
	}
	return math.MaxInt
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
	before uint64  // applied at since
	rate   float64 // 0 until it is known
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
