package syncer

import (
	"maps"
	"slices"
	"time"

	"personasync/store/domain"
)

// A gate releases the changes of a cron job or an operator's flush: everything received up to a moment.
// Realtime jobs need none.
//
// A gate is drained when no change that it released is left. The outbox reports per job the pending changes and
// retries. In addition every lease in the air must be settled, with nothing returned. After a lease with
// returned changes the outbox must be asked which jobs they belong to, even while nothing may be sent.
// Otherwise a gate would stay open because of another job's failures, whose changes are always in flight when
// the outbox is asked for work.
//
// A gate may depend on a gate for the other endpoint. A cohort change waits for its user's older changes there,
// and until then the cohort queue looks empty. Such a gate is drained when its queue is empty after the other
// gate was drained.
type gate struct {
	job     string
	every   bool // all jobs
	upTo    time.Time
	lets    time.Time       // also releases changes received later, up to this time, without waiting for them
	after   <-chan struct{} // closed when the other gate is drained; nil if there is none
	drained chan struct{}

	last bool // the other gate was drained before the last question to the outbox

	// air has the unsettled leases among those in the air when the gate's queue was seen empty. It is nil while
	// the queue is not empty. Later leases cannot contain the gate's changes.
	air map[uint64]bool
}

func (g *gate) opens(job string) bool { return g.every || g.job == job }

// gates is the set of open gates. Sender.mu protects it.
type gates []*gate

// due returns the time up to which the gates release each job's changes. The returned function may be used
// without the lock. The caller asks the outbox with it next.
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

// look records the outbox's answer after all due changes were taken, and the leases in the air.
func (gs *gates) look(next domain.Next, air map[uint64]bool) {
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

// landed records a settled lease. back means that some of its changes returned to the outbox.
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

// widen makes the open gates of a job also release changes received up to upTo.
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

func (g *gate) waiting(next domain.Next) bool {
	if !next.Retry.IsZero() && next.RetryJobs == nil {
		return true // their job is unknown
	}
	return g.owns(next.Jobs) || g.owns(next.RetryJobs)
}

// owns reports whether any pending change belongs to the gate. waiting has each job's oldest receipt time.
func (g *gate) owns(waiting map[string]time.Time) bool {
	for job, received := range waiting {
		if g.opens(job) && !received.After(g.upTo) {
			return true
		}
	}
	return false
}

// blind reports whether some gate does not know yet that its queue is empty.
func (gs gates) blind() bool {
	return slices.ContainsFunc(gs, func(g *gate) bool { return g.air == nil })
}
