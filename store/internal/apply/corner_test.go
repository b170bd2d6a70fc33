package apply

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// TestAnAdoptedNameIsThatOfItsNewID: a section of the config may name the new id.
func TestAnAdoptedNameIsThatOfItsNewID(t *testing.T) {
	r := sending(t, domain.SendAttribute, func(r *domain.Rules) {
		renamed := r.Defaults
		renamed.Attribute = "vip_new"
		r.Sections = []domain.Section{{ID: "aud_new", Policy: renamed}}
	})
	r.events(enter("ann", "vip", 1), enter("ann", "vip", 2, in("spa_1", "aud_new")))
	into, from, err := Adoption(r.State.Registry, "vip", "aud_new")
	r.Must(err)
	r.order(record.Order{Verb: record.OrderAdopt, Field: into.Number, Other: from[0].Number}, "")
	r.event(enter("bob", "vip", 3, in("spa_1", "aud_new")))
	if told := r.told(); !strings.HasSuffix(told, "bob.vip_new=true") {
		t.Errorf("after the exchange: %s", told)
	}
}

// TestAReturnByOneCallEndsTheHeldExitOfTheOther: MoEngage never received that exit.
func TestAReturnByOneCallEndsTheHeldExitOfTheOther(t *testing.T) {
	r := sending(t, domain.SendAsReceived, guarded)
	for _, u := range []string{"ann", "bob", "cid"} {
		r.events(enter(u, "vip", 1), enter(u, "vip", 1, track("Joined")))
	}
	r.deliver()
	r.events(exit("bob", "vip", 2), exit("cid", "vip", 2), exit("ann", "vip", 2, track("Left")))
	if n := len(r.ids(domain.StateHeld)); n != 2 {
		t.Fatalf("%d are held: %s", n, r.told())
	}
	r.event(exit("ann", "vip", 3))
	r.event(enter("ann", "vip", 4))
	for _, ch := range r.changes() {
		if ch.User == "ann" && (ch.State == domain.StateHeld || ch.Transition == domain.TransitionExit && ch.State == domain.StatePending) {
			t.Errorf("an exit of a member is still open: %+v", ch)
		}
	}
	r.Balance()
}

func TestANewerExitEndsTheHeldOne(t *testing.T) {
	r := sending(t, domain.SendEvent, guarded)
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1), enter("cid", "vip", 1))
	r.deliver()
	r.events(exit("bob", "vip", 2), exit("cid", "vip", 2), exit("ann", "vip", 2, step("Left", "m-1")))
	held := len(r.ids(domain.StateHeld))
	r.order(record.Order{Verb: record.OrderRelease}, "vip") // the decision alone
	r.event(exit("ann", "vip", 3, step("Left", "m-2")))
	if told := r.told(); held != 2 || !strings.HasSuffix(told, "ann!Left(cancelled) ann!Left") {
		t.Errorf("%d were held; %s", held, told)
	}
}

func TestAnEventOfAnAudienceHasNoColumns(t *testing.T) {
	r := sending(t, domain.SendAttribute, func(r *domain.Rules) { r.Defaults.ForwardTraits = []string{"*"} })
	r.event(enter("bob", "vip", 1))
	e := trait("ann", "vip", 2, "vip", "true", "city", `"Rome"`)
	e.Class, e.Fault, e.ComputationID, e.Flag = domain.ClassNone, domain.UnknownClass, "aud_vip", domain.FlagIn
	if got := r.event(e); got != domain.OutcomeTransition {
		t.Errorf("it is %s", got)
	}
	r.wantTold(`bob.vip=true ann.vip=true ann.city="Rome"`)
}

func TestAForwardedTraitIsAnAttributeWhateverTheComputationSends(t *testing.T) {
	r := sending(t, domain.SendEvent, func(r *domain.Rules) { r.Defaults.ForwardTraits = []string{"city"} })
	r.event(enter("ann", "vip", 1, statetest.WithTraits("vip", "true", "city", `"Rome"`)))
	r.wantTold(`ann!Audience Entered ann.city="Rome"`)
}

func TestAnErasedExMemberIsNoMemberLess(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1), exit("ann", "vip", 2))
	r.deliver()
	if len(r.Keys(state.BucketHistory)) == 0 {
		t.Fatal("nothing is closed")
	}
	for n, u := range []string{"ann", "bob"} {
		r.Do(func(tx *state.Tx) { Forget(tx, tx.User(u), receipt) })
		if got := r.field("vip").Members; got != uint64(1-n) {
			t.Errorf("after %s was erased there are %d members", u, got)
		}
	}
	if n := len(r.Keys(state.BucketHistory)); n != 0 {
		t.Errorf("%d closed changes are left", n)
	}
}

