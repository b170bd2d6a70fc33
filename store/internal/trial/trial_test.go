package trial

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/apply"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
	"personasync/store/internal/wire"
)

// inbox is a log of frames that are numbered from 1.
type inbox [][]byte

func (l inbox) Last() uint64                                       { return uint64(len(l)) }
func (l inbox) Append(context.Context, ...[]byte) error            { return nil }
func (l inbox) AppendOther(ctx context.Context, f ...[]byte) error { return l.Append(ctx, f...) }
func (l inbox) Others() int64                                      { return 0 }
func (l inbox) Read(from uint64, _ int) (r []engine.Record, _ error) { // one at a time
	return append(r, engine.Record{Seq: from, Frame: l[from-1]}), nil
}

// over begins a trial on d, and ends with it.
func over(d *statetest.DB, log engine.Log, f func(*Trial)) {
	d.Helper()
	d.Must(d.File().View(func(kv engine.Tx) error {
		t, err := Over(kv, log, d.State.Rules)
		if err == nil {
			f(t)
		}
		return err
	}))
}

// try applies an event, and returns its outcome and the values of the attribute that leave.
func try(d *statetest.DB, t *Trial, e *domain.Event) (came domain.Outcome, values []string) {
	d.Helper()
	r, err := t.Apply(e)
	d.Must(err)
	for _, l := range r.Leases {
		for _, delivery := range l.Users {
			for _, c := range delivery.Attributes {
				values = append(values, c.Name+"="+string(c.Value))
			}
		}
	}
	return r.Outcome, values
}

// apply1 applies an event to the state itself, as the next record.
func apply1(d *statetest.DB, e *domain.Event) {
	d.Helper()
	d.Do(func(tx *state.Tx) {
		apply.Record(tx, record.Record{Seq: tx.State.Applied + 1, Event: e}, statetest.Frame(e))
	})
}

// TestRecordsThatAreNotAppliedYetCount: an agent that was killed leaves some, and one of them may be damaged.
func TestRecordsThatAreNotAppliedYetCount(t *testing.T) {
	d := statetest.New(t, statetest.Rules(domain.SendAttribute))
	torn := statetest.Frame(statetest.Enter("bob", "vip", 1))
	torn[len(torn)-1]++
	log := inbox{statetest.Frame(statetest.Enter("ann", "vip", 1)), torn, statetest.Frame(statetest.Enter("ann", "gold", 2))}
	over(d, log, func(trial *Trial) {
		if came, _ := try(d, trial, statetest.Enter("ann", "vip", 5)); came != domain.OutcomeUnchanged {
			t.Errorf("the enter of a member by a record that is not applied: outcome %d", came)
		}
		if came, values := try(d, trial, statetest.Enter("bob", "vip", 5)); came != domain.OutcomeTransition || len(values) != 1 {
			t.Errorf("the enter of the user of a damaged record: outcome %d, sent %v", came, values)
		}
		if trial.state.Applied != 5 {
			t.Errorf("the last record is %d, want those of the log and two", trial.state.Applied)
		}
	})
	d.Reopen()
	if d.State.Applied != 0 {
		t.Errorf("record %d was applied to the file", d.State.Applied)
	}
	d.Balance()
}

// TestWhatIsInFlightCountsAsAccepted: its user must not be in two requests.
func TestWhatIsInFlightCountsAsAccepted(t *testing.T) {
	d := statetest.New(t, statetest.Rules(domain.SendAttribute))
	apply1(d, statetest.Enter("ann", "vip", 1))
	d.Do(func(tx *state.Tx) {
		now := statetest.Receipt.Add(time.Hour)
		l, _ := outbox.Take(tx, domain.TakeOptions{
			Endpoint: domain.EndpointTransition, Now: now, MaxUsers: 1, MaxEvents: 1,
			Due: func(string) time.Time { return now }, Fit: func(domain.UserChanges) bool { return true },
		})
		if l == nil {
			t.Fatal("nothing was taken")
		}
	})
	for range 2 { // the first trial leaves the lease in flight
		over(d, inbox(make([][]byte, 1)), func(trial *Trial) {
			if n := trial.state.Ledger.Changes.Delivered; n != 1 || len(trial.state.Leases) != 0 {
				t.Errorf("%d changes are delivered, and %d leases in flight", n, len(trial.state.Leases))
			}
			if came, values := try(d, trial, statetest.Exit("ann", "vip", 5)); came != domain.OutcomeTransition || len(values) != 1 || values[0] != "vip=false" {
				t.Errorf("outcome %d, sent %v", came, values)
			}
		})
	}
	if d.Reopen(); len(d.State.Leases) != 1 {
		t.Errorf("%d leases are left", len(d.State.Leases))
	}
}

// TestAChangeThatHasARetryTimeLeavesWithTheOthers: a retry time says when it leaves, and not whether.
func TestAChangeThatHasARetryTimeLeavesWithTheOthers(t *testing.T) {
	d := statetest.New(t, statetest.Rules(domain.SendAttribute|domain.SendCohort))
	apply1(d, statetest.Enter("ann", "gold", 1))
	d.Do(func(tx *state.Tx) {
		now := statetest.Receipt.Add(time.Hour)
		for _, endpoint := range []domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
			l, _ := outbox.Take(tx, domain.TakeOptions{
				Endpoint: endpoint, Now: now, MaxUsers: 1, MaxEvents: 1,
				Due: func(string) time.Time { return now }, Fit: func(domain.UserChanges) bool { return true },
			})
			if l == nil {
				continue
			}
			refused := domain.Result{Verdict: domain.Refused, RetryAt: now.Add(time.Hour), Reason: "http_503"}
			outbox.Settle(tx, domain.Settlement{Lease: l.ID, At: now, Results: []domain.UserResult{{Attributes: refused, Event: refused}}})
		}
	})
	over(d, inbox(make([][]byte, 1)), func(trial *Trial) {
		r, err := trial.Apply(statetest.Enter("ann", "vip", 5))
		d.Must(err)
		if len(r.Leases) != 2 || len(r.Leases[0].Users[0].Attributes) != 2 || r.Leases[1].Endpoint != domain.EndpointCohort {
			t.Errorf("requests %+v, want both attributes, then the cohort", r.Leases)
		}
	})
}

