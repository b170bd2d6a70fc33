package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
)

// users is a list as an import takes it.
func users(ids ...string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, id := range ids {
			if !yield(id, nil) {
				return
			}
		}
	}
}

// numbered users from one number up to before another.
func crowdOf(from, to int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := from; i < to; i++ {
			if !yield(fmt.Sprintf("user-%07d", i), nil) {
				return
			}
		}
	}
}

// minute is a moment of the tests.
func minute(m int) time.Time { return noon.Add(time.Duration(m) * time.Minute) }

func (b *bench) imports(o Import) MembershipReport {
	b.Helper()
	r, err := b.Import(context.Background(), o)
	must(b, err)
	return r
}

// drainToday is drain for what operators do, which is not done at noon.
func (b *bench) drainToday() {
	b.Helper()
	for {
		f, _, err := b.Take(context.Background(), everything(time.Now().Add(time.Hour)))
		must(b, err)
		if f == nil {
			return
		}
		b.settle(f, domain.Delivered)
	}
}

func (b *bench) wantMembers(key string, want ...string) {
	b.Helper()
	page, _, err := b.Members(key, "", 1000)
	must(b, err)
	var got []string
	for _, m := range page {
		got = append(got, m.User)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		b.Errorf("the members of %s are %q, want %q", key, got, want)
	}
}

func TestAnImportIsComparedWithWhatIsKnown(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 0), event("bob", "vip", true, 0), event("cid", "vip", true, 20), event("dan", "vip", false, 20))
	b.drainToday()
	b.said()
	o := Import{Key: "vip", AsOf: minute(10), Users: users("eve", "dan", "ann", "eve")}

	o.DryRun = true
	rehearsed := b.imports(o)
	b.wantMembers("vip", "ann", "bob", "cid")
	o.DryRun = false
	r := b.imports(o)
	want := MembershipReport{Key: "vip", ID: "aud_vip", Listed: 3, Repeated: 1, Enters: 1, Exits: 1, Unchanged: 1, Newer: 2, Created: 2}
	if r != want {
		t.Errorf("reported %+v, want %+v", r, want)
	}
	want.DryRun, want.Created = true, 0
	if rehearsed != want {
		t.Errorf("rehearsed %+v, want %+v", rehearsed, want)
	}
	b.wantMembers("vip", "ann", "cid", "eve")
	b.drainToday()
	b.wantSaid("eve.vip=true bob.vip=false")

	// News from before the list that come late do not undo it; later news do.
	b.receive(event("ann", "vip", false, 5), event("bob", "vip", true, 5), event("eve", "vip", false, 11))
	b.wantMembers("vip", "ann", "cid")
	again := b.imports(o)
	if again.Enters+again.Exits+again.Created != 0 {
		t.Errorf("given again it does something: %+v", again)
	}
	b.balance()
	recount(t, b)
}

func TestAnImportQueuesEventsOnlyWhereAsked(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 0))
	b.drainToday()
	b.said()
	b.imports(Import{Key: "aud_vip", AsOf: minute(10), Users: users("bob"), Events: true})
	b.drainToday()
	b.wantSaid("bob.vip=true bob!Audience Entered ann.vip=false ann!Audience Exited")
}

func TestABaselineIsKnownToMoEngageAlready(t *testing.T) {
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 0), event("bob", "vip", true, 0))
	r := b.imports(Import{Key: "vip", AsOf: minute(10), Users: users("ann", "cid"), Baseline: true})
	if r.Enters != 1 || r.Exits != 1 || r.Created != 0 {
		t.Errorf("reported %+v", r)
	}
	b.wantMembers("vip", "ann", "cid")
	if c := b.balance(); c.Changes.Cancelled != 2 || c.Changes.Pending != 2 {
		t.Errorf("the two enters that waited were not cancelled, or their events were: %+v", c.Changes)
	}
	b.drainToday()
	b.said()
	b.receive(event("cid", "vip", false, 20), event("ann", "vip", true, 20))
	b.drainToday()
	b.wantSaid("cid.vip=false cid!Audience Exited")
	recount(t, b)
}

