package condition

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"personasync/store"
)

func TestASharedStoreSaysWhoWrites(t *testing.T) {
	h := &store.DatabaseHealth{RoundTrip: 2 * time.Millisecond, Horizon: time.Minute}
	h.Holder.Host, h.Holder.Term, h.Holder.Since, h.Holder.Left = "a", 7, time.Date(2026, 3, 14, 9, 26, 53, 5, time.UTC), time.Second
	h.Doors = []string{"a", "b"}
	ended := *h
	ended.Holder.Left = -time.Second
	for _, c := range []struct {
		role store.Role
		h    *store.DatabaseHealth
		err  error
		want string
	}{
		{store.Role{Shared: true, Writer: true}, h, nil, `{"engine":"postgres","role":"writer","writer":"a","term":7,"term_since":"2026-03-14T09:26:53Z","doors":["a","b"],"round_trip_seconds":0.002,"horizon_age_seconds":60}`},
		{store.Role{Shared: true}, &ended, nil, `{"engine":"postgres","role":"door","writer":"","term":0,"term_since":null,"doors":["a","b"],"round_trip_seconds":0.002,"horizon_age_seconds":60}`},
		{store.Role{Shared: true}, &store.DatabaseHealth{}, errors.New("gone"), `{"engine":"postgres","role":"door","writer":"","term":0,"term_since":null,"doors":[],"round_trip_seconds":0,"horizon_age_seconds":0,"error":"gone"}`},
	} {
		got, err := json.Marshal(SharedStore(c.role, c.h, c.err))
		if err != nil || string(got) != c.want {
			t.Errorf("%s, %v\nwant %s", got, err, c.want)
		}
	}
}
