package apply

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
	"personasync/store/testdir"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	goleak.VerifyTestMain(m)
}

// noon is the hour of every event, and receipt that at which all are received.
var (
	noon    = statetest.Noon
	receipt = statetest.Receipt
)

// room is a state to which records are applied, each in a transaction of its own.
type room struct {
	*statetest.DB
	seq uint64 // of the last record
}

func newRoom(t testing.TB, r domain.Rules) *room {
	t.Helper()
	return &room{DB: statetest.New(t, r)}
}

// sending is a room with the rules that the agent ships with, but for the way of sending.
func sending(t testing.TB, send domain.SendMethods, options ...func(*domain.Rules)) *room {
	t.Helper()
	r := statetest.Rules(send)
	for _, o := range options {
		o(&r)
	}
	return newRoom(t, r)
}

// event applies one event and returns the ledger column that it was counted under.
func (r *room) event(e *domain.Event) domain.Outcome {
	r.Helper()
	before := r.State.Ledger.Events
	r.record(record.Record{Event: e}, statetest.Frame(e))
	var came domain.Outcome
	r.Read(func(tx *state.Tx) {
		came = state.ReadVerdicts(tx.Bucket(state.BucketVerdicts), r.seq).Of(r.seq)
	})
	want := before
	want.Accepted++
	want.Count(came)
	if got := r.State.Ledger.Events; came != domain.OutcomeIgnored && got != want { // a delete discards, too
		r.Errorf("the record says %s, and the ledger went from %+v to %+v", came, before, got)
	}
	return came
}

// events applies several and returns their columns as words.
func (r *room) events(list ...*domain.Event) string {
	r.Helper()
	var words []string
	for _, e := range list {
		words = append(words, r.event(e).String())
	}
	return strings.Join(words, " ")
}

// record applies a record under the next number.
func (r *room) record(rec record.Record, frame []byte) {
	r.Helper()
	r.seq++
	rec.Seq = r.seq
	r.Do(func(tx *state.Tx) { Record(tx, rec, frame) })
}

// adopt has the audience aud_new continue vip, with these users.
func (r *room) adopt(users string) (into *state.Field, from []*state.Field) {
	r.Helper()
	into, from, err := Adoption(r.State.Registry, "vip", "aud_new")
	r.Must(err)
	order := record.Order{Verb: record.OrderAdopt, Field: into.Number, Other: from[0].Number}
	r.order(order, "")
	order.Targets = words(users)
	r.order(order, "")
	return into, from
}

// order applies an operator's order on the only computation of a key.
func (r *room) order(o record.Order, key string) {
	r.Helper()
	if o.Received.IsZero() {
		o.Received = receipt
	}
	if o.Time.IsZero() {
		o.Time = receipt
	}
	if key != "" {
		o.Field = r.field(key).Number
	}
	r.record(record.Record{Order: &o}, nil)
}

// action applies an operator's retry or drop of all changes in a state.
func (r *room) action(a record.Action) {
	r.Helper()
	a.Received = receipt.Add(time.Hour)
	r.record(record.Record{Action: &a}, nil)
}

// field returns the only computation of a key.
func (r *room) field(key string) *state.Field {
	r.Helper()
	f, err := r.State.Registry.One(key)
	r.Must(err)
	return f
}

// changes returns every change whose id is still known, in the order in which they were made.
func (r *room) changes() (list []*state.Stored) {
	r.Helper()
	var keys [][]byte
	for _, bucket := range [][]byte{state.BucketLocator, state.BucketParked, state.BucketHeld} {
		keys = append(keys, r.Keys(bucket)...)
	}
	slices.SortFunc(keys, func(a, b []byte) int { return strings.Compare(string(a), string(b)) })
	r.Read(func(tx *state.Tx) {
		for _, k := range slices.CompactFunc(keys, func(a, b []byte) bool { return string(a) == string(b) }) {
			if ch := state.Find(tx, state.IDFromKey(k, tx.State.Epochs)); ch != nil {
				list = append(list, ch)
			}
		}
	})
	return list
}

