package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/datadir"
)

// deleting is rules that have MoEngage delete users, so many a day.
func deleting(perDay uint64) domain.Rules {
	r := rules(domain.SendBoth)
	r.Deletes = domain.Deletes{Send: true, PerDay: perDay}
	return r
}

// onDeletes is everything on the endpoint of deletes.
func onDeletes(now time.Time) domain.TakeOptions {
	o := everything(now)
	o.Endpoint, o.MaxUsers = domain.EndpointDelete, 0
	return o
}

func (b *bench) takeFor(o domain.TakeOptions) *domain.Lease {
	b.Helper()
	f, _, err := b.Take(context.Background(), o)
	must(b, err)
	return f
}

// settleAt settles every part of a lease in one way.
func (b *bench) settleAt(f *domain.Lease, at time.Time, r domain.Result) {
	b.Helper()
	o := domain.Settlement{Lease: f.ID, At: at}
	for range f.Users {
		o.Results = append(o.Results, domain.UserResult{Attributes: r, Event: r})
	}
	must(b, b.Settle(context.Background(), o))
}

func (b *bench) deletionsOf(user string) []domain.Deletion {
	b.Helper()
	list, err := b.Deletions(user)
	must(b, err)
	return list
}

func (b *bench) wantDeletions(pending, held, parked uint64) {
	b.Helper()
	c := b.balance().Deletions
	if c.Pending != pending || c.Held != held || c.Parked != parked {
		b.Errorf("%+v, want %d pending, %d held and %d parked", c, pending, held, parked)
	}
	recount(b, b)
}

// TestADeletionKeepsTheIDUntilItWasAccepted: nothing else of the user, and afterwards nothing but a receipt that the id
// leads to.
func TestADeletionKeepsTheIDUntilItWasAccepted(t *testing.T) {
	onFiles(t)
	const gone = "gone-4f1c"
	r := deleting(10)
	b := open(t, r)
	b.receive(event(gone, "vip", true, 0), trait(gone, "spent", 1, "spent", `"77-secret"`), deletion(gone, "del-1", 31))
	b.wantDeletions(1, 0, 0)
	if f := b.take(); f != nil {
		t.Fatalf("the user's changes left: %+v", f.Users)
	}
	_, err := b.upkeep.erase(context.Background())
	must(t, err)
	if left := b.mentions("77-secret"); left != nil {
		t.Errorf("a value of the user is in %q", left)
	}
	if left := b.mentions(gone); !slices.Equal(left, []string{"state.db"}) {
		t.Errorf("the id is in %q", left)
	}
	b.reopen(r)

	f := b.takeFor(onDeletes(noon.Add(time.Hour)))
	if f == nil || len(f.Users) != 1 || f.Users[0].User != gone || f.Users[0].Event == nil || f.Users[0].Event.Kind != domain.KindDelete || f.Users[0].Attributes != nil {
		t.Fatalf("leased: %+v", f)
	}
	b.settleAt(f, noon.Add(2*time.Hour), domain.Result{Verdict: domain.Delivered, Answer: domain.Answer{Status: 200, RequestID: "ZbPXtKFL", Body: gone}})
	b.wantDeletions(0, 0, 0)
	must(t, b.EraseIfDue(context.Background(), noon.Add(2*time.Hour+eraseAfter)))
	if left := b.mentions(gone); left != nil {
		t.Errorf("the id is still in %q", left)
	}
	want := domain.Deletion{State: "delivered", Asked: "2026-03-14T12:31:00Z", By: "segment", MessageID: "del-1", Closed: "2026-03-14T14:00:00Z", Status: 200, RequestID: "ZbPXtKFL", Final: "2026-03-15T15:00:00Z"}
	list := b.deletionsOf(gone)
	if len(list) != 1 {
		t.Fatalf("%d receipts", len(list))
	}
	got := list[0]
	if len(got.Hash) != 32 || got.ID == "" {
		t.Errorf("the receipt is %+v", got)
	}
	if got.Hash, got.ID = "", ""; got != want {
		t.Errorf("the receipt is %+v, want %+v", got, want)
	}
	if all, err := b.Deletions(""); err != nil || len(all) != 1 || all[0].User != "" {
		t.Errorf("all receipts: %+v, %v", all, err)
	}
	if c := b.balance().Changes; c.Delivered != 1 {
		t.Errorf("%+v", c)
	}
	recount(t, b)
}

