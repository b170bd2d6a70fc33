package outbox

import (
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// newDeleting is an outbox that has MoEngage delete users, so many a day.
func newDeleting(t *testing.T, perDay uint64) *box {
	t.Helper()
	r := statetest.Rules(domain.SendBoth)
	r.Deletes = domain.Deletes{Send: true, PerDay: perDay}
	return newBox(t, r)
}

// erase asks for the deletion of a user.
func (b *box) erase(user string, m int) (id domain.ID) {
	b.Helper()
	b.Do(func(tx *state.Tx) {
		c := b.cause(tx, m)
		id = domain.ID{Epoch: statetest.Epoch, Seq: c.Seq}
		Delete(tx, tx.User(user), c, "root")
	})
	return id
}

func (b *box) takeDeletes(m int) *domain.Lease {
	o := options(m)
	o.Endpoint = domain.EndpointDelete
	return b.take(o)
}

// settleDelete gives a deletion in flight an answer.
func (b *box) settleDelete(f *domain.Lease, r domain.Result, m int) {
	b.Helper()
	b.Do(func(tx *state.Tx) {
		Settle(tx, domain.Settlement{Lease: f.ID, At: minute(m), Results: []domain.UserResult{{Event: r}}})
	})
}

// operate has an operator retry or drop the deletion of a user, in whichever state it is.
func (b *box) operate(do func(*state.Tx, *state.Stored), id domain.ID, m int) {
	b.Helper()
	b.Do(func(tx *state.Tx) {
		tx.Now = minute(m)
		do(tx, state.Find(tx, id))
	})
}

func drop(tx *state.Tx, ch *state.Stored) { DropDeletion(tx, ch, tx.Now) }

// wantReceipt wants the newest deletion of a user to be in a state, and as many to be pending, held and parked.
func (b *box) wantReceipt(user string, want domain.State, pending, held, parked uint64) (r *state.Receipt) {
	b.Helper()
	b.Read(func(tx *state.Tx) {
		list := state.Receipts(tx, user)
		if len(list) == 0 {
			b.Fatalf("%s has no receipt", user)
		}
		r = list[len(list)-1]
		ch, closed := state.Find(tx, r.ID), want == domain.StateDelivered || want == domain.StateDropped
		switch {
		case !closed && (ch == nil || ch.State != want || r.State != domain.StatePending || !r.Closed.IsZero()),
			closed && (ch != nil || r.State != want || tx.Locator.Get(state.IDKey(r.ID)) != nil || len(state.KeysWithPrefix(tx.Queue, state.UserKey(user))) > 0):
			b.Errorf("the change of %s is %+v and its receipt %+v, want %s, and nothing of the change once it is over", user, ch, r, want)
		}
		if closed && tx.Bucket(state.BucketMeta).Get(MetaErase) == nil {
			b.Errorf("%s is %v, and nothing is to be erased from the files", user, want)
		}
		if d := tx.State.Deletes; d.Pending != pending || d.Held != held || d.Parked != parked {
			b.Errorf("%+v, want %d pending, %d held and %d parked", d, pending, held, parked)
		}
	})
	b.Balance()
	return r
}

// TestAnAcceptedDeletionLeavesAReceipt, and MoEngage counts as knowing nothing of the user: what comes of them waits until it has
// deleted them.
func TestAnAcceptedDeletionLeavesAReceipt(t *testing.T) {
	b := newDeleting(t, 9)
	b.want("ann", true, 1)
	b.drain(1)
	b.erase("ann", 2)
	b.wantReceipt("ann", domain.StatePending, 1, 0, 0)
	f := b.takeDeletes(3)
	b.settleDelete(f, domain.Result{Verdict: domain.Delivered, Reason: "not_found", Answer: domain.Answer{Status: 200, RequestID: "r-1"}}, 4)
	r := b.wantReceipt("ann", domain.StateDelivered, 0, 0, 0)
	if r.By != "root" || r.Reason != "not_found" || r.Status != 200 || r.RequestID != "r-1" || !r.Closed.Equal(minute(4)) || !r.Accepted.Equal(minute(4)) {
		t.Errorf("%+v", r)
	}
	b.erase("ann", 5)
	if n := len(b.Keys(state.BucketDeletions)); n != 1 {
		t.Errorf("%d receipts: a user is deleted whom MoEngage is deleting", n)
	}
	b.want("ann", true, 6) // MoEngage was told so before the deletion
	buffer := int(domain.DeletionBuffer / time.Minute)
	b.wantSent(b.take(options(3+buffer)), "")
	b.wantSent(b.take(options(5+buffer)), "ann=true")
	b.erase("ann", 5+buffer)
	if n := len(b.Keys(state.BucketDeletions)); n != 2 {
		t.Errorf("%d receipts: a user who came back is deleted once more", n)
	}
}

// TestADeletionWithoutAnAnswerMayHaveBeenAccepted: the user's changes wait as if it was.
func TestADeletionWithoutAnAnswerMayHaveBeenAccepted(t *testing.T) {
	b := newDeleting(t, 9)
	b.erase("ann", 1)
	b.settleDelete(b.takeDeletes(2), domain.Result{Verdict: domain.Uncertain, RetryAt: minute(5)}, 3)
	if r := b.wantReceipt("ann", domain.StatePending, 1, 0, 0); !r.Accepted.Equal(minute(3)) {
		t.Errorf("%+v", r)
	}
	if b.Reopen(); b.State.Deletes.Accepted != uint64(minute(3).Unix()) {
		t.Errorf("after a restart nobody knows of it: %+v", b.State.Deletes)
	}
	if f := b.takeDeletes(4); f != nil {
		t.Errorf("it leaves again before its time: %+v", f)
	}
	f := b.takeDeletes(5)
	b.want("ann", true, 6)
	b.settleDelete(f, domain.Result{Verdict: domain.Parked, Reason: "refused"}, 7)
	b.wantReceipt("ann", domain.StateParked, 0, 0, 1)
	buffer := int(domain.DeletionBuffer / time.Minute)
	b.wantSent(b.take(options(2+buffer)), "")
	b.wantSent(b.take(options(4+buffer)), "ann=true")
}

// TestAnOperatorDecidesOnADeletion that is held, parked or pending. One in flight stays as it is.
func TestAnOperatorDecidesOnADeletion(t *testing.T) {
	for _, tc := range []struct {
		name   string
		perDay uint64
		answer domain.Result
		was    domain.State
		counts [3]uint64
	}{
		{"held", 0, domain.Result{}, domain.StateHeld, [3]uint64{0, 1, 0}},
		{"pending", 1, domain.Result{}, domain.StatePending, [3]uint64{1, 0, 0}},
		{"parked", 1, domain.Result{Verdict: domain.Parked, Reason: "refused", Sentence: "as the test says"}, domain.StateParked, [3]uint64{0, 0, 1}},
	} {
		made := func() (b *box, id domain.ID) {
			b = newDeleting(t, tc.perDay)
			id = b.erase("ann", 1)
			if tc.answer.Verdict != domain.Untried {
				b.settleDelete(b.takeDeletes(2), tc.answer, 3)
			}
			b.wantReceipt("ann", tc.was, tc.counts[0], tc.counts[1], tc.counts[2])
			if b.erase("ann", 4); len(b.Keys(state.BucketDeletions)) != 1 {
				b.Errorf("a second deletion while one is %s", tc.was)
			}
			return b, id
		}
		t.Run(tc.name+" is dropped", func(t *testing.T) {
			b, id := made()
			b.operate(drop, id, 8)
			if r := b.wantReceipt("ann", domain.StateDropped, 0, 0, 0); !r.Accepted.IsZero() || !r.Closed.Equal(minute(8)) {
				t.Errorf("%+v", r)
			}
			b.want("ann", true, 9)
			b.wantSent(b.take(options(10)), "ann=true")
		})
		t.Run(tc.name+" is retried", func(t *testing.T) {
			if tc.was == domain.StatePending {
				return // it is on its way
			}
			b, id := made()
			b.operate(RetryDeletion, id, 8)
			b.wantReceipt("ann", domain.StatePending, 1, 0, 0)
			f := b.takeDeletes(9)
			if f == nil || f.Users[0].Event.Reason != "" || f.Users[0].Event.Attempts != 0 {
				t.Fatalf("leased %+v", f)
			}
			b.operate(drop, id, 9)
			b.wantReceipt("ann", domain.StatePending, 1, 0, 0)
			b.settleDelete(f, domain.Result{Verdict: domain.Delivered}, 10)
			b.wantReceipt("ann", domain.StateDelivered, 0, 0, 0)
		})
	}
}

// TestTheLimitOfDeletionsIsOfADay in UTC. One that was received before midnight and comes late counts for the new day.
func TestTheLimitOfDeletionsIsOfADay(t *testing.T) {
	b, midnight := newDeleting(t, 2), 12*60
	for i, c := range []struct {
		m    int
		want domain.State
	}{
		{1, domain.StatePending}, {2, domain.StatePending}, {3, domain.StateHeld},
		{midnight, domain.StatePending}, {midnight - 1, domain.StatePending}, {midnight + 1, domain.StateHeld},
		{midnight - 24*60 - 1, domain.StatePending}, // the clock was set back by days
	} {
		id := b.erase(string(rune('a'+i)), c.m)
		b.wantState(id, c.want)
	}
}
