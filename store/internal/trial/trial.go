package trial

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/overlay"
	"personasync/store/internal/apply"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Trial is a state to try events on. Each event is applied on top of the ones before.
type Trial struct {
	kv    engine.Tx
	state *state.State
	arena []byte // of all transactions: the overlay refers to it
}

// Result is what one event came to.
type Result struct {
	Outcome domain.Outcome

	// Changes are those that the event made, as they were before any was sent. A parked event is one of the kind
	// received.
	Changes []domain.Change

	// Leases are those in which the changes leave, in order. What else is pending for the user leaves with them.
	Leases []*domain.Lease
}

// Over returns a trial on top of what base has. Records of the inbox that are not applied yet are applied first, and
// requests in flight count as accepted.
func Over(base engine.Tx, inbox engine.Log, rules domain.Rules) (*Trial, error) {
	t, err := begin(overlay.Over(base))
	if err != nil {
		return nil, err
	}
	if err := t.catchUp(inbox); err != nil {
		return nil, err
	}
	for _, lease := range t.leases() {
		if err := t.accept(lease, time.Now()); err != nil {
			return nil, err
		}
	}
	rules.Paused = t.state.Rules.Paused
	return t, t.setRules(rules)
}

// Empty returns a trial on a store that has received nothing.
func Empty(rules domain.Rules) (*Trial, error) {
	kv := overlay.Empty(append(slices.Clone(state.StateBuckets), state.BucketMeta)...)
	if err := kv.Bucket(state.BucketMeta).Put(engine.MetaEpoch, []byte{0, 0, 0, 1}); err != nil {
		return nil, err
	}
	if err := state.Init(kv); err != nil {
		return nil, err
	}
	t, err := begin(kv)
	if err != nil {
		return nil, err
	}
	return t, t.setRules(rules)
}

func begin(kv engine.Tx) (*Trial, error) {
	st, err := state.LoadState(kv)
	return &Trial{kv: kv, state: st}, err
}

// update is one transaction on the overlay.
func (t *Trial) update(f func(tx *state.Tx)) error {
	tx := state.NewTx(t.kv, t.state, slog.New(slog.DiscardHandler))
	tx.Arena = t.arena
	f(tx)
	outbox.Sweep(tx)
	err := tx.Flush()
	t.arena = tx.Arena
	return err
}

// setRules has the events that follow applied by rules. It takes no number, so that a change has the id here that it gets
// when its event is the next record.
func (t *Trial) setRules(rules domain.Rules) error {
	rules.Names = domain.NamesAsSent
	return t.update(func(tx *state.Tx) {
		apply.Record(tx, record.Record{Seq: t.state.Applied, Rules: &rules}, nil)
	})
}

// catchUp limits: an agent that was killed leaves seconds of events unapplied, not hours.
const (
	catchUpBytes = 1 << 20
	catchUpMost  = 64 << 20
)