// TestADeletionWaitsForTheUsersRequests on both endpoints: what MoEngage gets after it makes the user again.
func TestADeletionWaitsForTheUsersRequests(t *testing.T) {
	r := deleting(10)
	r.Defaults.Send = domain.SendAttribute | domain.SendCohort
	b := open(t, r)
	now := noon.Add(time.Hour)
	b.receive(event("ann", "vip", true, 0))
	b.settleAt(b.takeFor(everything(now)), now, domain.Result{Verdict: domain.Delivered})
	cohort := b.takeFor(onCohorts(now.Add(2 * time.Minute)))
	b.receive(event("ann", "other", true, 1))
	attribute := b.takeFor(everything(now.Add(2 * time.Minute)))
	if cohort == nil || attribute == nil {
		t.Fatal("nothing is in flight: this shows nothing")
	}
	b.receive(deletion("ann", "d", 40))
	due := onDeletes(now.Add(2 * time.Minute))
	for _, f := range []*domain.Lease{cohort, attribute} {
		if got := b.takeFor(due); got != nil {
			t.Fatal("it left beside a request with the user")
		}
		b.settleAt(f, now, domain.Result{Verdict: domain.Uncertain})
	}
	if got := b.takeFor(due); got == nil {
		t.Error("it does not leave")
	}
	recount(t, b)
}

// TestAUserWhoComesBackWaitsForTheEndOfTheDeletion: MoEngage deletes with the user whatever it gets before.
func TestAUserWhoComesBackWaitsForTheEndOfTheDeletion(t *testing.T) {
	r := deleting(10)
	b := open(t, r)
	now := noon.Add(time.Hour)
	quiet := func(when time.Time) {
		t.Helper()
		forced := everything(when)
		forced.Force = true
		for _, o := range []domain.TakeOptions{everything(when), forced} {
			if f := b.takeFor(o); f != nil {
				t.Fatalf("at %s this left: %+v", when, f.Users)
			}
		}
	}
	b.receive(event("ann", "vip", true, 0), deletion("ann", "d", 40), event("ann", "vip", true, 42, at(42)), event("bob", "vip", true, 42, at(42)))
	f := b.takeFor(everything(now))
	if len(f.Users) != 1 || f.Users[0].User != "bob" {
		t.Fatalf("leased: %+v", f.Users)
	}
	b.settleAt(f, now, domain.Result{Verdict: domain.Delivered})
	quiet(now)
	recount(t, b)
	b.settleAt(b.takeFor(onDeletes(now)), now, domain.Result{Verdict: domain.Delivered})
	b.receive(event("ann", "other", true, 70, at(70)))
	quiet(now.Add(domain.DeletionBuffer - time.Second))
	b.reopen(r)
	quiet(now.Add(domain.DeletionBuffer - time.Second))
	recount(t, b)
	info, err := b.User("ann")
	must(t, err)
	if len(info.Pending) == 0 || info.Pending[0].Wait != domain.WaitDeletion || info.Pending[0].Until != domain.Timestamp(now.Add(domain.DeletionBuffer)) || len(info.Deletions) != 1 {
		t.Errorf("shown: %+v", info)
	}
	if c := b.balance(); !c.OldestPending.Equal(minute(42)) && !c.OldestPending.IsZero() && c.OldestPending.Before(minute(42)) {
		t.Errorf("oldest: %s", c.OldestPending)
	}
	f = b.takeFor(everything(now.Add(domain.DeletionBuffer)))
	if f == nil || len(f.Users) != 1 || len(f.Users[0].Attributes) != 2 {
		t.Fatalf("leased: %+v", f)
	}
	recount(t, b)
}

