package sandbox

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// record serves a request without a network, so that it can run in a synctest bubble.
func record(s *Sandbox, r *http.Request) reply {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return reply{w.Code, w.Header(), w.Body.String()}
}

func send(t *testing.T, s *Sandbox, elements ...string) reply {
	t.Helper()
	return record(s, newRequest(t, "http://sandbox"+bulkPath, bulkBody(elements...)))
}

func TestUsersAreMeteredOverASlidingMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{UsersPerMinute: 3, EventsPerMinute: -1})
		wantStatus(t, send(t, s, customerOf("user-1", `{}`), customerOf("user-2", `{}`)), 200)
		time.Sleep(20 * time.Second)
		wantStatus(t, send(t, s, customerOf("user-3", `{}`)), 200)

		got := send(t, s, customerOf("user-4", `{}`))
		wantStatus(t, got, 429)
		want := failure("Rate Limits Exceeded", "Rate limits for customers exceeded. Please Try After Some Time", "")
		if diff := cmp.Diff(want, withoutRequestID(t, got.body)); diff != "" {
			t.Errorf("body (-want +got):\n%s", diff)
		}
		for name, want := range map[string]string{limitHeader: "3", remainingHeader: "0", resetHeader: "40"} {
			if got := got.header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}

		time.Sleep(40*time.Second - time.Nanosecond)
		wantStatus(t, send(t, s, customerOf("user-4", `{}`)), 429)
		time.Sleep(time.Nanosecond)
		wantStatus(t, send(t, s, customerOf("user-4", `{}`), customerOf("user-5", `{}`)), 200)
		wantStatus(t, send(t, s, customerOf("user-6", `{}`)), 429)

		if st := s.Stats(); st.MaxUsersInWindow != 3 || st.Limited != 3 || st.Users != 5 {
			t.Errorf("max %d, limited %d, users %d; want 3, 3, 5", st.MaxUsersInWindow, st.Limited, st.Users)
		}
	})
}

func TestEventsAreMeteredByActionsAndARefusalCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{UsersPerMinute: 1, EventsPerMinute: 3, EpochReset: true})
		a := `{"action":"enter"}`
		wantStatus(t, send(t, s, eventOf("user-1", a, a)), 200)
		got := send(t, s, customerOf("user-1", `{}`), eventOf("user-1", a, a))
		wantStatus(t, got, 429)
		if want := strconv.FormatInt(time.Now().Unix()+60, 10); got.header.Get(resetHeader) != want {
			t.Errorf("reset is %s, want %s", got.header.Get(resetHeader), want)
		}
		wantStatus(t, send(t, s, customerOf("user-1", `{}`), eventOf("user-1", a)), 200)
	})
}

func TestCohortSyncIsMeteredByRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		for range 300 {
			wantStatus(t, record(s, newRequest(t, "http://sandbox"+cohortsPath, fineCohort)), 200)
		}
		wantStatus(t, record(s, newRequest(t, "http://sandbox"+cohortsPath, fineCohort)), 429)
		wantStatus(t, send(t, s, fine), 200)
		time.Sleep(time.Minute)
		wantStatus(t, record(s, newRequest(t, "http://sandbox"+cohortsPath, fineCohort)), 200)
	})
}

func TestNegativeLimitsAreNone(t *testing.T) {
	s := New(Options{UsersPerMinute: -1, EventsPerMinute: -1})
	got := send(t, s, fine)
	wantStatus(t, got, 200)
	if got.header.Get(limitHeader) != "" {
		t.Error("a limit was announced")
	}
	if s.Stats().MaxUsersInWindow != 1 {
		t.Error("what is not limited is not counted")
	}
}

// No window exceeds the limit, and the returned wait is neither too short nor too long.
func TestMeterKeepsEveryWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &meter{limit: rapid.IntRange(1, 20).Draw(t, "limit")}
		now := time.Unix(0, 0)
		var spent []spending
		for range rapid.IntRange(1, 60).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
			n := rapid.IntRange(0, m.limit).Draw(t, "n")
			if wait := m.wait(now, n); wait > 0 {
				if m.wait(now.Add(wait-1), n) == 0 {
					t.Fatalf("waits %v for %d, longer than needed", wait, n)
				}
				now = now.Add(wait)
			}
			m.spend(now, n)
			spent = append(spent, spending{now, n})
			sum := 0
			for _, s := range spent {
				if now.Sub(s.at) < window {
					sum += s.n
				}
			}
			if sum > m.limit {
				t.Fatalf("%d in a window of %d", sum, m.limit)
			}
		}
	})
}
