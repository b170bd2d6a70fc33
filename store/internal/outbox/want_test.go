package outbox

import (
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

func TestANewerValueSupersedesThePendingOne(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendAttribute))
	first := b.want("ann", true, 1)
	second := b.want("ann", false, 2)
	third := b.want("ann", true, 3)
	b.wantState(first, domain.StateSuperseded)
	b.wantState(second, domain.StateCancelled) // MoEngage never knew ann, so there is nothing to end
	b.wantState(third, domain.StatePending)
	b.Read(func(tx *state.Tx) {
		if ch := state.Find(tx, first); ch.Successor != second {
			t.Errorf("the first is superseded by %s, want %s", ch.Successor, second)
		}
	})
	b.wantSent(b.take(options(10)), "ann=true")
}

// TestAValueThatMoEngageHasIsNotSentAgain, unless a request for another one may have arrived.
func TestAValueThatMoEngageHasIsNotSentAgain(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendAttribute))
	b.want("ann", true, 1)
	b.settle(b.take(options(2)), domain.Delivered, 2)
	b.want("ann", false, 3)
	back := b.want("ann", true, 4)
	b.wantState(back, domain.StateCancelled)
	b.wantSent(b.take(options(5)), "")

	out := b.want("ann", false, 6)
	b.settle(b.take(options(7)), domain.Uncertain, 7)
	back = b.want("ann", true, 8)
	b.wantState(out, domain.StateSuperseded)
	b.wantState(back, domain.StatePending)
	b.wantSent(b.take(options(9)), "ann=true")
}

// TestAnExitOfAUserWhomMoEngageNeverKnew is sent only where the policy says so.
func TestAnExitOfAUserWhomMoEngageNeverKnew(t *testing.T) {
	for _, unknown := range []bool{false, true} {
		r, want := statetest.Rules(domain.SendAttribute), domain.StateCancelled
		if r.Defaults.UnknownExit = unknown; unknown {
			want = domain.StatePending
		}
		b := newBox(t, r)
		b.wantState(b.want("ann", false, 1), want)
	}
}

// TestEveryValueIsSentWithoutCollapse: in order, and the values that were queued before collapse was turned on again
// leave before the newer one.
func TestEveryValueIsSentWithoutCollapse(t *testing.T) {
	r := statetest.Rules(domain.SendAttribute)
	r.Defaults.Collapse = false
	b := newBox(t, r)
	b.want("ann", true, 1)
	b.want("ann", false, 2)
	r.Defaults.Collapse = true
	b.SetRules(r)
	b.want("ann", true, 3)
	for _, want := range []string{"ann=true", "ann=false", "ann=true", ""} {
		f := b.take(options(10))
		if b.wantSent(f, want); f != nil {
			b.settle(f, domain.Delivered, 10)
		}
	}
	b.Balance()
}

// TestAValueInARequestIsNotTakenBack: the newer one follows once the request is settled, or is cancelled if MoEngage
// has it by then.
func TestAValueInARequestIsNotTakenBack(t *testing.T) {
	for _, c := range []struct {
		verdict domain.Verdict
		state   domain.State
		then    string
	}{
		{domain.Delivered, domain.StateDelivered, "ann=false"},
		{domain.Uncertain, domain.StateSuperseded, "ann=false"},
		{domain.Refused, domain.StateSuperseded, ""},
		{domain.Parked, domain.StateSuperseded, ""},
	} {
		b := newBox(t, statetest.Rules(domain.SendAttribute))
		in := b.want("ann", true, 1)
		f := b.take(options(2))
		b.want("ann", false, 3)
		b.wantSent(b.take(options(4)), "") // one request of a user at a time
		b.settle(f, c.verdict, 5)
		b.wantState(in, c.state)
		b.wantSent(b.take(options(10)), c.then)
	}
}

// TestNoValueOvertakesAnother that does not collapse, although a clock was set back, and other values of the user wait between them.
// MoEngage keeps the value that it receives last.
func TestNoValueOvertakesAnother(t *testing.T) {
	r := statetest.Rules(domain.SendBoth)
	r.Defaults.Collapse = false
	b := newBox(t, r)
	due := func(id domain.ID) (m int) {
		b.Read(func(tx *state.Tx) {
			u := tx.User("ann")
			for _, l := range u.Index.Endpoint(domain.EndpointTransition).Lanes {
				if v := tx.Queue.Get(state.QueueKey(u.Key, l.Number, id)); v != nil {
					at, _, _ := state.ParseQueueValue(v)
					m = int((at - Second(minute(0))) / 60)
				}
			}
		})
		return m
	}
	first := b.want("ann", true, 20)
	b.enqueue("ann", true, 21) // an event is no value
	second := b.want("ann", false, 2)
	b.enqueue("ann", false, 3)
	third := b.want("ann", true, 30)
	for what, c := range map[string]struct {
		id   domain.ID
		want int
	}{"the first": {first, 20}, "one behind it, of an earlier time": {second, 20}, "one behind both": {third, 30}} {
		if got := due(c.id); got != c.want {
			t.Errorf("%s is due at minute %d, want %d", what, got, c.want)
		}
	}
	b.Do(func(tx *state.Tx) { // the second is put back between the two, with a time behind both
		u := tx.User("ann")
		ch := state.Find(tx, second)
		DropQueued(tx, u, ch)
		ch.Received = minute(40)
		Enqueue(tx, u, ch)
		tx.Write(u, 0)
	})
	if got := due(second); got != 30 {
		t.Errorf("put back, it is due at minute %d, want 30: not after the newer one", got)
	}
}