// TestABaselineOfAUserWhomMoEngageIsToDeleteIsToldAfterwards: what MoEngage has of the user goes with the deletion.
func TestABaselineOfAUserWhomMoEngageIsToDeleteIsToldAfterwards(t *testing.T) {
	for name, accepted := range map[string]bool{"pending": false, "accepted": true} {
		t.Run(name, func(t *testing.T) {
			r := deleting(10)
			r.Defaults.Send = domain.SendBoth | domain.SendCohort | domain.SendList
			b := open(t, r)
			now := time.Now()
			b.receive(event("ann", "vip", true, 0), deletion("ann", "d", 31))
			done := func() { b.settleAt(b.takeFor(onDeletes(now)), now, domain.Result{Verdict: domain.Delivered}) }
			if accepted {
				done()
			}
			b.imports(Import{Key: "vip", AsOf: minute(60), Users: users("ann"), Baseline: true})
			if !accepted {
				done()
			}
			if f := b.takeFor(everything(now.Add(domain.DeletionBuffer - time.Minute))); f != nil {
				t.Errorf("before its end: %+v", f.Users)
			}
			them := newMoengage()
			b.leave(everything(now.Add(domain.DeletionBuffer+time.Minute)), them)
			b.leave(onCohorts(now.Add(domain.DeletionBuffer+time.Hour)), them)
			for kind, held := range map[string]string{"attribute": them.attributes["ann.vip"], "cohort": them.cohorts["ann.vip"], "list": them.lists["ann.vip"]} {
				if held != "true" {
					t.Errorf("the %s is %q after the deletion", kind, held)
				}
			}
			if len(them.events) != 0 {
				t.Errorf("a baseline made an event: %v", them.events)
			}
			recount(t, b)
		})
	}
}

// TestMoreDeletionsThanADayMayHaveAreHeld: a script that deletes everybody by mistake must not reach MoEngage.
func TestMoreDeletionsThanADayMayHaveAreHeld(t *testing.T) {
	b := open(t, deleting(2))
	for i := range 5 {
		b.receive(deletion(fmt.Sprint("user", i), fmt.Sprint("d", i), 31))
	}
	b.wantDeletions(2, 3, 0)
	tomorrow := 24 * 60
	b.receive(deletion("next", "d9", tomorrow), deletion("user4", "e4", tomorrow, ofMinute(tomorrow)))
	b.wantDeletions(3, 3, 0) // user4's is open
	held, _, err := b.Changes(domain.OutboxFilter{State: domain.StateHeld, Reason: domain.ReasonDeleteLimit})
	must(t, err)
	if len(held) != 3 || held[0].Kind != "delete" {
		t.Fatalf("held: %+v", held)
	}
	ids := make([]domain.ID, len(held))
	for i := range held {
		ids[i], err = domain.ParseID(held[i].ID)
		must(t, err)
	}
	must(t, b.Retry(context.Background(), minute(50), ids[:1]))
	must(t, b.Drop(context.Background(), minute(50), ids[1:2]))
	b.wantDeletions(4, 1, 0)
	if list := b.deletionsOf(held[1].User); len(list) != 1 || list[0].State != "dropped" || list[0].User != "" {
		t.Errorf("dropped: %+v", list)
	}
	for f := b.takeFor(onDeletes(minute(3 * tomorrow))); f != nil; f = b.takeFor(onDeletes(minute(3 * tomorrow))) {
		b.settleAt(f, minute(60), domain.Result{Verdict: domain.Delivered})
	}
	b.wantDeletions(0, 1, 0)
	for user, want := range map[string]string{"user0": "delivered", held[0].User: "delivered", held[1].User: "dropped", held[2].User: "held", "next": "delivered"} {
		if list := b.deletionsOf(user); len(list) != 1 || list[0].State != want {
			t.Errorf("%s: %+v, want %s", user, list, want)
		}
	}
}

