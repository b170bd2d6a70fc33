package store

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/datadir"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// ids lists the changes of a state.
func (b *bench) ids(s domain.State) (ids []domain.ID) {
	b.Helper()
	page, _, err := b.Changes(domain.OutboxFilter{State: s})
	must(b, err)
	for _, c := range page {
		id, err := domain.ParseID(c.ID)
		must(b, err)
		ids = append(ids, id)
	}
	return ids
}

func (b *bench) sound() {
	b.Helper()
	b.balance()
	r, err := b.Check(context.Background(), nil)
	must(b, err)
	for _, f := range r.Findings {
		b.Errorf("%s: %s", f.Code, f.Message)
	}
}

// wantNoTrouble fails when something was taken for damage, for which the next start would read the files.
func (b *bench) wantNoTrouble() {
	b.Helper()
	if onPostgres {
		return
	}
	if text, err := os.ReadFile(filepath.Join(b.dir, datadir.RunFile)); err != nil || bytes.Contains(text, []byte("trouble")) {
		b.Errorf("taken for damage: %s %v", text, err)
	}
}

func TestARetriedChangeIsSentLikeANewOne(t *testing.T) {
	costly(t, manyStores)
	for _, collapse := range []bool{true, false} {
		r := rules(domain.SendBoth)
		r.Defaults.Collapse = collapse
		b := open(t, r)
		b.receive(event("ann", "vip", true, 0))
		for f := b.take(); f != nil; f = b.take() {
			b.settle(f, domain.Parked)
		}
		parked := b.ids(domain.StateParked)
		if len(parked) != 2 {
			t.Fatalf("parked %v", parked)
		}
		must(t, b.Retry(context.Background(), noon, parked))
		must(t, b.Retry(context.Background(), noon, parked)) // once more changes nothing
		for _, id := range parked {
			c, _, err := b.Change(id)
			must(t, err)
			if c.State != domain.StatePending || c.Attempts != 0 || c.Alone != 0 || c.Reason != "" || !c.NextAttempt.IsZero() {
				t.Errorf("collapse %v: the retried change is %+v", collapse, c)
			}
		}
		b.sound()
		b.drain()
		if c := b.balance(); c.Changes.Delivered != 2 || c.Changes.Parked+c.Changes.Pending != 0 {
			t.Errorf("collapse %v: %+v", collapse, c.Changes)
		}
		b.sound()
	}
}

// TestTooManyChangesAtOnceAreRefused, because one record has no numbers for what they cause; and they are not
// answered as done.
func TestTooManyChangesAtOnceAreRefused(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	b.settle(b.take(), domain.Parked)
	many := append(b.ids(domain.StateParked), make([]domain.ID, record.MaxActionIDs)...)
	for name, do := range map[string]func(context.Context, time.Time, []domain.ID) error{"retry": b.Retry, "drop": b.Drop} {
		if err := do(t.Context(), noon, many); err == nil {
			t.Errorf("%s takes %d changes at once", name, len(many))
		}
	}
	if len(b.ids(domain.StateParked)) != 1 {
		t.Error("a refused order changed something")
	}
}

func TestWhatIsDroppedIsNotSentAndNothingElseIsForgotten(t *testing.T) {
	for _, collapse := range []bool{true, false} {
		r := rules(domain.SendBoth)
		r.Defaults.Collapse = collapse
		b := open(t, r)
		b.receive(event("ann", "vip", true, 0), event("bob", "vip", true, 0), event("", "vip", true, 0))
		one := everything(noon.Add(time.Hour))
		one.MaxUsers, one.MaxEvents = 1, 1
		f, _, err := b.Take(context.Background(), one)
		must(t, err)
		b.settle(f, domain.Parked)
		dropped := slices.Concat(b.ids(domain.StateParked), b.ids(domain.StatePending))
		must(t, b.Drop(context.Background(), noon, dropped))
		must(t, b.Drop(context.Background(), noon, dropped))
		b.sound()
		if f := b.take(); f != nil {
			t.Errorf("still sent: %+v", f)
		}
		c := b.balance()
		if c.Changes.Dropped != 4 || c.Events.Discarded != 1 || c.Changes.Pending+c.Changes.Parked+c.Events.Parked != 0 {
			t.Errorf("collapse %v: %+v %+v", collapse, c.Changes, c.Events)
		}
		if m, _, err := b.Members("vip", "", 10); err != nil || len(m) != 2 {
			t.Errorf("members %v, %v", m, err)
		}
		b.receive(event("ann", "vip", false, 1), event("ann", "vip", true, 2))
		b.drain()
		b.sound()
	}
}

// TestADropBesideWhatWasOvertakenInARequestIsSound: a change that was overtaken while it is in a request
// waits nowhere that a drop looks, and is counted until the request is answered.
func TestADropBesideWhatWasOvertakenInARequestIsSound(t *testing.T) {
	for _, send := range []domain.SendMethods{domain.SendAttribute, domain.SendCohort} {
		b := open(t, rules(send))
		b.receive(event("ann", "vip", true, 0))
		o := everything(noon.Add(time.Hour))
		if send == domain.SendCohort {
			o = onCohorts(o.Now)
		}
		f, _, err := b.Take(t.Context(), o)
		must(t, err)
		if f == nil {
			t.Fatalf("%v: nothing was taken", send)
		}
		b.receive(event("ann", "vip", false, 1))
		overtaking := slices.DeleteFunc(b.ids(domain.StatePending), func(id domain.ID) bool { return id.Seq < 3 })
		must(t, b.Drop(t.Context(), noon, overtaking))
		b.sound()
		b.wantNoTrouble()
		b.settle(f, domain.Delivered)
		b.sound()
		if c := b.balance(); c.Changes.Delivered != 1 || c.Changes.Dropped != 1 || c.Changes.Pending != 0 {
			t.Errorf("%v: %+v", send, c.Changes)
		}
	}
}