// TestABaselineBeforeTheFirstEvent is a switch-over: the members are known before Segment says a word.
func TestABaselineBeforeTheFirstEvent(t *testing.T) {
	for _, send := range []domain.SendMethods{domain.SendAttribute, domain.SendAsReceived} {
		b := open(t, rules(send))
		o := Import{Key: "vip", AsOf: minute(1), Users: users("ann", "bob"), Baseline: true}
		if _, err := b.Import(context.Background(), o); !errors.Is(err, domain.ErrNotFound) {
			t.Fatalf("a key that nobody knows is taken: %v", err)
		}
		o.Create = true
		b.imports(o)
		b.receive(event("ann", "vip", false, 5), event("bob", "vip", true, 5), event("cid", "vip", true, 5))
		b.drainToday()
		b.wantSaid("ann.vip=false cid.vip=true")
		b.wantMembers("vip", "bob", "cid")
		recount(t, b)
	}
}

// TestAMemberOfAListFromBeforeTheFirstEventIsToldByIdentify is the default policy. Such a list speaks of states that
// nobody has received, so it tells MoEngage nothing; and then what Segment said was no news, and never left.
func TestAMemberOfAListFromBeforeTheFirstEventIsToldByIdentify(t *testing.T) {
	b := open(t, rules(domain.SendAsReceived))
	b.imports(Import{Key: "vip", AsOf: minute(1), Users: users("ann", "bob", "cid"), Create: true})
	b.receive(event("bob", "vip", true, 5, asTrack("Audience Entered")), event("ann", "vip", true, 5), event("cid", "vip", false, 5))
	b.receive(event("ann", "vip", true, 6))
	b.drainToday()
	b.wantSaid("ann.vip=true")
	b.wantMembers("vip", "ann", "bob")
	b.balance()
	recount(t, b)
}

func TestABaselineDoesNotOverlookARequestUnderWay(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 0))
	f := b.take()
	b.imports(Import{Key: "vip", AsOf: minute(10), Users: users(), Baseline: true})
	b.settle(f, domain.Delivered)
	b.drainToday()
	b.wantSaid("ann.vip=true ann.vip=false")
	recount(t, b)
}

func TestAReconcileTellsMembersAndExMembersAgain(t *testing.T) {
	costly(t, manyStores)
	for _, tc := range []struct {
		send   domain.SendMethods
		events bool
		want   string
	}{
		{domain.SendAttribute, false, "bob.vip=false ann.vip=true"},
		{domain.SendEvent, false, ""},
		{domain.SendBoth, true, "bob.vip=false bob!Audience Exited ann.vip=true ann!Audience Entered"},
		{domain.SendAsReceived, false, "bob.vip=false ann.vip=true"},
	} {
		b := open(t, rules(tc.send))
		b.receive(event("ann", "vip", true, 0), event("bob", "vip", true, 0), event("bob", "other", true, 0))
		b.drainToday()
		b.receive(event("bob", "vip", false, 1), event("cid", "vip", false, 1))
		b.drainToday()
		b.said()
		r, err := b.Reconcile(context.Background(), "vip", tc.events, true, nil)
		must(t, err)
		if r.Created != 0 {
			t.Errorf("%v: a rehearsal created something: %+v", tc.send, r)
		}
		if _, err = b.Reconcile(context.Background(), "vip", tc.events, false, nil); err != nil {
			t.Error(err)
		}
		b.drainToday()
		b.wantSaid(tc.want)
		b.balance()
		recount(t, b)
	}
}

// Under as_received the newest word may be the track's, out, while the attribute is identify's, in: that was
// told again only of whom MoEngage had been told something before.
func TestAReconcileAsReceivedTellsWhatIdentifySaidOfWhomTrackSaysIsOut(t *testing.T) {
	b := open(t, rules(domain.SendAsReceived))
	out := event("ann", "vip", false, 2)
	asTrack("Audience Exited")(out)
	b.receive(event("ann", "vip", true, 1), out)
	must(t, b.Drop(context.Background(), noon, b.ids(domain.StatePending)))
	_, err := b.Reconcile(context.Background(), "vip", false, false, nil)
	must(t, err)
	b.drainToday()
	b.wantSaid("ann.vip=true")
}

func TestAReconcileOfATraitSendsItsColumns(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(trait("ann", "row", 0, "a", "1.50", "b", "null"))
	b.drainToday()
	b.said()
	_, err := b.Reconcile(context.Background(), "row", false, false, nil)
	must(t, err)
	b.drainToday()
	b.wantSaid("ann.a=1.50")
	if _, err := b.Import(context.Background(), Import{Key: "row", AsOf: minute(1), Users: users("x")}); !errors.Is(err, ErrNoMembers) {
		t.Errorf("members of a trait: %v", err)
	}
}