// catchUp applies the records that the inbox has and the state has not.
func (t *Trial) catchUp(inbox engine.Log) error {
	for read := 0; t.state.Applied < inbox.Last() && read < catchUpMost; {
		records, err := inbox.Read(t.state.Applied+1, catchUpBytes)
		if err != nil || len(records) == 0 {
			return err
		}
		if err := t.update(func(tx *state.Tx) {
			for _, r := range records {
				read += len(r.Frame)
				if rec, err := record.DecodeRecord(r.Seq, r.Frame); err != nil {
					apply.Damaged(tx, r.Seq, r.Frame, err)
				} else {
					apply.Record(tx, rec, r.Frame)
				}
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// Apply applies an event, and then has MoEngage accept its changes, so that the next event finds them sent.
func (t *Trial) Apply(e *domain.Event) (r Result, err error) {
	seq, before := t.state.Applied+1, t.state.Ledger
	frame := record.AppendEvent(nil, e)
	rec, err := record.DecodeRecord(seq, frame)
	if err != nil {
		return r, err
	}
	if err := t.update(func(tx *state.Tx) { apply.Record(tx, rec, frame) }); err != nil {
		return r, err
	}
	r.Outcome = cameTo(&before.Events, &t.state.Ledger.Events)
	made := int(t.state.Ledger.Changes.Created - before.Changes.Created)
	if r.Outcome == domain.OutcomeParked {
		made++
	}
	if err := t.update(func(tx *state.Tx) { r.Changes = changes(tx, seq, made) }); err != nil {
		return r, err
	}
	for _, c := range r.Changes {
		if c.State == domain.StatePending {
			r.Leases, err = t.send(c.User, seq, e.Received)
			break
		}
	}
	return r, err
}

// cameTo returns the outcome under which one event was counted.
func cameTo(before, after *domain.EventLedger) domain.Outcome {
	switch {
	case after.Transitions != before.Transitions:
		return domain.OutcomeTransition
	case after.Unchanged != before.Unchanged:
		return domain.OutcomeUnchanged
	case after.Duplicate != before.Duplicate:
		return domain.OutcomeDuplicate
	case after.Stale != before.Stale:
		return domain.OutcomeStale
	case after.Parked != before.Parked:
		return domain.OutcomeParked
	}
	return domain.OutcomeIgnored
}

// changes reads the changes that a record made.
func changes(tx *state.Tx, seq uint64, made int) (list []domain.Change) {
	for slot := range made {
		if ch := state.Find(tx, domain.ID{Epoch: tx.State.Epochs.Of(seq), Seq: seq, Slot: uint16(slot)}); ch != nil {
			list = append(list, ch.Change)
		}
	}
	return list
}

const (
	// sendAhead is how long after its receipt a change is taken: behind every pause before a retry or a cohort.
	sendAhead = 24 * time.Hour

	// sendMost bounds the requests that are made for the pending changes of one user.
	sendMost = 1000
)

// send has everything that is pending for a user accepted, and returns the leases with changes of the record seq.
func (t *Trial) send(user string, seq uint64, received time.Time) (list []*domain.Lease, err error) {
	at := domain.Later(received, time.Now())
	for _, endpoint := range [...]domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort, domain.EndpointDelete} {
		for at = at.Add(sendAhead); len(list) < sendMost; {
			var lease *domain.Lease
			o := domain.TakeOptions{
				Endpoint: endpoint, Now: at, Force: true, MaxUsers: 1, MaxEvents: 1,
				Due: func(string) time.Time { return at }, Fit: func(domain.UserChanges) bool { return true },
			}
			if err := t.update(func(tx *state.Tx) { lease = outbox.TakeUser(tx, o, user) }); err != nil {
				return nil, err
			}
			if lease == nil {
				break
			}
			if has(lease, seq) {
				list = append(list, lease)
			}
			if err := t.accept(t.state.Leases[lease.ID], at); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// has reports whether a lease has a change of a record.
func has(l *domain.Lease, seq uint64) bool {
	return slices.ContainsFunc(l.Users, func(d domain.UserChanges) bool {
		return d.Event != nil && d.Event.ID.Seq == seq || slices.ContainsFunc(d.Attributes, func(c domain.Change) bool { return c.ID.Seq == seq })
	})
}

// leases lists the requests in flight, in the order of their numbers.
func (t *Trial) leases() []*state.Lease {
	return slices.SortedFunc(maps.Values(t.state.Leases), func(a, b *state.Lease) int { return int(a.Number) - int(b.Number) })
}

// accept settles a lease as if MoEngage had accepted all of it.
func (t *Trial) accept(l *state.Lease, at time.Time) error {
	accepted := domain.Result{Verdict: domain.Delivered}
	o := domain.Settlement{Lease: l.Number, At: at}
	for range l.List {
		o.Results = append(o.Results, domain.UserResult{Attributes: accepted, Event: accepted})
	}
	return t.update(func(tx *state.Tx) { outbox.Settle(tx, o) })
}