func TestWhatIsUnderWayIsNotDropped(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 0))
	f := b.take()
	must(t, b.Drop(context.Background(), noon, b.ids(domain.StatePending)))
	b.settle(f, domain.Delivered)
	b.drain()
	if c := b.balance(); c.Changes.Delivered != 2 || c.Changes.Dropped != 0 {
		t.Errorf("%+v", c.Changes)
	}
	must(t, b.Drop(context.Background(), noon, b.ids(domain.StateDelivered)))
	b.sound()
}

// TestOneOrderTellsAllCohortsAgain: however many changes an order is about, and however many cohorts their users
// are in, each cohort is told again. A record has numbers for so many changes, here for 20, and an order of
// forty needs several.
func TestOneOrderTellsAllCohortsAgain(t *testing.T) {
	costly(t, manyStores)
	defer func(n int) { outbox.MaxSlots = n }(outbox.MaxSlots)
	outbox.MaxSlots = 20
	const users, cohorts = 8, 5
	for name, again := range map[string]func(*bench){
		"retry": func(b *bench) { must(b, b.Retry(context.Background(), noon.Add(time.Hour), b.ids(domain.StateParked))) },
		"close": func(b *bench) { // an exit takes the place of what is parked
			_, err := b.CloseAudience(context.Background(), "vip", false, false, nil)
			must(b, err)
		},
	} {
		r := rules(domain.SendCohort)
		r.Sections = []domain.Section{{Key: "vip", Policy: policy(domain.SendAttribute)}}
		r.Sections[0].Policy.UnknownExit = true
		b := open(t, r)
		var first, clubs []*domain.Event
		for u := range users {
			first = append(first, event(fmt.Sprint("user", u), "vip", true, 0))
			for c := range cohorts {
				clubs = append(clubs, event(fmt.Sprint("user", u), fmt.Sprint("club", c), true, 1))
			}
		}
		b.receive(first...)
		b.settle(b.take(), domain.Parked)
		b.receive(clubs...)
		them := newMoengage()
		b.tell(them) // by which MoEngage learnt nothing: it knows none of them
		if len(them.cohorts) != users*cohorts {
			t.Fatalf("%d memberships of cohorts were told", len(them.cohorts))
		}
		again(b)
		them = newMoengage()
		b.tell(them)
		if len(them.attributes) != users || len(them.cohorts) != users*cohorts {
			t.Errorf("%s: %d attributes and %d memberships of cohorts were told again, want %d and %d", name, len(them.attributes), len(them.cohorts), users, users*cohorts)
		}
		recount(t, b)
	}
}

// TestAUsersPageSaysThatItsHistoryIsCut: beyond so many entries, and of so many memberships.
func TestAUsersPageSaysThatItsHistoryIsCut(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	var events []*domain.Event
	for i := range state.HistoryShown {
		events = append(events, event("ann", fmt.Sprint("aud", i), true, 0), event("bob", fmt.Sprint("aud", i), true, 0))
	}
	b.receive(append(events, event("ann", "one_more", true, 0))...)
	b.drain()
	for user, want := range map[string]bool{"ann": true, "bob": false} {
		info, err := b.User(user)
		must(t, err)
		if len(info.History) != state.HistoryShown || info.HistoryMore != want {
			t.Errorf("%s: %d entries, more: %v", user, len(info.History), info.HistoryMore)
		}
	}
}

// TestARetriedChangeDoesNotUndoANewerOne: without collapse a parked exit has no successor, and what was said
// after it has left by the time it is sent again.
func TestARetriedChangeDoesNotUndoANewerOne(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Defaults.Collapse = false
	b := open(t, r)
	b.receive(event("ann", "vip", true, 1))
	b.drain()
	b.receive(event("ann", "vip", false, 2))
	b.settle(b.take(), domain.Parked)
	b.receive(event("ann", "vip", true, 3))
	b.drain()
	info, err := b.User("ann")
	must(t, err)
	for _, c := range info.Pending {
		id, err := domain.ParseID(c.ID)
		must(t, err)
		must(t, b.Retry(context.Background(), time.Now(), []domain.ID{id}))
	}
	must(t, b.Applied(context.Background()))
	b.drainToday()
	them := newMoengage()
	for _, d := range b.sent {
		them.take(d)
	}
	if got := them.attributes["ann.vip"]; got != "true" {
		t.Errorf("ann is a member, and MoEngage holds %q", got)
	}
	recount(t, b)
}

// TestAReconcileFollowsAQueuedValueBehindWhichTheLastWasDropped: it took the queued one for the truth, and sent nothing.
func TestAReconcileFollowsAQueuedValueBehindWhichTheLastWasDropped(t *testing.T) {
	r := rules(domain.SendAttribute)
	r.Defaults.Collapse = false
	b, them := open(t, r), newMoengage()
	b.receive(event("ann", "vip", true, 1))
	b.tell(them)
	b.receive(event("ann", "vip", false, 2), event("ann", "vip", true, 3))
	ids := b.ids(domain.StatePending)
	slices.SortFunc(ids, domain.ID.Compare)
	must(t, b.Drop(t.Context(), time.Now(), ids[1:]))
	must(t, b.Applied(t.Context()))
	for range 2 { // once is enough
		_, err := b.Reconcile(t.Context(), "vip", false, false, nil)
		must(t, err)
	}
	if n := len(b.ids(domain.StatePending)); n != 2 {
		t.Errorf("%d changes are pending, want the exit and what follows it", n)
	}
	b.tell(them)
	if got := them.attributes["ann.vip"]; got != "true" {
		t.Errorf("ann is a member, and MoEngage holds %q", got)
	}
	recount(t, b)
}
