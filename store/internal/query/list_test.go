package query

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// full is a room with changes of several users, kinds and states.
func full(t *testing.T) *room {
	t.Helper()
	r := newRoom(t, domain.SendBoth)
	r.receive(enter("ann", "vip", 1))
	r.drain(delivered)
	r.receive(enter("bob", "vip", 2))
	r.drain(delivered)
	r.receive(enter("cid", "vip", 3), enter("dan", "vip", 4))
	r.drain(refused)
	r.receive(enter("dan", "new", 5, faulty))
	other := func(e *domain.Event) { e.Space, e.ComputationID = "spa_2", "aud_2" }
	r.receive(enter("ann", "vip", 6, other))
	r.receive(exit("ann", "vip", 7, receivedAt(3)), enter("eve", "new", 8, receivedAt(1)), exit("bob", "vip", 9, receivedAt(2)))
	return r
}

func TestAListingHasItsStateInItsOrder(t *testing.T) {
	for _, tc := range []struct {
		name   string
		filter domain.OutboxFilter
		want   string
	}{
		{"pending, as they are due", domain.OutboxFilter{}, "eve.new=true eve!enter bob.vip=false bob!exit ann.vip=false ann!exit"},
		{"pending of a user", domain.OutboxFilter{User: "bob"}, "bob.vip=false bob!exit"},
		{"pending of a computation", domain.OutboxFilter{Computation: "new"}, "eve.new=true eve!enter"},
		{"pending of an id", domain.OutboxFilter{Computation: "aud_new"}, "eve.new=true eve!enter"},
		{"parked, by id", domain.OutboxFilter{State: domain.StateParked}, "cid.vip=true cid!enter dan.vip=true dan!enter dan?undetermined"},
		{"parked of a user", domain.OutboxFilter{State: domain.StateParked, User: "dan"}, "dan.vip=true dan!enter dan?undetermined"},
		{"parked of a computation", domain.OutboxFilter{State: domain.StateParked, Computation: "new"}, "dan?undetermined"},
		{"held", domain.OutboxFilter{State: domain.StateHeld}, "ann.vip=true ann!enter"},
		{"held of a user", domain.OutboxFilter{State: domain.StateHeld, User: "ann"}, "ann.vip=true ann!enter"},
		{"held of an id", domain.OutboxFilter{State: domain.StateHeld, Computation: "aud_2"}, "ann.vip=true ann!enter"},
		{"held of another id of that key", domain.OutboxFilter{State: domain.StateHeld, Computation: "aud_vip"}, ""},
		{"delivered, the newest first", domain.OutboxFilter{State: domain.StateDelivered}, "bob!enter bob.vip=true ann!enter ann.vip=true"},
		{"delivered of a user", domain.OutboxFilter{State: domain.StateDelivered, User: "ann"}, "ann!enter ann.vip=true"},
		{"of a user and a computation", domain.OutboxFilter{State: domain.StateDelivered, User: "ann", Computation: "new"}, ""},
		{"pending, received since", domain.OutboxFilter{Since: receipt.Add(2 * time.Minute)}, "bob.vip=false bob!exit ann.vip=false ann!exit"},
		{"pending, received before", domain.OutboxFilter{Until: receipt.Add(2 * time.Minute)}, "eve.new=true eve!enter"},
		{"parked for a reason", domain.OutboxFilter{State: domain.StateParked, Reason: "undetermined"}, "dan?undetermined"},
		{"parked for a cause", domain.OutboxFilter{State: domain.StateParked, Reason: "InvalidUser: user # is unknown", User: "cid"}, "cid.vip=true cid!enter"},
		{"delivered of a user, received since", domain.OutboxFilter{State: domain.StateDelivered, User: "ann", Since: receipt.Add(1)}, ""},
		{"of a state that none is in", domain.OutboxFilter{State: domain.StateExpired}, ""},
		{"of a user who is unknown", domain.OutboxFilter{User: "zoe"}, ""},
		{"parked of a user who is unknown", domain.OutboxFilter{User: "zoe", State: domain.StateParked}, ""},
		{"of a computation that is unknown", domain.OutboxFilter{Computation: "zoo", State: domain.StateParked}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := full(t)
			got, next, err := r.Changes(tc.filter)
			r.Must(err)
			if words(got) != tc.want || next != "" {
				t.Errorf("it is\n\t%s\nwant\n\t%s", words(got), tc.want)
			}
			want := tc.filter.State
			if want == 0 {
				want = domain.StatePending
			}
			for _, c := range got {
				if c.State != want.String() {
					t.Errorf("%s is %s", c.ID, c.State)
				}
			}
			for limit := 1; limit <= 5; limit++ {
				tc.filter.Limit = limit
				if paged := words(r.pages(tc.filter, nil)); paged != words(got) {
					t.Errorf("in pages of %d it is\n\t%s", limit, paged)
				}
			}
		})
	}
}

