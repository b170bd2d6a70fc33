package apply

import (
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// applyAction retries or drops changes, as an operator decided.
func applyAction(tx *state.Tx, seq uint64, h *record.Action) {
	tx.Now = h.Received
	c := &outbox.Cause{Seq: seq, Why: domain.CauseRetry}
	var loose []*state.Stored // that were dropped
	for _, id := range h.IDs {
		id.Epoch = tx.State.Epochs.Of(id.Seq)
		ch := state.Find(tx, id)
		switch {
		case ch == nil:
		case ch.Kind == domain.KindDelete && h.Verb == record.ActionDrop:
			outbox.DropDeletion(tx, ch, h.Received)
		case ch.Kind == domain.KindDelete && (ch.State == domain.StateParked || ch.State == domain.StateHeld):
			if outbox.InFlight(tx, ch.User) { // its content would count as known there
				tx.Log.Warn("a deletion was not released, because a request with its user is in flight: release it again", "change", id.String())
				continue
			}
			outbox.RetryDeletion(tx, ch)
			tellAfterwards(tx, c, tx.User(ch.User))
		case h.Verb == record.ActionRetry && ch.State == domain.StateParked && ch.Kind != domain.KindReceived && ch.Kind != domain.KindDelete:
			if c.Room() < len(tx.State.Registry.Cohorts) { // an older version put too many into one record
				tx.Log.Warn("a parked change was not retried, because its order has no numbers left for all cohorts: retry it again", "change", id.String())
				continue
			}
			retry(tx, ch)
			outbox.RepeatCohorts(tx, c, ch)
		case h.Verb == record.ActionDrop:
			drop(tx, ch, h.Received)
			if ch.Loose && ch.State == domain.StateDropped {
				loose = append(loose, ch)
			}
		}
	}
	for _, ch := range loose { // after all, because the exits may be dropped too
		if f := tx.FieldOf(ch.Field); f != nil {
			outbox.CancelUntold(tx, tx.User(ch.User), f, h.Received)
		}
	}
}

// tellAfterwards queues again what MoEngage was told of a user while their deletion was held or parked: the deletion takes
// that away, too. It leaves once MoEngage has deleted the user.
func tellAfterwards(tx *state.Tx, c *outbox.Cause, u *state.User) {
	for _, number := range state.BlockNumbers(tx, u) {
		row := tx.Block(u, number)
		for _, e := range slices.Clone(row.Entries) {
			f := tx.FieldOf(row.Field(e))
			if f == nil || f.Gone() || e.Newest() == nil {
				continue
			}
			if c.Room() < changesAtOnce(tx) {
				tx.Log.Warn("the order has no numbers left for everything that was told of a user before their deletion: reconcile their audiences after it")
				return
			}
			p := tx.State.Rules.For(f.Key, f.ID)
			c.Event = &domain.Event{Received: tx.Now, Time: tx.Now, Class: f.Class, MessageID: "retry"}
			for _, x := range tx.State.Registry.TargetFields(f) {
				outbox.Doubt(tx, u, x)
			}
			reconcile(tx, u, f, &p, c, false)
		}
	}
}

// changesAtOnce is more than the changes that one field of a user is told by.
func changesAtOnce(tx *state.Tx) int { return 4 + len(tx.State.Registry.Cohorts) }

// retry makes a parked change pending, like one that was just made.
func retry(tx *state.Tx, ch *state.Stored) {
	f, u := tx.FieldOf(ch.Field), tx.User(ch.User)
	if f == nil {
		return
	}
	e, p := tx.Entry(u, ch.Field), state.PolicyOf(tx, f)
	tx.Withdraw(ch)
	if outdated(tx, u, f, e, &p, ch) {
		if ch.InRow() {
			e.Waiting = state.Ticket{}
			tx.Write(u, ch.Field)
		} else {
			tx.Remove(tx.Queue, state.QueueKey(u.Key, state.LaneParked, ch.ID))
		}
		if state.Allows(tx, u, &p) || outbox.Removes(f, &p, ch.Transition, ch.Value) {
			tx.Close(u, ch, domain.StateSuperseded, tx.Now)
		} else {
			outbox.WithholdParked(tx, u, f, &p, ch)
		}
		return
	}
	ch.Lane = state.LaneOf(tx, u, f, p.Job, ch.Transition)
	ch.State, ch.Attempts, ch.Alone, ch.Reason, ch.Sentence, ch.Answer = domain.StatePending, 0, 0, "", "", domain.Answer{}
	if ch.InRow() {
		outbox.Await(tx, u, e, ch)
		tx.Write(u, ch.Field)
		return
	}
	tx.Remove(tx.Queue, state.QueueKey(u.Key, state.LaneParked, ch.ID))
	if ch.Loose {
		e.Loose++
		tx.Write(u, ch.Field)
	}
	outbox.Requeue(tx, u, ch)
}

// outdated reports whether a newer value of a parked attribute was sent, or will be sent before it. Without collapse
// the parked one has no successor, and MoEngage would keep it. A newer one in the queue leaves after it, unless it
// is in-flight. One that took something back is outdated by a consent that was given since.
func outdated(tx *state.Tx, u *state.User, f *state.Field, e *state.Entry, p *domain.Policy, ch *state.Stored) bool {
	s := e.AssertionFor(p, domain.SendAttribute, state.KeptIdentify)
	if ch.Kind != domain.KindAttribute || s == nil {
		return false
	}
	value, send := p.Sendable(s.Value)
	takenBack := false
	if state.Allows(tx, u, p) {
		takenBack = outbox.Removes(f, p, ch.Transition, ch.Value) && !domain.SameValue(value, ch.Value)
	} else {
		_, value, send = outbox.Removal(f, p)
	}
	if s.Seq < ch.ID.Seq && !takenBack {
		return false
	}
	leavesBehind := func(x *state.Stored) bool {
		return x.Loose && x.ID.Compare(ch.ID) > 0 && !tx.State.UnderWay(x.Endpoint, u.ID, x.ID)
	}
	if e.Loose > 0 && slices.ContainsFunc(outbox.QueuedOf(tx, u, f), leavesBehind) {
		return false
	}
	return send && !domain.SameValue(value, ch.Value)
}

// drop closes a change that is not in-flight.
func drop(tx *state.Tx, ch *state.Stored, at time.Time) {
	u, f := tx.User(ch.User), tx.FieldOf(ch.Field)
	switch {
	case ch.State == domain.StateParked, ch.State == domain.StateHeld:
		tx.Withdraw(ch)
		if ch.User != "" && len(ch.User) <= domain.MaxUserID {
			tx.Remove(tx.Queue, state.QueueKey(u.Key, state.LaneParked, ch.ID))
			tx.Remove(tx.Queue, state.QueueKey(u.Key, state.LaneHeld, ch.ID))
		}
		if ch.Kind == domain.KindReceived {
			tx.State.Ledger.Events.Discarded++
			return
		}
	case ch.State != domain.StatePending || tx.State.UnderWay(ch.Endpoint, u.ID, ch.ID):
		return
	case ch.InRow() && f != nil:
		outbox.SettlePending(tx, u, f, &tx.Entry(u, ch.Field).Waiting)
	default:
		outbox.DropQueued(tx, u, ch)
	}
	if e := tx.Entry(u, ch.Field); e.Waiting.ID == ch.ID {
		e.Waiting = state.Ticket{}
		tx.Write(u, ch.Field)
	}
	if len(u.Index.Endpoint(ch.Endpoint).Lanes) > 0 {
		outbox.Retime(tx, u, ch.Endpoint)
	}
	tx.Close(u, ch, domain.StateDropped, at)
}