// TestAParkedDeletionBarsNothingAndCanBeRetried, and a forgotten user keeps it.
func TestAParkedDeletionBarsNothingAndCanBeRetried(t *testing.T) {
	b := open(t, deleting(2))
	b.receive(deletion("ann", "d", 31), event("ann", "vip", true, 42, at(42)))
	b.settleAt(b.takeFor(onDeletes(minute(60))), minute(60), domain.Result{Verdict: domain.Parked, Reason: "data_refused", Sentence: "as the test says"})
	b.wantDeletions(0, 0, 1)
	if f := b.takeFor(everything(minute(60))); f == nil {
		t.Error("a parked deletion holds the user's changes back")
	} else {
		b.settleAt(f, minute(60), domain.Result{Verdict: domain.Delivered})
	}
	r, err := b.ForgetEverywhere(context.Background(), "ann", "root")
	must(t, err)
	if r.Deletion == nil || r.Deletion.State != "parked" || r.Deletion.By != "segment" {
		t.Errorf("the order's receipt: %+v", r.Deletion)
	}
	b.wantDeletions(0, 0, 1)
	id, err := domain.ParseID(r.Deletion.ID)
	must(t, err)
	b.SetRetention(Options{Parked: time.Hour})
	for range 30 {
		_, err := b.Prune(context.Background(), minute(1000*24*60))
		must(t, err)
	}
	must(t, b.Retry(context.Background(), minute(60), []domain.ID{id}))
	b.wantDeletions(1, 0, 0)
	b.settleAt(b.takeFor(onDeletes(minute(60))), minute(60), domain.Result{Verdict: domain.Delivered, Reason: "not_found"})
	b.wantDeletions(0, 0, 0)
	if list := b.deletionsOf("ann"); len(list) != 1 || list[0].Reason != "not_found" {
		t.Errorf("%+v", list)
	}
}

// TestADeletionThatACrashCutOffIsSentAgain: to delete twice does no harm, to delete never does.
func TestADeletionThatACrashCutOffIsSentAgain(t *testing.T) {
	b := open(t, deleting(2))
	r, err := b.ForgetEverywhere(context.Background(), "ann", "root")
	must(t, err)
	if r.Deletion == nil || r.Deletion.State != "pending" || r.Deletion.By != "root" || r.Deletion.User != "ann" {
		t.Fatalf("the order's receipt: %+v", r.Deletion)
	}
	if f := b.takeFor(onDeletes(minute(60))); f == nil {
		t.Fatal("it does not leave")
	}
	b.reopen(deleting(2))
	b.wantDeletions(1, 0, 0)
	again := b.takeFor(onDeletes(time.Now().Add(time.Hour)))
	if again == nil || again.Users[0].Event.ID.String() != r.Deletion.ID || again.Users[0].Event.Attempts != 1 {
		t.Fatalf("leased: %+v", again)
	}
	b.settleAt(again, minute(61), domain.Result{Verdict: domain.Delivered})
	b.wantDeletions(0, 0, 0)
}

// TestAnOrderThatNeedsNoDeletionNamesTheOneThatWasAccepted: the receipt said that the data at MoEngage stays, or that
// nothing was known of the user.
func TestAnOrderThatNeedsNoDeletionNamesTheOneThatWasAccepted(t *testing.T) {
	b := open(t, deleting(2))
	r, err := b.ForgetEverywhere(context.Background(), "ann", "root")
	must(t, err)
	f := b.takeFor(onDeletes(time.Now()))
	if f == nil || r.Deletion == nil {
		t.Fatalf("%+v does not leave", r.Deletion)
	}
	b.settleAt(f, time.Now(), domain.Result{Verdict: domain.Delivered})
	again, err := b.ForgetEverywhere(context.Background(), "ann", "root")
	must(t, err)
	if d := again.Deletion; d == nil || d.ID != r.Deletion.ID || d.State != "delivered" || d.Final == "" {
		t.Errorf("the second order's receipt: %+v", d)
	}
	b.wantDeletions(0, 0, 0)
	here, err := b.Forget(context.Background(), "ann")
	must(t, err)
	if here.Deletion != nil {
		t.Errorf("nobody asked for %+v", here.Deletion)
	}
}

// TestDeletionsOffSendNone: the default.
func TestDeletionsOffSendNone(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 0), deletion("ann", "d", 40))
	b.wantDeletions(0, 0, 0)
	blocked := deletion("null", "d", 40)
	blocked.User.Fault = "id_blocked"
	on := open(t, deleting(2))
	on.receive(blocked)
	on.wantDeletions(0, 0, 0)
}