// TestAListingGoesOnBehindAUserInRetry: its pages show each change once, also those that are due later than a retry and
// stand before it.
func TestAListingGoesOnBehindAUserInRetry(t *testing.T) {
	r := newRoom(t, domain.SendBoth|domain.SendCohort)
	r.receive(enter("ann", "vip", 1), enter("bob", "vip", 2))
	r.settle(r.take(domain.EndpointTransition), failed)
	r.receive(enter("cid", "vip", 3, receivedAt(120)))
	whole, _, err := r.Changes(domain.OutboxFilter{})
	r.Must(err)
	if got := words(whole); !strings.HasPrefix(got, "cid.vip=true cid!enter ") || len(whole) != 9 { // cohorts come last
		t.Errorf("it is\n\t%s", got)
	}
	for limit := 1; limit <= 5; limit++ {
		if paged := words(r.pages(domain.OutboxFilter{Limit: limit}, nil)); paged != words(whole) {
			t.Errorf("in pages of %d it is\n\t%s", limit, paged)
		}
	}
}

func TestAPageEndsWithACursorOnlyIfThereIsMore(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	var events []*domain.Event
	for i := range DefaultLimit {
		events = append(events, enter(fmt.Sprintf("u%03d", i), "vip", 1))
	}
	r.receive(events...)
	page, next, err := r.Changes(domain.OutboxFilter{})
	r.Must(err)
	if len(page) != DefaultLimit || next != "" {
		t.Errorf("%d of %d, and then %q", len(page), DefaultLimit, next)
	}
	r.receive(enter("zoe", "vip", 1))
	if page, next, err = r.Changes(domain.OutboxFilter{}); err != nil || len(page) != DefaultLimit || next == "" {
		t.Errorf("%d, and then %q, %v", len(page), next, err)
	}
	page, next, err = r.Changes(domain.OutboxFilter{Cursor: next})
	if r.Must(err); len(page) != 1 || next != "" {
		t.Errorf("the second page has %d, and then %q", len(page), next)
	}
}

func TestACursorOfNoListingIsRefused(t *testing.T) {
	r := full(t)
	for _, cursor := range []string{"x", "00", "zz112233", "00112233"} {
		if _, _, err := r.Changes(domain.OutboxFilter{Cursor: cursor}); !errors.Is(err, ErrBadCursor) {
			t.Errorf("%q: %v", cursor, err)
		}
	}
	for _, cursor := range []string{"parked:zz", "nowhere:"} {
		if _, _, err := r.StatsPage(domain.OutboxFilter{}, cursor); !errors.Is(err, ErrBadCursor) {
			t.Errorf("%q: %v", cursor, err)
		}
	}
}

