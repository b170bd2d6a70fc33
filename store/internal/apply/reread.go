package apply

import (
	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// WouldPark reports whether applyEvent would park an event in the present state.
func WouldPark(tx *state.Tx, e *domain.Event) bool {
	if e.Fault != "" || e.Call == domain.CallDelete || e.Class == domain.ClassNone {
		return e.Fault != ""
	}
	f, ambiguous := tx.State.Registry.Find(e)
	if ambiguous || tx.State.Registry.OtherClass(f, e) != nil || overflows(tx, f, e) {
		return true
	}
	key, id := e.Key, e.ComputationID
	if f != nil {
		key, id = f.Key, f.ID
	}
	p := tx.State.Rules.For(key, id)
	_, verdict := domain.IdentifyUser(e, &p)
	return verdict == domain.IdentityParked && (f == nil || !f.Former())
}

// applyAgain applies a parked event in its new reading. It was counted as accepted before, so the ledger moves it
// from one column to another.
func applyAgain(tx *state.Tx, seq uint64, a *record.Reread) {
	tx.Now = a.Received
	a.ID.Epoch = tx.State.Epochs.Of(a.ID.Seq)
	ch := tx.Fetch(tx.Parked, state.IDKey(a.ID))
	if ch == nil || ch.Kind != domain.KindReceived {
		return
	}
	tx.Withdraw(ch)
	if ch.User != "" && len(ch.User) <= domain.MaxUserID {
		tx.Remove(tx.Queue, state.QueueKey(state.UserKey(ch.User), state.LaneParked, ch.ID))
	}
	came := applyEvent(tx, &outbox.Cause{Seq: seq, Why: domain.CauseEvent, Event: a.Event, Parked: a.ID}, a.Frame)
	tx.State.Ledger.Events.Count(came)
}
