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