// TestATrialNamesEveryOutcome of an event, and of a parked one what would be listed.
func TestATrialNamesEveryOutcome(t *testing.T) {
	trial, err := Empty(statetest.Rules(domain.SendAttribute))
	if err != nil {
		t.Fatal(err)
	}
	faulty := func(e *domain.Event) { e.Fault, e.Sentence = "undetermined", "as the test says" }
	for i, step := range []struct {
		event *domain.Event
		want  domain.Outcome
	}{
		{statetest.Enter("ann", "vip", 1), domain.OutcomeTransition},
		{statetest.Enter("ann", "vip", 1), domain.OutcomeDuplicate},
		{statetest.Enter("ann", "vip", 3), domain.OutcomeUnchanged},
		{statetest.Exit("ann", "vip", 2), domain.OutcomeStale},
		{statetest.Enter("ann", "vip", 9, faulty), domain.OutcomeParked},
		{statetest.Enter("ann", "vip", 9, func(e *domain.Event) { e.Class = domain.ClassNone }), domain.OutcomeIgnored},
	} {
		r, err := trial.Apply(step.event)
		if err != nil || r.Outcome != step.want {
			t.Errorf("event %d comes to %s, %v; want %s", i, r.Outcome, err, step.want)
		}
		if parked := len(r.Changes) == 1 && r.Changes[0].Reason == "undetermined"; parked != (step.want == domain.OutcomeParked) {
			t.Errorf("event %d makes %+v", i, r.Changes)
		}
	}
}

// unsound is a state whose totals are damaged.
type unsound struct{ engine.Tx }

func (unsound) Check() error { return wire.ErrDamaged }

// unread is a log that cannot be read.
type unread struct{ inbox }

func (unread) Read(uint64, int) ([]engine.Record, error) { return nil, syscall.EIO }

// TestATrialThatCannotReadSaysSo: a preview on half of the state would be a wrong answer.
func TestATrialThatCannotReadSaysSo(t *testing.T) {
	d := statetest.New(t, statetest.Rules(domain.SendAttribute))
	apply1(d, statetest.Enter("bob", "vip", 1))
	d.Do(func(tx *state.Tx) {
		now := statetest.Receipt.Add(time.Hour)
		if l, _ := outbox.Take(tx, domain.TakeOptions{
			Endpoint: domain.EndpointTransition, Now: now, MaxUsers: 1, MaxEvents: 1,
			Due: func(string) time.Time { return now }, Fit: func(domain.UserChanges) bool { return true },
		}); l == nil {
			t.Fatal("nothing is in flight")
		}
	})
	applied := make(inbox, 1)
	newer := func(user string) {
		key := state.RowKey(state.UserKey(user), 0)
		d.Put(state.BucketRows, key, wire.SealKeyed([]byte{99, 1, 2}, 0, key))
	}
	begin := func(wrap func(engine.Tx) engine.Tx, log engine.Log) (err error) {
		_ = d.File().View(func(kv engine.Tx) error {
			_, err = Over(wrap(kv), log, d.State.Rules)
			return nil
		})
		return err
	}
	as := func(kv engine.Tx) engine.Tx { return kv }
	if err := begin(func(kv engine.Tx) engine.Tx { return unsound{kv} }, applied); !errors.Is(err, wire.ErrDamaged) {
		t.Errorf("over damaged totals: %v", err)
	}
	if err := begin(as, unread{make(inbox, 2)}); !errors.Is(err, syscall.EIO) {
		t.Errorf("over an inbox that cannot be read: %v", err)
	}
	newer("ann")
	over(d, applied, func(trial *Trial) {
		if _, err := trial.Apply(statetest.Enter("ann", "vip", 5)); !errors.Is(err, wire.ErrNewer) {
			t.Errorf("an event of a user whose row is newer: %v", err)
		}
	})
	if err := begin(as, append(applied, statetest.Frame(statetest.Enter("ann", "vip", 5)))); !errors.Is(err, wire.ErrNewer) {
		t.Errorf("a record of a user whose row is newer: %v", err)
	}
	newer("bob")
	if err := begin(as, applied); !errors.Is(err, wire.ErrNewer) {
		t.Errorf("a request in flight with a user whose row is newer: %v", err)
	}
}

// TestATrialGoesByTheRulesThatItIsGiven, which are those of a configuration that is not in force yet.
func TestATrialGoesByTheRulesThatItIsGiven(t *testing.T) {
	d := statetest.New(t, statetest.Rules(domain.SendAttribute))
	apply1(d, statetest.Enter("ann", "vip", 1))
	d.Must(d.File().View(func(kv engine.Tx) error {
		trial, err := Over(kv, make(inbox, 1), statetest.Rules(domain.SendEvent))
		if err != nil {
			return err
		}
		r, err := trial.Apply(statetest.Enter("bob", "vip", 5))
		if len(r.Changes) != 1 || r.Changes[0].Kind != domain.KindEvent {
			t.Errorf("it makes %+v", r.Changes)
		}
		return err
	}))
	if d.Reopen(); d.State.Rules.Defaults.Send != domain.SendAttribute {
		t.Error("the rules of the state are others now")
	}
}
