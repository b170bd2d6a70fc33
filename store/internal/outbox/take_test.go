package outbox

import (
	"fmt"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// TestTheChangesOfAUserLeaveInOrder: a request has one event of a user, the oldest.
func TestTheChangesOfAUserLeaveInOrder(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendBoth))
	b.enqueue("ann", true, 1)
	b.enqueue("ann", false, 2)
	b.want("ann", true, 3)
	b.enqueue("bob", true, 3)
	f := b.take(options(10))
	b.wantSent(f, "ann=true ann!enter bob!enter")
	b.wantSent(b.take(options(10)), "")
	b.settle(f, domain.Delivered, 10)
	b.wantSent(b.take(options(11)), "ann!exit")
}

func TestATakeStaysWithinItsLimits(t *testing.T) {
	for name, c := range map[string]struct {
		limit func(*domain.TakeOptions)
		want  string
	}{
		"users":  {func(o *domain.TakeOptions) { o.MaxUsers = 2 }, "user0=true user1=true"},
		"fit":    {func(o *domain.TakeOptions) { o.Fit = func(d domain.UserChanges) bool { return d.User < "user1" } }, "user0=true"},
		"skip":   {func(o *domain.TakeOptions) { o.Skip = func(user string) bool { return user == "user1" } }, "user0=true user2=true user3=true"},
		"pass":   {func(o *domain.TakeOptions) { o.Pass = func(d domain.UserChanges) bool { return d.User == "user2" } }, "user0=true user1=true user3=true"},
		"closed": {func(o *domain.TakeOptions) { o.Due = func(string) time.Time { return time.Time{} } }, ""},
		"due":    {func(o *domain.TakeOptions) { o.Due = func(string) time.Time { return minute(1) } }, "user0=true user1=true"},
		"other":  {func(o *domain.TakeOptions) { o.Endpoint = domain.EndpointCohort }, ""},
	} {
		b := newBox(t, statetest.Rules(domain.SendAttribute))
		for i := range 4 {
			b.want(fmt.Sprint("user", i), true, i)
		}
		o := options(10)
		c.limit(&o)
		if got := sent(b.take(o)); got != c.want+" "[:min(1, len(c.want))] {
			t.Errorf("%s: the lease sends %q, want %q", name, got, c.want)
		}
	}
}

// TestAReceiptAheadOfTheClockIsDue: the clock was set back since, and may take years to reach it.
func TestAReceiptAheadOfTheClockIsDue(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendAttribute))
	b.want("soon", true, 10)
	b.want("ahead", true, 60*24*365)
	o := options(10)
	o.Due = func(string) time.Time { return minute(5) }
	b.wantSent(b.take(o), "ahead=true")
}

// TestALeaseOutlivesACrash: it is found at the next start, and settled as uncertain.
func TestALeaseOutlivesACrash(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendBoth))
	in, event := b.want("ann", true, 1), b.enqueue("ann", true, 1)
	f := b.take(options(2))
	b.Reopen()
	b.wantSent(b.take(options(3)), "")
	b.Do(func(tx *state.Tx) { Interrupt(tx, f.ID, minute(4)) })
	b.wantState(in, domain.StatePending)
	b.wantState(event, domain.StatePending)
	again := b.take(options(5))
	b.wantSent(again, "ann=true ann!enter")
	if d := again.Users[0]; d.Attributes[0].ID != in || d.Attributes[0].Attempts != 1 || d.Event.ID != event || d.Event.Reason != "interrupted" {
		t.Errorf("%+v", d)
	}
}

// TestAPreviewLeavesNothingBehind: it reads what a Take would lease.
func TestAPreviewLeavesNothingBehind(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendBoth))
	b.want("ann", true, 1)
	b.Read(func(tx *state.Tx) {
		d := NewLeaser(tx, options(2))
		d.Gather()
		b.wantSent(d.Lease, "ann=true")
	})
	if len(b.State.Leases) != 0 {
		t.Errorf("a preview left %d leases", len(b.State.Leases))
	}
	b.wantSent(b.take(options(2)), "ann=true")
}

func TestNextSaysWhenSomethingIsDue(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendAttribute))
	next := func() (n domain.Next) {
		b.Do(func(tx *state.Tx) { n = Next(tx, domain.EndpointTransition) })
		return n
	}
	if n := next(); len(n.Jobs) != 0 || !n.Retry.IsZero() {
		t.Errorf("an empty outbox has something due: %+v", n)
	}
	b.want("ann", true, 7)
	b.want("bob", true, 5)
	if n := next(); !n.Jobs[""].Equal(minute(5)) || !n.Retry.IsZero() {
		t.Errorf("%+v, want minute 5", n)
	}
	b.settle(b.take(options(10)), domain.Refused, 10)
	if n := next(); len(n.Jobs) != 0 || !n.Retry.Equal(minute(11)) || !n.RetryJobs[""].Equal(minute(5)) {
		t.Errorf("%+v, want a retry at minute 11", n)
	}
}

// jobs is rules by which vip leaves at the times of one job, and gold at those of another.
func jobs() domain.Rules {
	r := statetest.Rules(domain.SendAttribute)
	for key, job := range map[string]string{"vip": "hourly", "gold": "nightly"} {
		p := r.Defaults
		p.Job = job
		r.Sections = append(r.Sections, domain.Section{Key: key, Policy: p})
	}
	return r
}

