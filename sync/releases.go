package syncer

import (
	"maps"
	"slices"
	"sync"
	"time"

	"personasync/store/domain"
)

// release lets the changes of a cron job or an operator's flush go: everything received up to a moment. Realtime
// jobs need none.
//
// A release is drained when no change of it is left. The outbox reports per job the pending changes and retries.
// In addition every lease in flight must be settled, with nothing returned. After a lease with returned changes
// the outbox must be asked which jobs they belong to, even while nothing may be sent. Otherwise a release would
// stay open because of another job's failures, whose changes are always in flight when the outbox is asked for
// work.
//
// A release may depend on a release for the other endpoint. A cohort change waits for its user's older changes
// there, and until then the cohort queue looks empty. Such a release is drained when its queue is empty after
// the other release was drained.
type release struct {
	job      string
	allJobs  bool
	upTo     time.Time
	alsoUpTo time.Time       // also lets go of changes received later, up to this time, without waiting for them
	after    <-chan struct{} // closed when the other release is drained; nil if there is none
	drained  chan struct{}

	otherDrained bool // the other release was drained before the last question to the outbox

	// inFlight has the unsettled leases among those in flight when the queue of the release was seen empty. It is
	// nil while the queue is not empty. Later leases cannot contain changes of the release.
	inFlight map[uint64]bool
}

// releases has the releases that are not drained, and the leases in flight. It is safe for concurrent use.
type releases struct {
	mu       sync.Mutex // protects the fields below
	open     []*release
	inFlight map[uint64]bool // unsettled leases
	returns  uint64          // number of leases with changes that returned
	stale    bool            // changes returned since the outbox's last answer
}

func newReleases() *releases { return &releases{inFlight: make(map[uint64]bool)} }

// add opens a release.
func (rs *releases) add(r *release) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.open = append(rs.open, r)
}

// widen makes the open releases of a job also let go of changes received up to upTo.
func (rs *releases) widen(job string, upTo time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.open {
		if !r.allJobs && r.job == job {
			r.alsoUpTo = upTo
		}
	}
}

// ask begins a question to the outbox. It returns the time up to which each job's changes are released, and the
// number of leases returned so far, for answered. The returned function may be used at any time.
func (rs *releases) ask() (released func(job string) time.Time, returns uint64) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.open {
		r.otherDrained = r.otherDrained || r.after == nil || isClosed(r.after)
	}
	if len(rs.open) == 0 {
		return func(string) time.Time { return time.Time{} }, rs.returns
	}
	var all time.Time
	byJob := make(map[string]time.Time, len(rs.open))
	for _, r := range rs.open {
		if r.allJobs {
			all = domain.Later(all, r.upTo)
		} else {
			byJob[r.job] = domain.Later(byJob[r.job], domain.Later(r.upTo, r.alsoUpTo))
		}
	}
	return func(job string) time.Time { return domain.Later(all, byJob[job]) }, rs.returns
}

// answered takes the outbox's answer into account: the changes that are still pending after all due ones were
// taken. Changes that returned after the question are neither in flight nor in the answer. In that case only the
// next answer counts.
func (rs *releases) answered(returns uint64, next domain.Next) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.returns != returns {
		return
	}
	rs.stale = false
	for _, r := range rs.open {
		switch {
		case !r.otherDrained, r.hasPending(next):
			r.inFlight = nil
		case r.inFlight == nil:
			r.inFlight = maps.Clone(rs.inFlight)
		}
	}
	rs.closeDrained()
}

// unanswered reports whether the outbox must be asked although nothing may be sent: changes returned, and some
// release does not know yet that its queue is empty. It returns the number of leases returned so far.
func (rs *releases) unanswered() (returns uint64, ask bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.returns, rs.stale && slices.ContainsFunc(rs.open, func(r *release) bool { return r.inFlight == nil })
}

// leased records a lease in flight.
func (rs *releases) leased(id uint64) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.inFlight[id] = true
}

// settled records a settled lease. returned means that some of its changes went back to the outbox.
func (rs *releases) settled(id uint64, returned bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	delete(rs.inFlight, id)
	for _, r := range rs.open {
		switch {
		case !r.inFlight[id]:
		case returned:
			r.inFlight = nil
		default:
			delete(r.inFlight, id)
		}
	}
	rs.closeDrained()
	if returned {
		rs.returns++
		rs.stale = true
	}
}

// leases returns the number of leases in flight.
func (rs *releases) leases() int {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return len(rs.inFlight)
}

// closeDrained closes and removes the drained releases. The caller holds mu.
func (rs *releases) closeDrained() {
	rs.open = slices.DeleteFunc(rs.open, func(r *release) bool {
		if r.inFlight == nil || len(r.inFlight) > 0 {
			return false
		}
		close(r.drained)
		return true
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// hasPending reports whether any change of the release is pending in the outbox.
func (r *release) hasPending(next domain.Next) bool {
	if !next.Retry.IsZero() && next.RetryJobs == nil {
		return true // their job is unknown
	}
	return r.hasAny(next.Jobs) || r.hasAny(next.RetryJobs)
}

// hasAny reports whether any pending change belongs to the release. pending has each job's oldest receipt time.
func (r *release) hasAny(pending map[string]time.Time) bool {
	for job, received := range pending {
		if (r.allJobs || r.job == job) && !received.After(r.upTo) {
			return true
		}
	}
	return false
}
