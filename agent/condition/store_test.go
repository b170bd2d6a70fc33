package condition

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"personasync/agent/config"
	"personasync/store"
)

func TestASharedStoreSaysWhoWrites(t *testing.T) {
	h := &store.DatabaseHealth{RoundTrip: 2 * time.Millisecond, Horizon: time.Minute}
	h.Holder.Host, h.Holder.Term, h.Holder.Since, h.Holder.Left = "a", 7, time.Date(2026, 3, 14, 9, 26, 53, 5, time.UTC), time.Second
	h.Doors = []string{"a", "b"}
	ended := *h
	ended.Holder.Left, ended.NoTerm = -time.Second, "locked"
	now := time.Date(2026, 3, 14, 9, 27, 1, 9, time.UTC)
	settings := config.Default().Store
	h.Standbys, h.Synchronous = "*", 1
	for _, c := range []struct {
		role *store.Role
		h    *store.DatabaseHealth
		err  error
		want string
	}{
		{&store.Role{Shared: true, Writer: true}, h, nil, `{"engine":"postgres","role":"writer","writer":"a","term":7,"term_since":"2026-03-14T09:26:53Z","doors":["a","b"],"no_writer_since":null,"round_trip_seconds":0.002,"horizon_age_seconds":60}`},
		{&store.Role{Shared: true}, &ended, nil, `{"engine":"postgres","role":"door","writer":"","term":0,"term_since":null,"doors":["a","b"],"no_writer_since":"2026-03-14T09:27:00Z","no_term":"locked","unconfirmed":"synchronous_standby_names is empty there, so PostgreSQL waits for no standby","round_trip_seconds":0.002,"horizon_age_seconds":60}`},
		{nil, &store.DatabaseHealth{}, errors.New("gone"), `{"engine":"postgres","role":"stopped","writer":"","term":0,"term_since":null,"doors":[],"no_writer_since":null,"round_trip_seconds":0,"horizon_age_seconds":0,"error":"gone"}`},
	} {
		got, err := json.Marshal(SharedStore(c.role, &settings, c.h, c.err, now))
		if err != nil || string(got) != c.want {
			t.Errorf("%s, %v\nwant %s", got, err, c.want)
		}
	}
}

// TestEventsThatNobodyAppliesAreSeen: an agent that has the term and stands still is no writer.
func TestEventsThatNobodyAppliesAreSeen(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 3, 1, 2, minute, 0, 0, time.UTC) }
	var p Progress
	for _, c := range []struct {
		minute              int
		received, unapplied uint64
		since               time.Time
	}{
		{0, 10, 0, time.Time{}}, {1, 12, 2, at(1)}, {2, 14, 2, at(2)}, {3, 20, 8, at(2)}, {9, 30, 18, at(2)}, {10, 30, 0, time.Time{}}, {11, 31, 1, at(11)},
	} {
		if got := p.Standstill(c.received, c.unapplied, at(c.minute)); got != c.since {
			t.Errorf("in minute %d: since %v, want %v", c.minute, got, c.since)
		}
	}
}