// TestWhatGoesBetweenTwoPagesIsNeitherRepeatedNorHidesOthers: a listing is consistent per page.
func TestWhatGoesBetweenTwoPagesIsNeitherRepeatedNorHidesOthers(t *testing.T) {
	users := []string{"u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7"}
	for _, tc := range []struct {
		name    string
		state   domain.State
		prepare func(r *room)
		between func(r *room) // ends the state of some
	}{
		{"pending", domain.StatePending, func(*room) {}, func(r *room) {
			f := r.take(domain.EndpointTransition)
			if f != nil && len(f.Users) > 2 {
				r.settle(f, domain.Result{Verdict: domain.Untried})
			}
		}},
		{"pending that leave", domain.StatePending, func(*room) {}, func(r *room) { r.drain(delivered) }},
		{"parked that are dropped", domain.StateParked, func(r *room) { r.drain(refused) }, func(r *room) {
			var ids []domain.ID
			for _, k := range r.Keys(state.BucketParked) {
				ids = append(ids, state.IDFromKey(k, r.DB.State.Epochs))
			}
			r.Must(r.inbox.Append(r.Context(), nil))
			r.Do(func(tx *state.Tx) {
				for _, id := range ids {
					ch := state.Find(tx, id)
					tx.Withdraw(ch)
					tx.Close(tx.User(ch.User), ch, domain.StateDropped, later)
				}
			})
		}},
		{"delivered that are pruned", domain.StateDelivered, func(r *room) { r.drain(delivered) }, func(r *room) {
			r.Do(func(tx *state.Tx) { tx.Remove(tx.History, r.Keys(state.BucketHistory)[0]) })
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRoom(t, domain.SendAttribute)
			for _, u := range users {
				r.receive(enter(u, "vip", 1))
			}
			tc.prepare(r)
			seen := map[string]int{}
			for _, c := range r.pages(domain.OutboxFilter{State: tc.state, Limit: 3}, func() { tc.between(r) }) {
				if seen[c.ID]++; seen[c.ID] > 1 {
					t.Errorf("%s is shown twice", c.User)
				}
			}
			if len(seen) < 3 {
				t.Errorf("%d are shown", len(seen))
			}
		})
	}
}

func TestAUserWithVeryManyEventsIsListedWhole(t *testing.T) {
	r := newRoom(t, domain.SendEvent)
	var events []*domain.Event
	const all = state.PageScan + 50
	for i := range all {
		events = append(events, enter("ann", "vip", 1, func(e *domain.Event) {
			e.PassThrough, e.Call, e.MessageID = true, domain.CallTrack, fmt.Sprint(i)
		}))
	}
	r.receive(append(events, enter("bob", "vip", 1))...)
	for _, f := range []domain.OutboxFilter{{Limit: all + 1}, {Limit: 300}, {Limit: all + 1, User: "ann"}, {Limit: 999, User: "ann"}, {Limit: 5, Computation: "none"}} {
		want := all + 1
		switch {
		case f.User != "":
			want = all
		case f.Computation != "":
			want = 0
		}
		seen := map[string]bool{}
		for _, c := range r.pages(f, nil) {
			seen[c.ID] = true
		}
		if len(seen) != want {
			t.Errorf("%+v: %d of %d", f, len(seen), want)
		}
	}
	lines, err := r.Stats(domain.OutboxFilter{})
	r.Must(err)
	if len(lines) != 1 || lines[0].Count != all+1 || len(lines[0].Samples) != 3 {
		t.Errorf("the statistics are %+v", lines)
	}
}

func TestOnlyTheWantedFieldsAreListed(t *testing.T) {
	r := full(t)
	l, err := NewListing(domain.OutboxFilter{State: domain.StateParked})
	r.Must(err)
	l.Fields = map[uint32]bool{1: true}
	for !l.Done() {
		r.Must(l.Read(r.Reader))
	}
	if page, next := l.Page(); len(page) != 0 || next != "" { // the event of that key is of no field
		t.Errorf("%s", words(page))
	}
}