// TestAJobLetsNothingOfAnotherLeave, in whichever order their lanes stand.
func TestAJobLetsNothingOfAnotherLeave(t *testing.T) {
	for open, want := range map[string]string{"hourly": "ann=true", "nightly": "bob=true"} {
		b := newBox(t, jobs())
		b.want("ann", true, 1)
		b.Do(func(tx *state.Tx) {
			f := tx.NewField(&state.Field{Space: "spa_1", Key: "gold", ID: "aud_gold", Class: domain.ClassAudience})
			u, c := tx.User("bob"), b.cause(tx, 1)
			WantAttribute(tx, u, f, policy(tx, f), tx.Entry(u, f.Number), c, domain.TransitionEnter, domain.JSONTrue)
		})
		o := options(9)
		o.Due = func(job string) (t time.Time) {
			if job == open {
				t = minute(9)
			}
			return t
		}
		b.wantSent(b.take(o), want)
		if log := b.Logged(); log != "" {
			t.Errorf("logged %s", log)
		}
		o.Due = func(string) time.Time { return minute(9) }
		if f := b.take(o); f == nil {
			t.Errorf("%s let everything of the other go", open)
		}
	}
}

// TestARequestOnOneEndpointLeavesTheOther: only a delete waits for both.
func TestARequestOnOneEndpointLeavesTheOther(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendAttribute|domain.SendCohort))
	b.Do(func(tx *state.Tx) {
		u, f, c := tx.User("ann"), tx.FieldOf(0), b.cause(tx, 1)
		tx.Entry(u, 0).Keep(state.KeptOne, &domain.Assertion{Value: domain.JSONTrue, Time: 1, Seq: c.Seq})
		tx.Write(u, 0)
		UpdateTargets(tx, u, f, policy(tx, f), tx.Entry(u, 0), c)
	})
	o := options(60)
	o.Endpoint = domain.EndpointCohort
	b.wantSent(b.take(o), "ann=true")
	b.enqueue("ann", true, 61)
	b.wantSent(b.take(options(62)), "ann!enter")
}

// TestAPauseLeavesARequestInFlight to its answer, and holds what has not left.
func TestAPauseLeavesARequestInFlight(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendBoth))
	in, event := b.want("ann", true, 1), b.enqueue("ann", true, 1)
	f := b.take(options(2))
	later := b.enqueue("ann", false, 3)
	waiting := b.want("bob", true, 3)
	r := b.State.Rules
	r.Paused = []domain.Pause{{Computation: "vip", Why: "a test"}}
	b.SetRules(r)
	b.Do(func(tx *state.Tx) {
		for _, user := range []string{"ann", "bob"} {
			HoldOpen(tx, tx.User(user), minute(4))
		}
	})
	for id, want := range map[domain.ID]domain.State{in: domain.StatePending, event: domain.StatePending, later: domain.StateHeld, waiting: domain.StateHeld} {
		b.wantState(id, want)
	}
	b.settle(f, domain.Delivered, 5)
	b.wantState(in, domain.StateDelivered)
	b.wantState(event, domain.StateDelivered)
	b.wantSent(b.take(options(9)), "")
}

// TestComputationsTakeTurns: one with a long backlog does not keep the others waiting.
func TestComputationsTakeTurns(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendAttribute))
	b.Do(func(tx *state.Tx) {
		gold := tx.NewField(&state.Field{Space: "spa_1", Key: "gold", ID: "aud_gold", Class: domain.ClassAudience})
		for i := range 6 {
			f := tx.FieldOf(0)
			if i >= 3 {
				f = gold
			}
			u, c := tx.User(fmt.Sprint("user", i)), b.cause(tx, 1)
			WantAttribute(tx, u, f, policy(tx, f), tx.Entry(u, f.Number), c, domain.TransitionEnter, domain.JSONTrue)
		}
	})
	b.Reopen()
	order := ""
	for range 6 {
		o := options(60)
		o.MaxUsers = 1
		f := b.take(o)
		order += f.Users[0].Attributes[0].Computation + " "
		b.settle(f, domain.Delivered, 60)
	}
	if order != "vip gold vip gold vip gold " && order != "gold vip gold vip gold vip " {
		t.Errorf("they leave in the order %s", order)
	}
}

// TestAPauseHoldsAnEventBehindThoseOfOthers: the queue of a user has the events of all computations.
func TestAPauseHoldsAnEventBehindThoseOfOthers(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendEvent))
	var other domain.ID
	b.Do(func(tx *state.Tx) {
		f := tx.NewField(&state.Field{Space: "spa_1", Key: "gold", ID: "aud_gold", Class: domain.ClassAudience})
		u := tx.User("ann")
		ch := Draft(tx, u, f, policy(tx, f), b.cause(tx, 1), domain.KindEvent, domain.TransitionEnter)
		tx.State.Ledger.Changes.Created++
		Enqueue(tx, u, ch)
		other = ch.ID
	})
	own := b.enqueue("ann", true, 2)
	r := b.State.Rules
	r.Paused = []domain.Pause{{Computation: "vip", Why: "a test"}}
	b.SetRules(r)
	b.Do(func(tx *state.Tx) { HoldOpen(tx, tx.User("ann"), minute(3)) })
	b.wantState(other, domain.StatePending)
	b.wantState(own, domain.StateHeld)
}

// TestAValueThatDoesNotCollapseLeavesWhenItIsDue, and not before, though none is queued behind it.
func TestAValueThatDoesNotCollapseLeavesWhenItIsDue(t *testing.T) {
	r := statetest.Rules(domain.SendAttribute)
	r.Defaults.Collapse = false
	b := newBox(t, r)
	b.want("ann", true, 10)
	b.want("ann", false, 12)
	upTo := func(m int) domain.TakeOptions {
		o := options(20)
		o.Due = func(string) time.Time { return minute(m) }
		return o
	}
	b.wantSent(b.take(upTo(5)), "")
	f := b.take(upTo(11))
	b.wantSent(f, "ann=true")
	b.settle(f, domain.Delivered, 20)
	b.wantSent(b.take(upTo(11)), "")
	b.wantSent(b.take(upTo(12)), "ann=false")
}
