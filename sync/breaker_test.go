package syncer

import (
	"math/rand/v2"
	"testing"
	"time"
)

// The outbox assumes that a change deferred for longer was stored under a clock that was ahead.
func TestNothingIsPutOffForLongerThanTheOutboxBelieves(t *testing.T) {
	now := time.Now()
	for _, c := range []Config{{}, {MinBackoff: time.Minute, MaxBackoff: 6 * time.Hour}, {MinBackoff: 2 * time.Hour, MaxBackoff: 2 * time.Hour}} {
		c = c.withDefaults()
		for range 100 {
			var r breaker
			a := answer{Meaning: meanings[codeNotSent], pause: maxRequestedPause}
			for range rand.IntN(20) {
				a.pause = maxRequestedPause * time.Duration(rand.IntN(2))
				r.retry(c, a, now, now)
			}
			r.stop(a, now)
			if put := r.resume.Add(c.MinBackoff).Sub(now); put > c.longestPause(maxRequestedPause) {
				t.Fatalf("put off for %s, believed are %s", put, c.longestPause(maxRequestedPause))
			}
		}
	}
}

// between fails unless at is from least to most after noon.
func between(t *testing.T, what string, at time.Time, least, most time.Duration) {
	t.Helper()
	if after := at.Sub(noon); after < least || after > most {
		t.Errorf("%s: %s after now, want %s to %s", what, after, least, most)
	}
}

func TestPausesOfTheBreaker(t *testing.T) {
	c := Config{MinBackoff: time.Second, MaxBackoff: 5 * time.Minute}
	failure := answer{Meaning: meanings["http_503"], summary: "later"}
	for range 200 {
		var r breaker
		if got := r.retry(c, failure, noon, noon); got != changeFailing {
			t.Fatalf("the first failure is change %d", got)
		}
		between(t, "first failure", r.resume, 0, time.Second+time.Millisecond)
		first := r.resume
		r.retry(c, failure, noon.Add(-time.Second), noon) // was in flight beside the first
		if r.failures != 1 || !r.resume.Equal(first) {
			t.Fatalf("%d failures, resume %v, first %v", r.failures, r.resume, first)
		}

		r = breaker{failures: 20}
		r.retry(c, failure, noon, noon)
		between(t, "twentieth failure", r.resume, 0, maxPause+time.Millisecond)
		r = breaker{failures: 20}
		r.retry(c, failure, noon.Add(-50*time.Second), noon)
		between(t, "after a timeout of 50 s", r.resume, 0, maxPause-50*time.Second)
		r = breaker{failures: 20}
		r.retry(c, failure, noon.Add(-2*time.Minute), noon)
		between(t, "after a timeout of two minutes", r.resume, time.Millisecond, time.Millisecond)

		asked := failure
		asked.pause = time.Hour
		r = breaker{}
		r.retry(c, asked, noon, noon)
		between(t, "MoEngage asks for an hour", r.resume, time.Hour, time.Hour+time.Second)
		if !r.health.NextProbe.Equal(r.resume) || r.health.LastError != "http_503: later" || !r.health.LastErrorAt.Equal(noon) || !r.health.Since.Equal(noon) {
			t.Fatalf("health %+v", r.health)
		}

		r = breaker{}
		if got := r.stop(failure, noon); got != changeStopped {
			t.Fatalf("a stop is change %d", got)
		}
		between(t, "a stop", r.resume, probeEvery, probeEvery+probeJitter)
		if got := r.stop(asked, noon); got != changeNone {
			t.Fatalf("another stop is change %d", got)
		}
		between(t, "a stop for an hour", r.resume, time.Hour, time.Hour)
		if got := r.retry(c, failure, noon, noon); got != changeNone || r.health.Stopped {
			t.Fatalf("a failure after a stop is change %d, health %+v", got, r.health)
		}
	}
}

func TestPausesAfterEverythingIsRefused(t *testing.T) {
	c := Config{MinBackoff: time.Second}
	refusal := answer{Meaning: meanings[codeUnexplained]}
	for range 200 {
		var r breaker
		if got := r.refuseEverything(c, refusal, true, noon); got != changeStopped {
			t.Fatalf("it is change %d", got)
		}
		between(t, "first", r.resume, 750*time.Millisecond, time.Second)
		between(t, "users who were refused", r.probe, probeEvery, probeEvery+probeJitter)
		if !r.health.NextProbe.Equal(r.probe) {
			t.Fatalf("the next probe is said to be at %v, and is at %v", r.health.NextProbe, r.probe)
		}
		r.refuseEverything(c, refusal, false, noon)
		between(t, "the same users", r.resume, time.Second, time.Second)
		r.refuseEverything(c, refusal, true, noon)
		between(t, "second", r.resume, 1500*time.Millisecond, 2*time.Second)
		r.searchesRefused = 20
		r.refuseEverything(c, refusal, true, noon)
		between(t, "twentieth", r.resume, maxPause*3/4, maxPause)
		r.allowNow()
		if !r.resume.IsZero() || !r.probe.IsZero() {
			t.Fatalf("resume %v, probe %v", r.resume, r.probe)
		}
	}
}

func TestAnAnswerClosesTheBreaker(t *testing.T) {
	for from, want := range map[string]stateChange{stateFailing: changeRecovered, stateUnknown: changeNone, stateOK: changeNone} {
		r := breaker{
			health:   Health{State: from, LastError: "http_503: later", LastErrorAt: noon, Stopped: from == stateFailing},
			failures: 3, resume: noon, accepted: noon, parkedUnproven: 2, uncertain: 4, searchesRefused: 1, probe: noon,
		}
		if got := r.answered(noon.Add(time.Hour)); got != want {
			t.Errorf("from %s it is change %d, want %d", from, got, want)
		}
		if r.health.State != stateOK || r.health.LastError == "" || r.health.Stopped || r.parkedUnproven != 2 || !r.accepted.Equal(noon) {
			t.Errorf("from %s: %+v", from, r)
		}
		if from != stateOK && (r.failures != 0 || !r.resume.IsZero() || r.uncertain != 0 || r.searchesRefused != 0 || !r.health.Since.Equal(noon.Add(time.Hour))) {
			t.Errorf("from %s: %+v", from, r)
		}
	}
	r := breaker{health: Health{State: stateFailing}}
	if r.width(4) != 1 {
		t.Errorf("%d requests at once while failing", r.width(4))
	}
	r.health.State = stateOK
	if r.width(4) != 4 {
		t.Errorf("%d requests at once", r.width(4))
	}
}