// TestDeletionsAgainstAModel: whatever is lost, refused, restarted and asked for, MoEngage gets nothing of a user between
// the acceptance of a delete and the end of its buffer, and in the end it holds what Segment said last.
func TestDeletionsAgainstAModel(t *testing.T) {
	costly(t, manySeeds)
	for _, seed := range seeds(20, 300) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			m := &deletionModel{b: open(t, deleting(6)), rnd: rand.New(rand.NewPCG(uint64(seed), 11)), clock: 100, holds: map[string]string{}, in: map[string]bool{}, until: map[string]time.Time{}}
			m.run()
		})
	}
}

type deletionModel struct {
	b     *bench
	rnd   *rand.Rand
	clock int // minute of the next event
	holds map[string]string
	in    map[string]bool      // what Segment said last; absent: nothing since the last deletion
	until map[string]time.Time // when MoEngage has deleted the user
}

func (m *deletionModel) run() {
	for range 100 {
		user := fmt.Sprint("user", m.rnd.IntN(3))
		m.clock += 1 + m.rnd.IntN(200)
		switch m.rnd.IntN(10) {
		case 0, 1, 2:
			in := m.rnd.IntN(3) > 0
			m.b.receive(event(user, "vip", in, m.clock, at(m.clock)))
			m.in[user] = in
		case 3:
			m.b.receive(deletion(user, fmt.Sprint("d", m.clock), m.clock))
			delete(m.in, user)
		case 4:
			m.b.reopen(deleting(6))
		case 5:
			m.decide()
		default:
			m.fly()
		}
		m.b.balance()
	}
	for more := true; more; {
		m.clock += 60
		m.decide()
		sent := m.send(onDeletes(minute(m.clock)), domain.Delivered)
		sent = m.send(everything(minute(m.clock)), domain.Delivered) || sent
		more = sent || m.b.balance().Changes.Pending > 0
	}
	m.clock += 48 * 60
	m.pass()
	for user, in := range m.in {
		if got := m.holds[user] == "true"; got != in {
			m.b.Errorf("%s: MoEngage holds %q, Segment said %v last", user, m.holds[user], in)
		}
	}
	for user := range m.holds {
		if _, known := m.in[user]; !known {
			m.b.Errorf("%s was deleted, and MoEngage holds %q", user, m.holds[user])
		}
	}
	recount(m.b, m.b)
	checkIndex(m.b.TB.(*testing.T), m.b)
}

// decide releases everything that is held or parked.
func (m *deletionModel) decide() {
	for _, s := range []domain.State{domain.StateHeld, domain.StateParked} {
		list, _, err := m.b.Changes(domain.OutboxFilter{State: s})
		must(m.b, err)
		for _, c := range list {
			id, err := domain.ParseID(c.ID)
			must(m.b, err)
			must(m.b, m.b.Retry(context.Background(), minute(m.clock), []domain.ID{id}))
		}
	}
}

// fly has a random thing become of one lease.
func (m *deletionModel) fly() {
	verdict := []domain.Verdict{domain.Untried, domain.Delivered, domain.Delivered, domain.Refused, domain.Uncertain, domain.Parked}[m.rnd.IntN(6)]
	o := everything(minute(m.clock))
	if m.rnd.IntN(2) == 0 {
		o = onDeletes(minute(m.clock))
	} else if verdict == domain.Parked {
		verdict = domain.Refused
	}
	o.Force = m.rnd.IntN(3) == 0
	m.send(o, verdict)
}

// pass lets MoEngage delete whom it promised to.
func (m *deletionModel) pass() {
	for user, at := range m.until {
		if !minute(m.clock).Before(at.Add(-time.Hour)) { // a day; the agent gives it 25 hours
			delete(m.holds, user)
			delete(m.until, user)
		}
	}
}

