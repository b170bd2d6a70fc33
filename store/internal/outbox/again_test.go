package outbox

import (
	"strings"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// again tells MoEngage of a membership once more, as a reconcile does.
func (b *box) again(user string, in bool, m int) {
	b.Helper()
	b.Do(func(tx *state.Tx) {
		u, f := tx.User(user), tx.FieldOf(0)
		t, v := value(in)
		TellAgain(tx, u, f, policy(tx, f), tx.Entry(u, 0), b.cause(tx, m), t, v)
	})
	b.Balance()
}

// TestAReconcileSendsWhatMoEngageHasAlready, once. An open change does that by itself.
func TestAReconcileSendsWhatMoEngageHasAlready(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendAttribute))
	b.want("ann", true, 1)
	b.again("ann", true, 2) // it is pending
	if got := b.drain(3); got != "ann=true" {
		t.Errorf("sent %q", got)
	}
	b.again("ann", true, 4)
	b.again("ann", true, 5)
	if got := b.drain(6); got != "ann=true" {
		t.Errorf("sent again %q", got)
	}
	b.again("bob", false, 7)
	if got := b.drain(8); got != "" { // MoEngage was never told of bob
		t.Errorf("sent of an unknown user %q", got)
	}
	r := statetest.Rules(domain.SendAttribute)
	r.Defaults.Collapse = false
	b = newBox(t, r)
	b.want("ann", true, 1)
	b.want("ann", false, 2)
	b.again("ann", false, 3)
	if got := b.drain(9); got != "ann=false ann=true" {
		t.Errorf("beside values that do not collapse %q", got)
	}
}

// TestAChangeThatIsNeededNoMoreIsCancelled, be it pending or parked.
func TestAChangeThatIsNeededNoMoreIsCancelled(t *testing.T) {
	cancel := func(b *box) {
		b.Do(func(tx *state.Tx) {
			tx.Now = minute(5)
			u, f := tx.User("ann"), tx.FieldOf(0)
			CancelWaiting(tx, u, f, tx.Entry(u, 0))
			tx.Write(u, 0)
		})
	}
	b := newBox(t, statetest.Rules(domain.SendAttribute))
	cancel(b) // nothing waits
	b.Balance()
	id := b.want("ann", true, 1)
	cancel(b)
	b.wantState(id, domain.StateCancelled)
	b.wantSent(b.take(options(9)), "")
	id = b.want("ann", true, 6)
	b.settle(b.take(options(7)), domain.Parked, 7)
	b.wantState(id, domain.StateParked)
	cancel(b)
	b.wantState(id, domain.StateCancelled)
	if n := len(b.Keys(state.BucketParked)); n != 0 {
		t.Errorf("%d are still parked", n)
	}
}

// TestALeaseOfOneUserLeavesTheOthers, in whichever turn.
func TestALeaseOfOneUserLeavesTheOthers(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendBoth))
	b.want("ann", true, 1)
	b.want("bob", true, 2)
	b.enqueue("bob", true, 2)
	takeUser := func(user string, m int) (f *domain.Lease) {
		b.Do(func(tx *state.Tx) { f = TakeUser(tx, options(m), user) })
		return f
	}
	if f := takeUser("cid", 5); f != nil {
		t.Errorf("of a user without changes: %+v", f)
	}
	f := takeUser("bob", 5)
	b.wantSent(f, "bob=true bob!enter")
	if again := takeUser("bob", 5); again != nil {
		t.Errorf("a user is in two requests: %+v", again)
	}
	b.settle(f, domain.Delivered, 6)
	if again := takeUser("bob", 7); again != nil {
		t.Errorf("of what was delivered: %+v", again)
	}
	b.wantSent(b.take(options(8)), "ann=true")
	b.Balance()
}

// TestCohortsAreRepeatedBehindARetry: while its change was parked MoEngage may have had no profile of the user, and then it
// skipped the cohort silently. If MoEngage accepted something of the user before that change, it had one.
func TestCohortsAreRepeatedBehindARetry(t *testing.T) {
	for name, tt := range map[string]struct {
		known bool // MoEngage accepted something of the user before
		slots int
		want  string
		says  string
	}{
		"an unknown user":           {false, MaxSlots, "ann=true", ""},
		"a known user":              {true, MaxSlots, "", ""},
		"an order with no ids left": {false, 0, "", "reconcile the audiences"},
	} {
		r := guarded()
		r.Defaults.Send = domain.SendAttribute | domain.SendCohort
		b := newBox(t, r)
		enter := func(m int) {
			b.Do(func(tx *state.Tx) {
				u, f, c := tx.User("ann"), tx.FieldOf(0), b.cause(tx, m)
				p, en := policy(tx, f), tx.Entry(u, 0)
				at := tx.Now.UnixNano()
				en.Keep(state.KeptOne, &domain.Assertion{Value: domain.JSONTrue, Time: at, Since: at, Seq: c.Seq})
				WantAttribute(tx, u, f, p, en, c, domain.TransitionEnter, domain.JSONTrue)
				UpdateTargets(tx, u, f, p, en, c)
				tx.Write(u, 0)
			})
		}
		cohort := func(m int) string {
			o, all := options(m), ""
			o.Endpoint = domain.EndpointCohort
			for f := b.take(o); f != nil; f = b.take(o) {
				all += sent(f)
				b.settle(f, domain.Delivered, m)
			}
			return strings.TrimSpace(all)
		}
		if tt.known {
			b.enqueue("ann", true, 0)
			b.drain(1)
		}
		enter(10)
		b.settle(b.take(options(11)), domain.Parked, 11)
		if got := cohort(20); got != "ann=true" {
			t.Fatalf("%s: the cohort is told %q", name, got)
		}
		was := MaxSlots
		MaxSlots = tt.slots
		b.Do(func(tx *state.Tx) {
			var parked *state.Stored
			for _, k := range state.KeysWithPrefix(tx.Parked, nil) {
				parked = tx.Fetch(tx.Parked, k)
			}
			if parked == nil {
				t.Fatalf("%s: nothing is parked", name)
			}
			RepeatCohorts(tx, b.cause(tx, 30), parked)
		})
		MaxSlots = was
		if got := cohort(40); got != tt.want || !strings.Contains(b.Logged(), tt.says) {
			t.Errorf("%s: the cohort is told %q, want %q", name, got, tt.want)
		}
		b.Balance()
	}
}
