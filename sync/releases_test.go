package syncer

import (
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// pendingSince is an answer of the outbox: changes of these jobs are pending, received at noon.
func pendingSince(jobs ...string) domain.Next {
	next := domain.Next{Jobs: map[string]time.Time{}}
	for _, job := range jobs {
		next.Jobs[job] = noon
	}
	return next
}

func openRelease(rs *releases, job string, upTo time.Time) *release {
	r := &release{job: job, upTo: upTo, drained: make(chan struct{})}
	rs.add(r)
	return r
}

func wantDrained(t *testing.T, r *release, want bool, when string) {
	t.Helper()
	if isClosed(r.drained) != want {
		t.Errorf("%s: drained is %v", when, !want)
	}
}

func TestAReleaseWaitsForItsOwnChangesAlone(t *testing.T) {
	rs := newReleases()
	r := openRelease(rs, "nightly", noon)
	_, returns := rs.ask()
	rs.answered(returns, pendingSince("nightly"))
	wantDrained(t, r, false, "its changes are pending")
	rs.answered(returns, domain.Next{Jobs: map[string]time.Time{"nightly": noon.Add(time.Second), "other": noon}})
	wantDrained(t, r, true, "only later changes and those of another job are pending")
	if len(rs.open) != 0 {
		t.Errorf("%d releases are still open", len(rs.open))
	}
}

func TestAReleaseOfAllJobsWaitsForEachOfThem(t *testing.T) {
	rs := newReleases()
	r := &release{allJobs: true, upTo: noon, drained: make(chan struct{})}
	rs.add(r)
	_, returns := rs.ask()
	rs.answered(returns, pendingSince("any"))
	wantDrained(t, r, false, "some job's changes are pending")
	rs.answered(returns, domain.Next{Retry: noon, RetryJobs: map[string]time.Time{"other": noon}})
	wantDrained(t, r, false, "a retry is pending")
	rs.answered(returns, domain.Next{Retry: noon})
	wantDrained(t, r, false, "a retry of unknown jobs is pending")
	rs.answered(returns, domain.Next{})
	wantDrained(t, r, true, "nothing is pending")
}

// A release waits for the leases that were in flight when its queue was seen empty, and for no later ones.
func TestAReleaseWaitsForTheLeasesInFlight(t *testing.T) {
	rs := newReleases()
	r := openRelease(rs, "nightly", noon)
	rs.leased(1)
	rs.leased(2)
	_, returns := rs.ask()
	rs.answered(returns, domain.Next{})
	rs.leased(3)
	rs.answered(returns, domain.Next{})
	rs.settled(1, false)
	wantDrained(t, r, false, "lease 2 is in flight")
	rs.settled(2, false)
	wantDrained(t, r, true, "lease 3 is a later one")
	if n := rs.leases(); n != 1 {
		t.Errorf("%d leases in flight, want 1", n)
	}
}

// After a lease with returned changes the outbox must be asked again. An answer to an older question is ignored.
func TestReturnedChangesNeedAnAnswer(t *testing.T) {
	rs := newReleases()
	r := openRelease(rs, "nightly", noon)
	rs.leased(1)
	_, before := rs.ask()
	rs.answered(before, domain.Next{})
	if _, ask := rs.unanswered(); ask {
		t.Error("asked although nothing returned")
	}
	rs.settled(1, true)
	returns, ask := rs.unanswered()
	if !ask || returns != before+1 {
		t.Errorf("asked %v for return %d after a lease returned", ask, returns)
	}
	rs.answered(before, domain.Next{})
	wantDrained(t, r, false, "the answer was to an older question")
	rs.answered(returns, pendingSince("nightly"))
	if _, ask := rs.unanswered(); ask {
		t.Error("asked again although the outbox has answered")
	}
	rs.answered(returns, domain.Next{})
	wantDrained(t, r, true, "the returned changes are gone")

	// A lease that no release waits for makes an answer necessary, too, but only while a release is open.
	rs.leased(2)
	rs.settled(2, true)
	if _, ask := rs.unanswered(); ask {
		t.Error("asked without a release")
	}
}

// A release that depends on the other endpoint's is drained by a question that began after that one was drained.
func TestAReleaseWaitsForTheOtherEndpoint(t *testing.T) {
	rs, other := newReleases(), make(chan struct{})
	r := &release{job: "nightly", upTo: noon, after: other, drained: make(chan struct{})}
	rs.add(r)
	_, returns := rs.ask()
	close(other)
	rs.answered(returns, domain.Next{})
	wantDrained(t, r, false, "the question began before the other was drained")
	_, returns = rs.ask()
	rs.answered(returns, domain.Next{})
	wantDrained(t, r, true, "the question began after it")
}

func TestTheReleasedTimesOfJobs(t *testing.T) {
	rs := newReleases()
	if released, _ := rs.ask(); !released("nightly").IsZero() {
		t.Error("something is released although nothing is open")
	}
	openRelease(rs, "nightly", noon.Add(2*time.Hour))
	openRelease(rs, "nightly", noon.Add(time.Hour))
	openRelease(rs, "weekly", noon)
	rs.widen("weekly", noon.Add(3*time.Hour))
	released, _ := rs.ask()
	for job, want := range map[string]time.Time{"nightly": noon.Add(2 * time.Hour), "weekly": noon.Add(3 * time.Hour), "other": {}} {
		if got := released(job); !got.Equal(want) {
			t.Errorf("%s is released up to %v, want %v", job, got, want)
		}
	}
	rs.add(&release{allJobs: true, upTo: noon.Add(150 * time.Minute), drained: make(chan struct{})})
	rs.widen("", noon.Add(9*time.Hour)) // a flush of all jobs is not a release of the job ""
	released, _ = rs.ask()
	for job, want := range map[string]time.Time{"nightly": noon.Add(150 * time.Minute), "weekly": noon.Add(3 * time.Hour), "": noon.Add(150 * time.Minute)} {
		if got := released(job); !got.Equal(want) {
			t.Errorf("with a flush %q is released up to %v, want %v", job, got, want)
		}
	}
}

// TestAWidenedRunSendsAtOnce: what was received meanwhile waited for the request under way, or for the next sweep.
func TestAWidenedRunSendsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := newShelf(t), &wire{t: t, latency: 20 * time.Second}
		c := testConfig(w)
		c.Realtime = func(string) bool { return false }
		s, stop := run(t, c, o)
		defer stop()
		o.put("ann", "nightly", true, false)
		s.Open("nightly", time.Now(), nil)
		eventually(t, 2*time.Second, func() bool { return w.count() == 1 })
		time.Sleep(2 * time.Second)
		o.put("bob", "nightly", true, false)
		time.Sleep(2 * time.Second)
		if n := w.count(); n != 1 {
			t.Errorf("%d requests left before the run was widened", n)
		}
		s.Widen("nightly", time.Now())
		eventually(t, 2*time.Second, func() bool { return w.count() == 2 })
	})
}