func (m *deletionModel) send(o domain.TakeOptions, v domain.Verdict) bool {
	m.pass()
	f := m.b.takeFor(o)
	if f == nil {
		return false
	}
	if v == domain.Delivered || v == domain.Uncertain && m.rnd.IntN(2) == 0 {
		for _, d := range f.Users {
			if d.Event != nil && d.Event.Kind == domain.KindDelete {
				m.until[d.User] = minute(m.clock).Add(domain.DeletionBuffer)
				continue
			}
			if _, dying := m.until[d.User]; dying {
				m.b.Errorf("%s got %+v before its end", d.User, d)
			}
			for _, a := range d.Attributes {
				m.holds[d.User] = string(a.Value)
			}
		}
	}
	m.b.settleAt(f, minute(m.clock), domain.Result{Verdict: v, Reason: "model", RetryAt: minute(m.clock + 1)})
	return true
}

// TestASalvageKeepsTheWaitOfAUserWhoCameBack: the pending index is made anew, and what came after a delete left at once, for
// MoEngage to delete it with the user.
func TestASalvageKeepsTheWaitOfAUserWhoCameBack(t *testing.T) {
	onFiles(t)
	r := deleting(10)
	b := open(t, r)
	now := time.Now()
	b.receive(event("ann", "vip", true, 0), deletion("ann", "del-1", 31))
	b.settleAt(b.takeFor(onDeletes(now)), now, domain.Result{Verdict: domain.Delivered, Answer: domain.Answer{Status: 200}})
	b.receive(event("ann", "vip", true, 40, func(e *domain.Event) { e.Received = now }), event("bob", "vip", true, 1))
	was, err := b.User("ann")
	must(t, err)
	if was.DeletedUntil == "" || len(was.Pending) == 0 {
		t.Fatalf("ann does not wait: %+v", was)
	}
	must(t, b.Store.Close())
	breakHeads(t, filepath.Join(b.dir, datadir.StateFile), "both")
	endUncleanly(t, b.dir, false)
	b.Store = nil
	b.reopen(r)
	if list, err := b.Salvages(); err != nil || len(list) != 1 {
		t.Fatalf("salvaged: %+v, %v", list, err)
	}
	is, err := b.User("ann")
	must(t, err)
	if is.DeletedUntil != was.DeletedUntil || len(is.Pending) != len(was.Pending) {
		t.Errorf("ann waits until %q with %d changes, not %q with %d", is.DeletedUntil, len(is.Pending), was.DeletedUntil, len(was.Pending))
	}
	f := b.takeFor(everything(now.Add(time.Hour)))
	if f == nil || len(f.Users) != 1 || f.Users[0].User != "bob" {
		t.Errorf("leased: %+v", f)
	}
	recount(t, b)
}

// TestADeletionAcceptedUnderAClockThatWasAheadIsNeitherForgottenNorForEver: once the clock was right again, what came of a
// user left at once, although MoEngage may delete them for a day, and a second delete was covered by the first for years.
func TestADeletionAcceptedUnderAClockThatWasAheadIsNeitherForgottenNorForEver(t *testing.T) {
	for name, before := range map[string]bool{"changes made before the clock was set back": true, "after": false} {
		t.Run(name, func(t *testing.T) {
			b := open(t, deleting(10))
			ahead := minute(41).Add(366 * 24 * time.Hour)
			b.receive(event("ann", "vip", true, 0), deletion("ann", "d", 40))
			b.settleAt(b.takeFor(onDeletes(ahead)), ahead, domain.Result{Verdict: domain.Delivered})
			off := time.Duration(0)
			if before {
				off = 366 * 24 * time.Hour
			}
			b.receive(event("ann", "vip", true, 42, at(42), received(off)))
			b.leave(everything(minute(43)), newMoengage())
			for _, when := range []time.Time{minute(44), minute(42).Add(domain.DeletionBuffer - time.Minute)} {
				if f := b.takeFor(everything(when)); f != nil {
					t.Fatalf("at %s this left: %+v", when, f.Users)
				}
			}
			them := newMoengage()
			b.leave(everything(minute(45).Add(domain.DeletionBuffer)), them)
			if them.attributes["ann.vip"] != "true" {
				t.Error("what came of the user never left")
			}
			recount(t, b)
			b.receive(deletion("ann", "again", 60*48))
			if f := b.takeFor(onDeletes(minute(60 * 49))); f == nil || len(f.Users) != 1 {
				t.Errorf("a second delete, two days later, did not leave: %+v", f)
			}
		})
	}
}
