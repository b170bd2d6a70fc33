package outbox

import (
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

func TestAResultDecidesWhatBecomesOfAChange(t *testing.T) {
	for verdict, c := range map[domain.Verdict]struct {
		state domain.State
		again string // what is due at once
		later string // and what after the wait for a retry
	}{
		domain.Delivered: {domain.StateDelivered, "", ""},
		domain.Untried:   {domain.StatePending, "ann=true ann!enter", ""},
		domain.Refused:   {domain.StatePending, "", "ann=true ann!enter"},
		domain.Uncertain: {domain.StatePending, "", "ann=true ann!enter"},
		domain.Parked:    {domain.StateParked, "", ""},
	} {
		b := newBox(t, statetest.Rules(domain.SendBoth))
		in, event := b.want("ann", true, 1), b.enqueue("ann", true, 1)
		b.settle(b.take(options(2)), verdict, 2)
		b.wantState(in, c.state)
		b.wantState(event, c.state)
		b.Read(func(tx *state.Tx) {
			for _, id := range []domain.ID{in, event} {
				want := time.Time{}
				if c.later != "" {
					want = minute(3)
				}
				if ch := state.Find(tx, id); !ch.NextAttempt.Equal(want) {
					t.Errorf("the next attempt of %s is at %v, want %v", ch.Kind, ch.NextAttempt, want)
				}
			}
		})
		again := b.take(options(2))
		if b.wantSent(again, c.again); again == nil {
			b.wantSent(b.take(options(4)), c.later)
		}
		if t.Failed() {
			t.Fatalf("verdict %d", verdict)
		}
	}
}

// TestALeaseIsSettledOnce: a second result changes nothing.
func TestALeaseIsSettledOnce(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendAttribute))
	in := b.want("ann", true, 1)
	f := b.take(options(2))
	b.settle(f, domain.Parked, 2)
	b.settle(f, domain.Delivered, 3)
	b.wantState(in, domain.StateParked)
}

// TestAShortListOfResultsLeavesTheOthersUntried: a sender that stopped in the middle says nothing of them.
func TestAShortListOfResultsLeavesTheOthersUntried(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendAttribute))
	b.want("ann", true, 1)
	b.want("bob", true, 1)
	f := b.take(options(2))
	b.Do(func(tx *state.Tx) {
		Settle(tx, domain.Settlement{Lease: f.ID, At: minute(2), Results: []domain.UserResult{{Attributes: domain.Result{Verdict: domain.Delivered}}}})
	})
	again := b.take(options(3))
	b.wantSent(again, f.Users[1].User+"=true")
	if n := again.Users[0].Attributes[0].Attempts; n != 0 {
		t.Errorf("an attempt was counted that was none: %d", n)
	}
}

// TestARequestThatWasNotSentIsNotCounted against the rate limits.
func TestARequestThatWasNotSentIsNotCounted(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendBoth))
	b.want("ann", true, 1)
	b.enqueue("ann", true, 1)
	b.want("bob", true, 1)
	counted := func() (s domain.SentSecond) {
		b.Read(func(tx *state.Tx) {
			s = SentIn(tx.Bucket(state.BucketSent).Get(state.NumberKey(uint64(minute(2).Unix()))))
		})
		return s
	}
	f := b.take(options(2))
	if got := counted(); got.Users != 2 || got.Events != 1 {
		t.Errorf("counted %+v, want 2 users and 1 event", got)
	}
	b.Do(func(tx *state.Tx) { Settle(tx, domain.Settlement{Lease: f.ID, At: minute(2), NotSent: true}) })
	if got := counted(); got != (domain.SentSecond{}) {
		t.Errorf("counted %+v, want nothing", got)
	}
}

// TestTheCountsOfOtherMinutesAreDeleted, also those ahead, by a clock that was set back.
func TestTheCountsOfOtherMinutesAreDeleted(t *testing.T) {
	b := newBox(t, statetest.Rules(domain.SendAttribute))
	for _, second := range []uint64{1000, 1100, 1200, 1400, 1500, 1280} {
		b.Do(func(tx *state.Tx) { countSent(tx, second, domain.SentSecond{Users: 1}) })
	}
	var got []uint64
	for _, k := range b.Keys(state.BucketSent) {
		got = append(got, state.Number(k))
	}
	if len(got) != 2 || got[0] != 1280 || got[1] != 1400 {
		t.Errorf("the counts of %v are kept, want 1280 and 1400", got)
	}
	counts := []byte{0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6}
	for size, want := range map[int]domain.SentSecond{8: {Users: 3, Events: 4}, 12: {Users: 3, Events: 4, Cohorts: 5}, 16: {Users: 3, Events: 4, Cohorts: 5, Deletes: 6}} {
		if s := SentIn(counts[:size]); s != want {
			t.Errorf("%d bytes are read as %+v, want %+v", size, s, want)
		}
	}
}

// TestAChangeThatFailedOnceLeavesWithTheRetry, also if the next request was not made: the schedule of its computation may be closed for
// days.
func TestAChangeThatFailedOnceLeavesWithTheRetry(t *testing.T) {
	for _, kind := range []string{"ann=true", "ann!enter"} {
		b := newBox(t, statetest.Rules(domain.SendBoth))
		if kind == "ann=true" {
			b.want("ann", true, 1)
		} else {
			b.enqueue("ann", true, 1)
		}
		b.settle(b.take(options(2)), domain.Refused, 2)
		b.settle(b.take(options(4)), domain.Untried, 4)
		o := options(5)
		o.Due = func(string) time.Time { return time.Time{} }
		b.wantSent(b.take(o), kind)
	}
}

// TestEveryEndpointIsCountedByItself against its own limit, and taken back where a request was not sent.
func TestEveryEndpointIsCountedByItself(t *testing.T) {
	b := newDeleting(t, 9)
	b.erase("ann", 1)
	b.erase("bob", 1)
	b.want("cid", true, 1)
	counted := func() (s domain.SentSecond) {
		b.Read(func(tx *state.Tx) {
			s = SentIn(tx.Bucket(state.BucketSent).Get(state.NumberKey(uint64(minute(2).Unix()))))
		})
		return s
	}
	b.take(options(2))
	f := b.takeDeletes(2)
	if got := counted(); got != (domain.SentSecond{Users: 1, Deletes: len(f.Users)}) {
		t.Errorf("counted %+v, want a user and %d deletes", got, len(f.Users))
	}
	b.Do(func(tx *state.Tx) { Settle(tx, domain.Settlement{Lease: f.ID, At: minute(2), NotSent: true}) })
	if got := counted(); got != (domain.SentSecond{Users: 1}) {
		t.Errorf("counted %+v, want the user alone", got)
	}
}