// told is the changes as text: user.name=value of an attribute, user!name of an event, user+cohort, user-cohort, and
// the state where it is not pending.
func (r *room) told() string {
	r.Helper()
	var words []string
	for _, ch := range r.changes() {
		word := ""
		switch ch.Kind {
		case domain.KindAttribute, domain.KindList:
			word = fmt.Sprintf("%s.%s=%s", ch.User, ch.Name, ch.Value)
		case domain.KindEvent:
			word = ch.User + "!" + ch.Name
		case domain.KindCohort:
			word = fmt.Sprintf("%s@%s=%s", ch.User, ch.Name, ch.Value)
		case domain.KindReceived:
			word = ch.User + "?" + ch.Reason
		}
		if ch.State != domain.StatePending {
			word += "(" + ch.State.String() + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func (r *room) wantTold(want string) {
	r.Helper()
	if got := r.told(); got != want {
		r.Errorf("the changes are\n\t%s\nwant\n\t%s", got, want)
	}
	r.Balance()
}

// ids returns the ids of the changes in a state.
func (r *room) ids(s domain.State) (list []domain.ID) {
	r.Helper()
	for _, ch := range r.changes() {
		if ch.State == s {
			list = append(list, ch.ID)
		}
	}
	return list
}

// take leases what is due on the endpoint of attributes and events.
func (r *room) take() (f *domain.Lease) {
	r.Helper()
	now := receipt.Add(time.Hour)
	r.Do(func(tx *state.Tx) {
		f, _ = outbox.Take(tx, domain.TakeOptions{
			Endpoint: domain.EndpointTransition, Now: now, MaxUsers: 1000, MaxEvents: 1000,
			Due: func(string) time.Time { return now }, Fit: func(domain.UserChanges) bool { return true },
		})
	})
	return f
}

func (r *room) settle(f *domain.Lease, v domain.Verdict) {
	r.Helper()
	o := domain.Settlement{Lease: f.ID, At: receipt.Add(time.Hour), Results: make([]domain.UserResult, len(f.Users))}
	for i := range o.Results {
		one := domain.Result{Verdict: v, Reason: "test", Sentence: "as the test says"}
		if v == domain.Delivered {
			one = domain.Result{Verdict: v}
		}
		o.Results[i] = domain.UserResult{Attributes: one, Event: one}
	}
	r.Do(func(tx *state.Tx) { outbox.Settle(tx, o) })
}

// deliver has MoEngage accept all that is due.
func (r *room) deliver() {
	r.Helper()
	for f := r.take(); f != nil; f = r.take() {
		r.settle(f, domain.Delivered)
	}
}

// park has MoEngage refuse for good all that is due.
func (r *room) park() {
	r.Helper()
	for f := r.take(); f != nil; f = r.take() {
		r.settle(f, domain.Parked)
	}
}

// membership is what is kept of a user and the only computation of a key: in, out or nothing.
func (r *room) membership(user, key string) (is string) {
	r.Helper()
	number := r.field(key).Number
	r.Read(func(tx *state.Tx) {
		switch s := tx.Entry(tx.User(user), number).Newest(); {
		case s == nil:
			is = "nothing"
		case s.IsIn():
			is = "in"
		default:
			is = "out"
		}
	})
	return is
}

func (r *room) wantCounts(key string, members, entered, exited uint64) {
	r.Helper()
	if f := r.field(key); f.Members != members || f.Entered != entered || f.Exited != exited {
		r.Errorf("%s has %d members, %d entered and %d exited; want %d, %d, %d", key, f.Members, f.Entered, f.Exited, members, entered, exited)
	}
}

// recordOf is the record of an event.
func recordOf(seq uint64, e *domain.Event) record.Record { return record.Record{Seq: seq, Event: e} }