// TestAnImportCountsNobodyAsEnteredWhoWasForgottenSince is a list from before a person was erased.
func TestAnImportCountsNobodyAsEnteredWhoWasForgottenSince(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 0))
	_, err := b.Forget(context.Background(), "ann")
	must(t, err)
	for _, dry := range []bool{true, false} {
		for _, baseline := range []bool{false, true} {
			r := b.imports(Import{Key: "vip", AsOf: minute(1), Users: users("ann"), Baseline: baseline, DryRun: dry})
			if r.Enters != 0 || r.Newer != 1 || r.Created != 0 {
				t.Errorf("dry %v, baseline %v: reported %+v", dry, baseline, r)
			}
		}
	}
	b.wantMembers("vip")
	r := b.imports(Import{Key: "vip", AsOf: time.Now(), Users: users("ann")})
	if r.Enters != 1 || r.Newer != 0 {
		t.Errorf("a list from after: %+v", r)
	}
	b.wantMembers("vip", "ann")
}

// A trait that never had a value was not told, and a reconcile made a profile of the user to say that it is empty.
func TestAReconcileTellsNoNullOfAValueThatWasNeverTold(t *testing.T) {
	for _, null := range []domain.NullPolicy{domain.NullUnset, domain.NullEmpty} {
		r := rules(domain.SendAttribute)
		r.Defaults.OnNull = null
		b := open(t, r)
		b.receive(trait("ann", "ltv", 0, "ltv", "null"))
		b.drainToday()
		_, err := b.Reconcile(context.Background(), "ltv", false, false, nil)
		must(t, err)
		b.drainToday()
		b.wantSaid("")
		b.balance()
	}
}

// What identify and track said of a trait are two states, and only the one is an attribute.
func TestAReconcileOfATraitAsReceivedSendsWhatIdentifySaid(t *testing.T) {
	b := open(t, rules(domain.SendAsReceived))
	b.receive(trait("ann", "spent", 1, "spent", "10"))
	e := trait("ann", "spent", 2, "spent", "20")
	asTrack("Trait Computed")(e)
	b.receive(e)
	b.drainToday()
	b.wantSaid("ann.spent=10 ann!Trait Computed")
	for _, events := range []bool{false, true} {
		_, err := b.Reconcile(context.Background(), "spent", events, false, nil)
		must(t, err)
		b.drainToday()
		b.wantSaid(map[bool]string{false: "ann.spent=10", true: "ann.spent=10 ann!Trait Computed"}[events])
	}
}

func TestAClosedAudienceHasNoMembers(t *testing.T) {
	costly(t, manyStores)
	for _, tc := range []struct {
		send   domain.SendMethods
		events bool
		want   string
	}{
		{domain.SendBoth, false, "bob.vip=false ann.vip=false"},
		{domain.SendBoth, true, "bob.vip=false bob!Audience Exited ann.vip=false ann!Audience Exited"},
		{domain.SendAsReceived, false, "ann.vip=false"},
		{domain.SendAsReceived, true, "bob!Audience Exited ann.vip=false"},
	} {
		b := open(t, rules(tc.send))
		b.receive(event("ann", "vip", true, 0), event("bob", "vip", true, 0, asTrack("Moved")))
		b.drainToday()
		b.said()
		r, err := b.CloseAudience(context.Background(), "vip", tc.events, false, nil)
		must(t, err)
		if r.Exits != 2 {
			t.Errorf("%+v", r)
		}
		b.wantMembers("vip")
		b.drainToday()
		b.wantSaid(tc.want)
		b.balance()
		recount(t, b)
	}
}

// TestWhatAnOrderClosesBearsTheTimeOfTheOrder: retention counts from it, and outbox show tells it. The record
// before the order came long ago, and after a restart there is none.
func TestWhatAnOrderClosesBearsTheTimeOfTheOrder(t *testing.T) {
	for _, restart := range []bool{false, true} {
		b := open(t, rules(domain.SendAttribute))
		b.receive(event("ann", "vip", true, 1))
		pending := b.ids(domain.StatePending)[0]
		if restart {
			b.reopen(rules(domain.SendAttribute))
		}
		begun := time.Now().Truncate(time.Second)
		_, err := b.CloseAudience(t.Context(), "vip", false, false, nil)
		must(t, err)
		c, _, err := b.Change(pending)
		must(t, err)
		if c.State == domain.StatePending || c.Closed.Before(begun) || c.Closed.After(time.Now()) {
			t.Errorf("restart %v: it is %v since %v, and the order came at %v", restart, c.State, c.Closed, begun)
		}
	}
}

