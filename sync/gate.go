package syncer

import (
	"maps"
	"slices"
	"time"

	"personasync/store"
)

// A gate lets out what a cron job, or an operator, has released: everything received up to a moment.
// Jobs in realtime need none; they have the clock.
//
// A gate is drained when nothing of its job received by then is left. The outbox says what waits by
// job; what waits for a retry has left its job's queue, so none may wait for one, whoever it belongs
// to; and what is in flight must have landed without anything coming back. While the road works, all
// that is a matter of a round trip.
type gate struct {
	job     string
	every   bool // all jobs
	upTo    time.Time
	drained chan struct{}

	// air holds the flights that have not landed of those in the air when the gate's queue was seen
	// empty; nil while it was not. What left later cannot be the gate's.
	air map[uint64]bool
}

func (g *gate) opens(job string) bool { return g.every || g.job == job }

// gates is the set of open gates. Sender.mu guards it.
type gates []*gate

// due returns how far the gates let each job's changes out now, as a function that may be used
// without the lock.
func (gs gates) due() func(job string) time.Time {
	if len(gs) == 0 {
		return func(string) time.Time { return time.Time{} }
	}
	var every time.Time
	byJob := make(map[string]time.Time, len(gs))
	for _, g := range gs {
		if g.every {
			every = latest(every, g.upTo)
		} else {
			byJob[g.job] = latest(byJob[g.job], g.upTo)
		}
	}
	return func(job string) time.Time { return latest(every, byJob[job]) }
}

// look notes what the outbox says after everything due was taken, and which flights are in the air.
func (gs *gates) look(next store.Next, air map[uint64]bool) {
	for _, g := range *gs {
		switch {
		case g.waiting(next):
			g.air = nil
		case g.air == nil:
			g.air = maps.Clone(air)
		}
	}
	gs.closeDrained()
}

// landed notes that a flight was settled, and whether any of it came back to the outbox.
func (gs *gates) landed(flight uint64, back bool) {
	for _, g := range *gs {
		switch {
		case !g.air[flight]:
		case back:
			g.air = nil
		default:
			delete(g.air, flight)
		}
	}
	gs.closeDrained()
}

func (gs *gates) closeDrained() {
	*gs = slices.DeleteFunc(*gs, func(g *gate) bool {
		if g.air == nil || len(g.air) > 0 {
			return false
		}
		close(g.drained)
		return true
	})
}

func (g *gate) waiting(next store.Next) bool {
	if !next.Retry.IsZero() {
		return true
	}
	for job, received := range next.Jobs {
		if g.opens(job) && !received.After(g.upTo) {
			return true
		}
	}
	return false
}
