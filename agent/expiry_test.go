package agent

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/ingest"
	"personasync/store"
)

// TestNothingExpiresOnTheFirstLookAtAClockThatJumped: a restart under a wrong clock expired history and message
// ids at once.
func TestNothingExpiresOnTheFirstLookAtAClockThatJumped(t *testing.T) {
	s := newSite(t)
	a := s.start(s.load(), RunOptions{})
	a.tell(news("ann", true, time.Now()))
	client, err := api.Dial(t.Context(), a.Socket, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, client, "ann is delivered", func(st condition.Status) bool { return st.Delivered == 1 })
	_ = client.Close()
	a.stop()
	data, err := store.Open(filepath.Join(s.dir, "data"), store.Options{Log: quiet(), Delivered: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	p := &housekeeper{log: quiet(), store: data, ingest: &ingest.Handler{Clock: ingest.NewClock(time.Now().Add(-366 * 24 * time.Hour))}}
	kept := func() int {
		t.Helper()
		if err := p.prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		user, err := data.User("ann")
		if err != nil {
			t.Fatal(err)
		}
		return len(user.History)
	}
	if kept() != 1 {
		t.Error("history expired on the first look")
	}
	p.ingest.Clock = ingest.NewClock(time.Now())
	if kept() != 0 {
		t.Error("history never expires")
	}
}

// TestTheLogAnnouncesWhatWillExpire: nothing that waits for a decision expires unannounced.
func TestTheLogAnnouncesWhatWillExpire(t *testing.T) {
	s := newSite(t)
	c := s.load("PERSONASYNC_RETENTION_PARKED=100h")
	a := s.start(c, RunOptions{})
	a.tell(strings.Replace(news("cid", true, time.Now()), `"vip":true`, `"x":1`, 1))
	i, _ := open(t, c)
	eventually(t, i, "it is parked, and announced", func(st condition.Status) bool { return st.Parked == 1 && st.Expiring != nil && st.Expiring.Count == 1 })
	a.stop()
	log := new(journal)
	s.start(c, RunOptions{Log: slog.New(slog.NewTextHandler(log, nil))})
	log.await(t, "parked items will expire within a week")
}

// TestTheLogSaysOnceThatTheClockIsInDoubt, and once that it no longer is.
func TestTheLogSaysOnceThatTheClockIsInDoubt(t *testing.T) {
	log := new(journal)
	h := &housekeeper{log: slog.New(slog.NewTextHandler(log, nil)), ingest: &ingest.Handler{Clock: ingest.NewClock(time.Now().Add(48 * time.Hour))}}
	for range 3 {
		h.watchClock()
	}
	h.ingest.Clock = ingest.NewClock(time.Now())
	for range 3 {
		h.watchClock()
	}
	for _, words := range []string{"the clock may be wrong", "no longer in doubt"} {
		if n := strings.Count(log.String(), words); n != 1 {
			t.Errorf("%q is %d times in the log:\n%s", words, n, log)
		}
	}
}