// TestAnOrdersProgressEndsWithAll: the bar of a long decision is full at its end.
func TestAnOrdersProgressEndsWithAll(t *testing.T) {
	b := peopled(t, watched(domain.SendBoth), 6)
	b.receive(leaves(0, 70), leaves(1, 71), leaves(2, 72), leaves(3, 73))
	b.swept()
	var done, total int64
	r, err := b.Decide(t.Context(), "vip", false, false, func(d, t int64) { done, total = d, t })
	must(t, err)
	if done == 0 || done != total || uint64(done) != r.Decided {
		t.Errorf("the progress ends at %d of %d, and %d exits were decided", done, total, r.Decided)
	}
}

// TestAnImportThatIsCutShortIsGivenAgain compares a list in wild order and with repetitions, and has it cut short and
// given again.
func TestAnImportThatIsCutShortIsGivenAgain(t *testing.T) {
	costly(t, manyStores)
	const n = 20_000
	b := open(t, rules(domain.SendAttribute))
	b.imports(Import{Key: "vip", AsOf: minute(1), Users: crowdOf(0, n), Create: true, Baseline: true})
	mixed := rand.New(rand.NewPCG(1, 1)).Perm(n)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := b.Import(ctx, Import{
		Key: "vip", AsOf: minute(2),
		Users: func(yield func(string, error) bool) {
			for _, i := range append(mixed, mixed[:100]...) {
				if !yield(fmt.Sprintf("user-%07d", n/2+i), nil) {
					return
				}
			}
		},
		Progress: func(done, _ int64) {
			if done == n/2 {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	b.reopen(rules(domain.SendAttribute))
	r := b.imports(Import{Key: "vip", AsOf: minute(2), Users: crowdOf(n/2, n+n/2)})
	if r.Listed != n || r.Enters == 0 || r.Enters == n/2 || r.Enters+r.Exits+r.Unchanged != n+n/2 {
		t.Errorf("the second time: %+v", r)
	}
	if c := b.balance(); c.Changes.Created != n || c.Changes.Pending != n {
		t.Errorf("%d enters and as many exits were to be queued: %+v", n/2, c.Changes)
	}
	info, err := b.Computations()
	must(t, err)
	if info[0].Members != n {
		t.Errorf("%d members, want %d", info[0].Members, n)
	}
	recount(t, b)
}

func TestAListThatCannotBeReadChangesNothing(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 0))
	_, err := b.Import(context.Background(), Import{Key: "vip", AsOf: minute(5), Users: func(yield func(string, error) bool) {
		if yield("bob", nil) {
			yield("", os.ErrInvalid)
		}
	}})
	if !errors.Is(err, os.ErrInvalid) {
		t.Error(err)
	}
	b.wantMembers("vip", "ann")
	if _, err := b.Import(context.Background(), Import{Key: "vip", AsOf: time.Now().Add(time.Hour), Users: users()}); err == nil {
		t.Error("a list from the future is taken")
	}
}

// TestALargeImport imports twice as many users over a membership half of whom stay. A torture has 200,000; the
// others have enough for many records and batches.
func TestALargeImport(t *testing.T) {
	costly(t, manyUsers)
	n := 10_000
	if inFull {
		n = 20_000
	}
	if os.Getenv("PERSONASYNC_TORTURE") != "" {
		n = 100_000
	}
	b := open(t, rules(domain.SendAttribute))
	b.imports(Import{Key: "vip", AsOf: minute(1), Users: crowdOf(0, n), Create: true, Baseline: true})
	r := b.imports(Import{Key: "vip", AsOf: minute(2), Users: crowdOf(n/2, 5*n/2)})
	if all := uint64(n); r.Listed != 2*all || r.Exits != all/2 || r.Enters != 3*all/2 || r.Unchanged != all/2 || r.Created != 2*all {
		t.Errorf("%+v", r)
	}
	recount(t, b)
}