// TestPendingChangesAreListedByTimeWhateverTheirLane, and users who wait for a retry last.
func TestPendingChangesAreListedByTimeWhateverTheirLane(t *testing.T) {
	r := newRoom(t, domain.SendAttribute|domain.SendCohort)
	r.receive(enter("ann", "a", 1))
	r.settle(r.take(domain.EndpointTransition), failed)
	r.receive(enter("bob", "b", 1, receivedAt(2)), enter("cid", "a", 1, receivedAt(1)), enter("dan", "c", 1, receivedAt(3)))
	r.order(record.Order{Verb: record.OrderImport, Targets: []record.JobTarget{{User: "eve", In: true}}})
	want := "eve.a=true cid.a=true bob.b=true dan.c=true ann.a=true"
	got := words(r.pages(domain.OutboxFilter{Limit: 2}, nil))
	if !strings.HasPrefix(got, want) || len(strings.Fields(got)) != 10 {
		t.Errorf("they are listed as %s, want first %s", got, want)
	}
}

func TestStatisticsCountWhatIsOpen(t *testing.T) {
	r := full(t)
	lines, err := r.Stats(domain.OutboxFilter{})
	r.Must(err)
	var got []string
	for _, l := range lines {
		got = append(got, fmt.Sprintf("%s %s %s %s %s %d %d", l.State, l.Kind, l.Computation, l.Reason, l.Cause, l.Count, len(l.Samples)))
	}
	want := []string{
		"held attribute vip key_conflict key_conflict 1 1", "held event vip key_conflict key_conflict 1 1",
		"parked attribute vip InvalidUser InvalidUser: user # is unknown 2 2", "parked event vip InvalidUser InvalidUser: user # is unknown 2 2",
		"parked received new undetermined undetermined 1 1",
		"pending attribute new   1 1", "pending attribute vip   2 2", "pending event new   1 1", "pending event vip   2 2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("they are\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	i := slices.IndexFunc(lines, func(l domain.StatLine) bool { return l.State == "pending" && l.Computation == "vip" })
	if l := lines[i]; l.First != "2026-03-14T12:32:00Z" || l.Last != "2026-03-14T12:33:00Z" {
		t.Errorf("received from %s to %s", l.First, l.Last)
	}
}

func TestStatisticsAddUp(t *testing.T) {
	line := func(cause string, n uint64, first, last string, samples ...string) domain.StatLine {
		return domain.StatLine{State: "parked", Kind: "event", Computation: "vip", Reason: "r", Cause: cause, Count: n, First: first, Last: last, Samples: samples}
	}
	got := MergeStats([]domain.StatLine{line("r: b", 2, "2", "3", "x", "y"), line("r: a", 1, "1", "1", "z")}, []domain.StatLine{line("r: b", 3, "1", "2", "p", "q")})
	want := []domain.StatLine{line("r: a", 1, "1", "1", "z"), line("r: b", 5, "1", "3", "x", "y", "p")}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	var many []domain.StatLine
	for i := range statCauses + 3 {
		many = append(many, line(fmt.Sprintf("r: %03d", i), 1, "1", "1", "s"))
	}
	many = append(many, line("r: 000", 1, "1", "1"))
	got = MergeStats(nil, many)
	rest := got[slices.IndexFunc(got, func(l domain.StatLine) bool { return l.Cause == "r: other words" })]
	if len(got) != statCauses+1 || rest.Count != 3 || got[0].Count != 2 {
		t.Errorf("%d lines, %d in the one of the rest, %d in the first", len(got), rest.Count, got[0].Count)
	}
}

// TestCausesOfAReasonAreBounded: an endpoint that answers with other words each time does not make the statistics grow.
func TestCausesOfAReasonAreBounded(t *testing.T) {
	var all []domain.StatLine
	for i := range 10 * statCauses {
		cause := fmt.Sprintf("r: %c%d", 'a'+i%26, i)
		all = MergeStats(all, []domain.StatLine{{State: "parked", Reason: "r", Cause: cause, Count: 1, Samples: []string{"x"}}})
	}
	sum := uint64(0)
	for _, l := range all {
		sum += l.Count
	}
	if len(all) > statCauses+1 || sum != 10*statCauses {
		t.Errorf("%d lines that add up to %d", len(all), sum)
	}
}