// TestOneWhoseIDIsAsLongAsItMayBeIsListed: their parked events leave the queue with them.
func TestOneWhoseIDIsAsLongAsItMayBeIsListed(t *testing.T) {
	user := strings.Repeat("x", domain.MaxUserID)
	r := sending(t, domain.SendAttribute)
	r.events(enter(user, "vip", 1, faulty("undetermined")), enter(user, "vip", 2, faulty("undetermined")))
	if n := len(r.queue()); n != 2 {
		t.Fatalf("%d are listed", n)
	}
	ids := r.ids(domain.StateParked)
	r.action(record.Action{Verb: record.ActionDrop, IDs: ids[:1]})
	e := enter(user, "vip", 3)
	r.record(record.Record{Again: &record.Reread{Received: receipt, ID: ids[1], Event: e, Frame: statetest.Frame(e)}}, nil)
	if n := len(r.queue()); n != 0 {
		t.Errorf("%d are still listed", n)
	}
	r.Balance()
}

func TestARetriedChangeLeavesTheParkedOnesOfItsUser(t *testing.T) {
	for _, newer := range []bool{false, true} {
		r := sending(t, domain.SendAttribute, func(r *domain.Rules) { r.Defaults.Collapse = false })
		r.event(enter("ann", "vip", 1))
		r.park()
		parked := r.ids(domain.StateParked)
		if newer {
			r.event(exit("ann", "vip", 2))
			r.deliver()
		}
		r.action(record.Action{Verb: record.ActionRetry, IDs: parked})
		if n := len(r.queue()); n != 0 {
			t.Errorf("behind a newer one: %v; %d are still listed as parked", newer, n)
		}
	}
}

// TestABaselineBehindQueuedValuesIsSentAfterThem: until then MoEngage may have either.
func TestABaselineBehindQueuedValuesIsSentAfterThem(t *testing.T) {
	r := sending(t, domain.SendAttribute, func(r *domain.Rules) { r.Defaults.Collapse = false })
	r.event(enter("ann", "vip", 1))
	r.order(record.Order{Verb: record.OrderBaseline, Time: at(5), Targets: words("-ann")}, "vip")
	r.wantTold("ann.vip=true ann.vip=false")
	fly := sending(t, domain.SendAttribute)
	fly.event(enter("ann", "vip", 1))
	lease := fly.take()
	fly.order(record.Order{Verb: record.OrderBaseline, Time: at(5), Targets: words("ann")}, "vip")
	fly.Read(func(tx *state.Tx) {
		if e := tx.Entry(tx.User("ann"), 0); e.LastSent.Kind != state.UncertainlySent {
			t.Errorf("beside a request in flight MoEngage is thought to hold %+v", e.LastSent)
		}
	})
	fly.settle(lease, domain.Refused)
	fly.Balance()
}

// TestToldSinceReadsNoMoreThanAPage: a user may have very many closed changes.
func TestToldSinceReadsNoMoreThanAPage(t *testing.T) {
	for _, tc := range []struct {
		behind int
		want   bool
	}{{state.HistoryShown - 1, true}, {state.HistoryShown, false}} {
		r := sending(t, domain.SendAttribute)
		r.event(enter("ann", "vip", 1))
		r.deliver()
		r.Do(func(tx *state.Tx) {
			for i := range tc.behind {
				tx.State.Ledger.Changes.Created++
				tx.Close(tx.User("ann"), &state.Stored{Change: domain.Change{ID: domain.ID{Seq: uint64(100 + i)}, Kind: domain.KindEvent, User: "ann"}}, domain.StateDelivered, receipt.Add(2*time.Hour))
			}
		})
		r.Read(func(tx *state.Tx) {
			if got := ToldSince(tx, tx.User("ann"), map[uint32]bool{0: true}, noon); got != tc.want {
				t.Errorf("behind %d others: %v", tc.behind, got)
			}
		})
	}
	r := sending(t, domain.SendAttribute)
	r.events(enter("ann", "vip", 1), exit("ann", "vip", 2)) // superseded and cancelled
	r.Read(func(tx *state.Tx) {
		if ToldSince(tx, tx.User("ann"), map[uint32]bool{0: true}, noon) {
			t.Error("a cancelled change told MoEngage something")
		}
	})
}

