package apply

import (
	"bytes"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// ToldSince reports whether MoEngage accepted a change of one of the fields after settled. It reads the user's
// history up to the first older entry, and no more entries than a page shows.
func ToldSince(tx *state.Tx, u *state.User, numbers map[uint32]bool, settled time.Time) bool {
	for n, i := u.Index.History, 0; n != 0 && i < state.HistoryShown; i++ {
		ch := tx.Fetch(tx.History, state.NumberKey(n))
		if ch == nil || !ch.Closed.After(settled) {
			return false
		}
		if ch.State == domain.StateDelivered && ch.Kind != domain.KindEvent && numbers[ch.Field] {
			return true
		}
		n = ch.Prev
	}
	return false
}

// applyRepair has attributes sent again. What MoEngage was told of them counts as uncertain from now
// on, so that nothing that follows is thought to be needless.
func applyRepair(tx *state.Tx, seq uint64, r *record.Repair) {
	tx.Now = r.Received
	c := &outbox.Cause{Seq: seq, Why: domain.CauseRepair}
	for i := range r.Missing {
		f, u := tx.FieldOf(r.Missing[i].Field), tx.User(r.Missing[i].User)
		if f == nil {
			continue
		}
		p, e := tx.State.Rules.For(f.Key, f.ID), tx.Entry(u, f.Number)
		value, known := e.Expected(&p)
		if !known || e.Moving() || !f.ReadableBy(&p) {
			continue
		}
		t, s := domain.TransitionValue, tx.Entry(u, tx.State.Registry.ComputationOf(f).Number).AttributeAssertion(&p)
		if f.Class != domain.ClassTrait {
			if t = domain.TransitionExit; bytes.Equal(value, domain.JSONTrue) {
				t = domain.TransitionEnter
			}
		}
		c.Event = &domain.Event{Received: r.Received, Time: r.Received}
		if s != nil {
			c.Event.Time = time.Unix(0, s.Time).UTC()
			if f.Class == domain.ClassTrait {
				c.Event.MessageID = s.Message
			}
		}
		e.LastSent = state.LastSent{Kind: state.UncertainlySent}
		outbox.WantAttribute(tx, u, f, &p, e, c, t, bytes.Clone(value))
	}
}
