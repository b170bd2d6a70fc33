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
// A gate is drained when nothing of its job received by then is left. The outbox says by job what
// waits, for its turn or for a retry; and what is in flight must have landed without anything coming
// back. After a flight of which something did come back the outbox has to be asked whose it is, even
// while nothing may leave: else a gate would stay open through the trouble of another job, whose
// changes are always in flight when the outbox is asked for something to send.
//
// A gate may come after another road's: a cohort change waits for its user's older changes there, and
// while it does the road of cohorts looks empty. Then it is drained when its queue is empty after the
// other gate was.
type gate struct {
	job     string
	every   bool // all jobs
	upTo    time.Time
	lets    time.Time       // what was received later, up to then, may leave, too; the gate does not wait for it
	after   <-chan struct{} // closed when the other gate is drained; nil: there is none
	drained chan struct{}

	last bool // the other gate was drained before the outbox was last asked

	// air holds the flights that have not landed of those in the air when the gate's queue was seen
	// empty; nil while it was not. What left later cannot be the gate's.
	air map[uint64]bool
}

func (g *gate) opens(job string) bool { return g.every || g.job == job }

// gates is the set of open gates. Sender.mu guards it.
type gates []*gate

// due returns how far the gates let each job's changes out now, as a function that may be used
// without the lock. The outbox is asked with it next.
func (gs gates) due() func(job string) time.Time {
	for _, g := range gs {
		g.last = g.last || g.after == nil || isClosed(g.after)
	}
	if len(gs) == 0 {
		return func(string) time.Time { return time.Time{} }
	}
	var every time.Time
	byJob := make(map[string]time.Time, len(gs))
	for _, g := range gs {
		if g.every {
			every = latest(every, g.upTo)
		} else {
			byJob[g.job] = latest(byJob[g.job], latest(g.upTo, g.lets))
		}
	}
	return func(job string) time.Time { return latest(every, byJob[job]) }
}

// look notes what the outbox says after everything due was taken, and which flights are in the air.
func (gs *gates) look(next store.Next, air map[uint64]bool) {
	for _, g := range *gs {
		switch {
		case !g.last, g.waiting(next):
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

// widen has the open gates of a job let out what was received up to a moment.
func (gs gates) widen(job string, upTo time.Time) {
	for _, g := range gs {
		if !g.every && g.job == job {
			g.lets = upTo
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (g *gate) waiting(next store.Next) bool {
	if !next.Retry.IsZero() && next.RetryJobs == nil {
		return true // nobody says whose it is
	}
	return g.owns(next.Jobs) || g.owns(next.RetryJobs)
}

// owns reports whether any of what waits, by job since when, is the gate's.
func (g *gate) owns(waiting map[string]time.Time) bool {
	for job, received := range waiting {
		if g.opens(job) && !received.After(g.upTo) {
			return true
		}
	}
	return false
}

// blind reports whether a gate does not know yet that its queue is empty.
func (gs gates) blind() bool {
	return slices.ContainsFunc(gs, func(g *gate) bool { return g.air == nil })
}