func TestAUserInVeryManyAudiencesIsErasedWhole(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	for i := range 200 {
		r.event(enter("ann", fmt.Sprint("a", i), 1))
	}
	r.Do(func(tx *state.Tx) { Forget(tx, tx.User("ann"), receipt) })
	if n := len(r.Keys(state.BucketRows)); n != 0 || r.State.Ledger.Users != 0 || r.State.Ledger.Changes.Forgotten != 200 {
		t.Errorf("%d rows are left; the ledger is %+v", n, r.State.Ledger)
	}
	for _, f := range r.State.Registry.Fields {
		if f.Members != 0 {
			t.Errorf("%s has %d members", f.Key, f.Members)
		}
	}
}

// TestAnErasedUserNoLongerCountsAsOneWhoLeft: docs/semantics.md has the guard count nobody after their erasure.
func TestAnErasedUserNoLongerCountsAsOneWhoLeft(t *testing.T) {
	r := sending(t, domain.SendEvent, guarded) // two who leave are too many
	for _, u := range []string{"ann", "bob", "cid", "dan"} {
		r.event(enter(u, "vip", 1))
	}
	r.event(exit("ann", "vip", 2))
	r.Do(func(tx *state.Tx) { Forget(tx, tx.User("ann"), receipt) })
	r.event(exit("bob", "vip", 2))
	if w := r.field("vip").Exits; w.Left != 1 || !w.Tripped.IsZero() {
		t.Errorf("after an erasure and one exit the window is %+v", w)
	}
	r.event(exit("cid", "vip", 2))
	if w := r.field("vip").Exits; w.Left != 2 || w.Tripped.IsZero() {
		t.Errorf("after the second exit the window is %+v", w)
	}
}

// TestAnErasedUsersChangesCannotBeNamed: an id that still led somewhere would tell that there was a user.
func TestAnErasedUsersChangesCannotBeNamed(t *testing.T) {
	r := sending(t, domain.SendBoth|domain.SendCohort, func(r *domain.Rules) { r.Defaults.Collapse = false })
	r.event(enter("ann", "vip", 1))
	r.deliver()
	r.event(exit("ann", "vip", 2))
	r.park()
	r.events(enter("ann", "vip", 3), exit("ann", "vip", 4), enter("ann", "new", 5), enter("ann", "vip", 6, faulty("undetermined")))
	r.Do(func(tx *state.Tx) { Forget(tx, tx.User("ann"), receipt) })
	r.Balance()
	for _, bucket := range [][]byte{state.BucketLocator, state.BucketParked, state.BucketHeld, state.BucketHistory, state.BucketQueue, state.BucketDue, state.BucketRows} {
		if n := len(r.Keys(bucket)); n != 0 {
			t.Errorf("%s has %d keys left", bucket, n)
		}
	}
}

// TestARetriedValueThatDoesNotCollapseIsCountedInTheQueue: a value that follows is sent after it.
func TestARetriedValueThatDoesNotCollapseIsCountedInTheQueue(t *testing.T) {
	r := sending(t, domain.SendAttribute, func(r *domain.Rules) { r.Defaults.Collapse = false })
	r.event(enter("ann", "vip", 1))
	r.park()
	loose := func() (n uint32) {
		r.Read(func(tx *state.Tx) { n = uint32(tx.Entry(tx.User("ann"), 0).Loose) })
		return n
	}
	if n := loose(); n != 0 {
		t.Errorf("while it is parked %d are in the queue", n)
	}
	r.action(record.Action{Verb: record.ActionRetry, IDs: r.ids(domain.StateParked)})
	if n := loose(); n != 1 {
		t.Errorf("after the retry %d are in the queue", n)
	}
	r.order(record.Order{Verb: record.OrderBaseline, Time: at(5), Targets: words("-ann")}, "vip")
	r.wantTold("ann.vip=true ann.vip=false") // until it is sent, MoEngage may have either
	r.deliver()
	if n := loose(); n != 0 {
		t.Errorf("after the delivery %d are in the queue", n)
	}
}

// TestATimeIsBelievedUpToFiveMinutesAhead: what is kept of a later one counts as older, or everything would be stale until
// the clock is there. All is received at minute 30.
func TestATimeIsBelievedUpToFiveMinutesAhead(t *testing.T) {
	for minute, want := range map[int]string{35: "transition stale", 36: "transition transition"} {
		r := sending(t, domain.SendAttribute)
		if got := r.events(enter("ann", "vip", minute), exit("ann", "vip", 30)); got != want {
			t.Errorf("an exit of minute 30 behind an enter of minute %d: %s, want %s", minute, got, want)
		}
		r = sending(t, domain.SendAttribute)
		if got := r.events(trait("ann", "score", minute, "score", "5"), trait("ann", "score", 30, "score", "6")); got != want {
			t.Errorf("a value of minute 30 behind one of minute %d: %s, want %s", minute, got, want)
		}
	}
}
