package outbox

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
	"personasync/store/testdir"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	goleak.VerifyTestMain(m)
}

// box is an outbox with the changes of one audience, vip, which is field 0.
type box struct {
	*statetest.DB
	seq uint64
}

func newBox(t *testing.T, r domain.Rules) *box {
	t.Helper()
	b := &box{DB: statetest.New(t, r)}
	b.Do(func(tx *state.Tx) {
		tx.NewField(&state.Field{Space: "spa_1", Key: "vip", ID: "aud_vip", Class: domain.ClassAudience})
	})
	return b
}

func minute(n int) time.Time { return statetest.Noon.Add(time.Duration(n) * time.Minute) }

// cause is the next record of the inbox: something said, and received, at a minute.
func (b *box) cause(tx *state.Tx, m int) *Cause {
	b.seq++
	tx.Now = minute(m)
	return &Cause{Seq: b.seq, Event: &domain.Event{Received: tx.Now, Time: tx.Now, Class: domain.ClassAudience, MessageID: fmt.Sprint("m", b.seq)}}
}

func policy(tx *state.Tx, f *state.Field) *domain.Policy {
	p := tx.State.Rules.For(f.Key, f.ID)
	return &p
}

func value(in bool) (domain.Transition, []byte) {
	if in {
		return domain.TransitionEnter, domain.JSONTrue
	}
	return domain.TransitionExit, domain.JSONFalse
}

// want makes the attribute change by which a user is a member, or is not.
func (b *box) want(user string, in bool, m int) (id domain.ID) {
	b.Helper()
	b.Do(func(tx *state.Tx) {
		u, f, c := tx.User(user), tx.FieldOf(0), b.cause(tx, m)
		t, v := value(in)
		id = domain.ID{Epoch: statetest.Epoch, Seq: c.Seq}
		WantAttribute(tx, u, f, policy(tx, f), tx.Entry(u, 0), c, t, v)
		tx.Write(u, 0)
	})
	return id
}

// makeEvent makes the event of an enter or an exit, and has put decide where it goes.
func (b *box) makeEvent(user string, in bool, m int, put func(*state.Tx, *state.User, *state.Field, *state.Stored)) (id domain.ID) {
	b.Helper()
	b.Do(func(tx *state.Tx) {
		u, f := tx.User(user), tx.FieldOf(0)
		t, v := value(in)
		ch := Draft(tx, u, f, policy(tx, f), b.cause(tx, m), domain.KindEvent, t)
		ch.Value, id = v, ch.ID
		tx.State.Ledger.Changes.Created++
		put(tx, u, f, ch)
	})
	return id
}

// enqueue makes the event of an enter or an exit, which is pending.
func (b *box) enqueue(user string, in bool, m int) domain.ID {
	b.Helper()
	return b.makeEvent(user, in, m, func(tx *state.Tx, u *state.User, _ *state.Field, ch *state.Stored) { Enqueue(tx, u, ch) })
}

// options take everything that is due at a minute.
func options(m int) domain.TakeOptions {
	return domain.TakeOptions{
		Endpoint: domain.EndpointTransition, Now: minute(m), MaxUsers: 1000, MaxEvents: 1000,
		Due: func(string) time.Time { return minute(m) },
		Fit: func(domain.UserChanges) bool { return true },
	}
}

func (b *box) take(o domain.TakeOptions) (f *domain.Lease) {
	b.Helper()
	b.Do(func(tx *state.Tx) { f, _ = Take(tx, o) })
	return f
}

// settle settles a lease at a minute, every change of it alike.
func (b *box) settle(f *domain.Lease, v domain.Verdict, m int) {
	b.Helper()
	r := domain.Result{Verdict: v, RetryAt: minute(m + 1)}
	if v != domain.Delivered && v != domain.Untried {
		r.Reason, r.Sentence = "test", "as the test says"
	}
	o := domain.Settlement{Lease: f.ID, At: minute(m), Results: make([]domain.UserResult, len(f.Users))}
	for i := range o.Results {
		o.Results[i] = domain.UserResult{Attributes: r, Event: r}
	}
	b.Do(func(tx *state.Tx) { Settle(tx, o) })
}

// sent says what a lease sends: user=value of an attribute, user!transition of an event, in order.
func sent(f *domain.Lease) (text string) {
	if f == nil {
		return ""
	}
	for _, d := range f.Users {
		for _, a := range d.Attributes {
			text += fmt.Sprintf("%s=%s ", d.User, a.Value)
		}
		if d.Event != nil {
			text += fmt.Sprintf("%s!%s ", d.User, d.Event.Transition)
		}
	}
	return text
}

func (b *box) wantSent(f *domain.Lease, want string) {
	b.Helper()
	if want != "" {
		want += " "
	}
	if got := sent(f); got != want {
		b.Errorf("the lease sends %q, want %q", got, want)
	}
}

// wantState fails the test unless a change is in a state, after the file was read back too.
func (b *box) wantState(id domain.ID, want domain.State) {
	b.Helper()
	b.Read(func(tx *state.Tx) {
		if ch := state.Find(tx, id); ch == nil || ch.State != want {
			b.Errorf("change %s is %+v, want %s", id, ch, want)
		}
	})
	b.Balance()
}

// field is the audience as the file has it.
func (b *box) field() (f *state.Field) {
	b.Helper()
	b.Read(func(tx *state.Tx) { f = tx.FieldOf(0) })
	return f
}
