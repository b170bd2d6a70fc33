package query

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// between is the users whom MoEngage was told of, in order.
func (r *room) between(s *ToldBetween) (users []string) {
	r.Helper()
	for !s.Done() {
		list, err := s.Read(r.Reader)
		r.Must(err)
		users = append(users, list...)
	}
	slices.Sort(users)
	return users
}

func TestWhomMoEngageWasToldOfBetweenTwoTimes(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	if s := (&ToldBetween{Fields: []uint32{0}, Until: later.Add(time.Hour)}); len(r.between(s)) != 0 || !s.Oldest.IsZero() {
		t.Error("an empty history has something")
	}
	r.receive(enter("ann", "vip", 1), enter("bob", "vip", 1), enter("cid", "new", 1))
	r.drain(delivered)
	r.receive(enter("dan", "vip", 1), exit("dan", "vip", 2)) // superseded and cancelled
	for _, tc := range []struct {
		fields       []uint32
		since, until time.Time
		want         []string
	}{
		{[]uint32{0}, later, later.Add(1), []string{"ann", "bob"}}, {[]uint32{1}, later, later.Add(1), []string{"cid"}}, {[]uint32{0, 1}, noon, later.Add(1), []string{"ann", "bob", "cid"}},
		{[]uint32{0}, later.Add(1), later.Add(2), nil}, {[]uint32{0}, noon, later, nil}, {nil, noon, later.Add(1), nil},
	} {
		s := &ToldBetween{Fields: tc.fields, Since: tc.since, Until: tc.until}
		if got := r.between(s); !slices.Equal(got, tc.want) {
			t.Errorf("of %v from %s to %s: %v", tc.fields, tc.since, tc.until, got)
		}
		if !s.Oldest.Equal(later) {
			t.Errorf("the history goes back to %s", s.Oldest)
		}
	}
}

// TestASearchReadsInSlices, and each change once.
func TestASearchReadsInSlices(t *testing.T) {
	r := newRoom(t, domain.SendNone)
	const all = state.PageScan + 3
	r.Do(func(tx *state.Tx) {
		for i := range all {
			ch := &state.Stored{Change: domain.Change{ID: domain.ID{Epoch: statetest.Epoch, Seq: uint64(i + 1)}, Kind: domain.KindAttribute, User: fmt.Sprintf("u%05d", i)}}
			tx.Close(tx.User("ann"), ch, domain.StateDelivered, later)
		}
	})
	s := &ToldBetween{Fields: []uint32{0}, Since: noon, Until: later.Add(1)}
	first, err := s.Read(r.Reader)
	r.Must(err)
	if len(first) != state.PageScan || s.Done() {
		t.Errorf("one read has %d, done: %v", len(first), s.Done())
	}
	if got := slices.Compact(slices.Sorted(slices.Values(append(first, r.between(s)...)))); len(got) != all {
		t.Errorf("%d users of %d", len(got), all)
	}
}

func TestVeryManyPendingUsersAreListedWhole(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	var events []*domain.Event
	const all = 2*state.PageScan + 3
	for i := range all {
		events = append(events, enter(fmt.Sprintf("u%05d", i), "vip", 1))
	}
	r.receive(events...)
	for _, limit := range []int{all + 1, all - 1, 999} {
		seen := map[string]bool{}
		for _, c := range r.pages(domain.OutboxFilter{Limit: limit}, nil) {
			seen[c.ID] = true
		}
		if len(seen) != all {
			t.Errorf("in pages of %d: %d of %d", limit, len(seen), all)
		}
	}
}

func TestLargeParkedEventsEndALookEarly(t *testing.T) {
	r := newRoom(t, domain.SendNone)
	for i := range 6 {
		e := enter(fmt.Sprint(i), "vip", 1, faulty)
		e.Raw = []byte(`{"a":"` + strings.Repeat("x", state.PageBytes/5) + `"}`)
		r.receive(e)
	}
	e, err := r.Expiring(receipt.Add(state.Day), state.Day)
	if err != nil || e == nil || !e.More || e.Count != 4 || !e.First.Equal(receipt.Add(state.Day)) {
		t.Errorf("%+v, %v", e, err)
	}
	if got := r.pages(domain.OutboxFilter{State: domain.StateParked, Limit: 10}, nil); len(got) != 6 {
		t.Errorf("%d are listed", len(got))
	}
	r.Put(state.BucketParked, state.IDKey(domain.ID{Seq: 1}), []byte("rubbish"))
	if e, err = r.Expiring(receipt.Add(state.Day), state.Day); err != nil || e == nil || e.Count != 4 {
		t.Errorf("beside a corrupt one: %+v, %v", e, err)
	}
	if outbox.NoticeLead != 7*state.Day || samplesKept != 1440 || sampleEvery != time.Minute {
		t.Error("an expiry is announced a week ahead, and a day has 1440 samples")
	}
}
