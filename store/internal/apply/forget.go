package apply

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// forgetDamaged removes the quarantined rows of a user.
func forgetDamaged(tx *state.Tx, u *state.User) {
	bucket := tx.Bucket(state.BucketDamaged)
	named := wire.AppendString(nil, u.ID)
	var gone [][]byte
	c := bucket.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if bytes.Contains(k, u.Key) || bytes.Contains(v, named) {
			gone = append(gone, bytes.Clone(k))
		}
	}
	for _, k := range gone {
		tx.Remove(bucket, k)
	}
}

// applyDelete erases a user for Segment, once. Segment sends a deletion once for each source, may repeat each, and a
// replay may come years later; events acknowledged since must survive that. So a deletion of a time up to which the
// user is erased does nothing, for as long as the tombstone exists, which is forever. A deletion without a time is
// known by its message id, or its body, as long as message ids are remembered. After that it counts as new, because
// a request for erasure must not be ignored.
func applyDelete(tx *state.Tx, c *outbox.Cause, park func(reason, sentence string) domain.Outcome) domain.Outcome {
	e := c.Event
	if tx.State.Rules.OnDelete == "ignore" {
		return domain.OutcomeIgnored
	}
	id := cmp.Or(e.User.ID, e.Anonymous.ID)
	switch {
	case id == "":
		return park("no_identifier", "a delete that names nobody cannot be carried out")
	case len(id) > domain.MaxUserID:
		return park("id_too_long", domain.IdentitySentence("id_too_long"))
	}
	if forgotten(tx, id, e.Time, believable(tx, c)) {
		return domain.OutcomeStale
	}
	if !remember(tx, e, state.Tombstone(tx.State.Salt, id+"\x00"+e.MessageID)) {
		return domain.OutcomeDuplicate
	}
	u := tx.User(id)
	Forget(tx, u, e.Received)
	if tx.State.Rules.Deletes.Send && e.User.Fault == "" { // MoEngage has no user of an id that it refuses
		outbox.Delete(tx, u, c, domain.BySegment)
	}
	return domain.OutcomeIgnored
}

// applyForget erases users for an operator, and has MoEngage delete them.
func applyForget(tx *state.Tx, seq uint64, o *record.Order) {
	c := &outbox.Cause{Seq: seq, Event: &domain.Event{Received: o.Received, Time: o.Time}}
	for i := range o.Targets {
		u := tx.User(o.Targets[i].User)
		Forget(tx, u, o.Time)
		outbox.Delete(tx, u, c, o.By)
	}
}

// Forget erases a user from the state and leaves a tombstone, so that late events do not bring the user back. The
// bytes stay in free pages until a compaction.
//
// Beside its time the tombstone keeps the latest time known of the user and of their computations, if that is later:
// with a clock that is behind, older events would be applied. Both are kept, because that latest time may come from
// a clock that was ahead.
//
// An open deletion of the user at MoEngage stays, with the id alone.
func Forget(tx *state.Tx, u *state.User, at time.Time) {
	last := lastTime(tx, u)
	forgetRows(tx, u)
	state.ForgetConsent(u)
	forgetQueue(tx, u)
	forgetHistory(tx, u)
	state.ForgetJournal(tx, u)
	forgetDamaged(tx, u)
	outbox.MarkErase(tx, at)
	left := state.PendingIndex{}
	*left.Endpoint(domain.EndpointDelete) = *u.Index.Endpoint(domain.EndpointDelete)
	u.Index = &left
	u.Dirty = true
	key := state.Tombstone(tx.State.Salt, u.ID)
	stones := tx.Bucket(state.BucketTombstones)
	was := stones.Get(key)
	if was == nil {
		tx.State.Ledger.Tombstones++
	}
	tx.Put(stones, key, setStone(at.UnixNano(), append(StoneTimes(was), last)))
}

// lastTime returns the latest time of an assertion of u, or of an event of their computations, in ns.
func lastTime(tx *state.Tx, u *state.User) (last int64) {
	for _, number := range state.BlockNumbers(tx, u) {
		row := tx.Block(u, number)
		for _, e := range row.Entries {
			if s := e.Newest(); s != nil {
				last = max(last, s.Time)
			}
			if f := tx.FieldOf(row.Field(e)); f != nil && !f.LastEvent.IsZero() {
				last = max(last, f.LastEvent.UnixNano())
			}
		}
	}
	return last
}

func forgetRows(tx *state.Tx, u *state.User) {
	for _, number := range state.BlockNumbers(tx, u) {
		row := tx.Block(u, number)
		for _, e := range row.Entries {
			f := tx.FieldOf(row.Field(e))
			if f != nil && f.Class != domain.ClassTrait && e.Newest().IsIn() {
				f.Leave()
				tx.Touch(f)
			}
			if f != nil {
				outbox.UncountLeft(tx, f, e)
				outbox.Unmark(tx, f, e)
			}
			forgetTicket(tx, &e.Waiting)
			forgetTicket(tx, &e.InFlight)
		}
		row.Entries = nil
		row.Dirty = true
	}
}

func forgetQueue(tx *state.Tx, u *state.User) {
	for _, key := range state.KeysWithPrefix(tx.Queue, u.Key) {
		lane := binary.BigEndian.Uint32(key[len(u.Key):])
		id := state.IDFromKey(key[len(u.Key)+4:], tx.State.Epochs)
		kept := map[uint32]engine.Bucket{state.LaneParked: tx.Parked, state.LaneHeld: tx.Held}[lane]
		switch {
		case lane == state.LaneDelete:
			continue
		case kept == nil:
			forgetPending(tx, id)
		case isDeletion(tx, kept, id):
			continue
		default:
			forgetKept(tx, kept, id)
		}
		tx.Remove(tx.Queue, key)
	}
}

func isDeletion(tx *state.Tx, place engine.Bucket, id domain.ID) bool {
	ch := tx.Fetch(place, state.IDKey(id))
	return ch != nil && ch.Kind == domain.KindDelete
}

func forgetTicket(tx *state.Tx, t *state.Ticket) {
	switch {
	case t.ID.IsZero():
	case t.Place == state.PlaceParked:
		forgetKept(tx, tx.Parked, t.ID)
	case t.Place == state.PlaceHeld:
		forgetKept(tx, tx.Held, t.ID)
	default:
		forgetPending(tx, t.ID)
	}
}

func forgetPending(tx *state.Tx, id domain.ID) {
	tx.Remove(tx.Locator, state.IDKey(id))
	tx.State.Ledger.Changes.Pending--
	tx.State.Ledger.Changes.Forgotten++
}

// forgetKept erases a parked or held change.
func forgetKept(tx *state.Tx, place engine.Bucket, id domain.ID) {
	ch := tx.Fetch(place, state.IDKey(id))
	if ch == nil {
		return
	}
	tx.Withdraw(ch)
	tx.Remove(tx.Locator, state.IDKey(id))
	if ch.Kind == domain.KindReceived {
		tx.State.Ledger.Events.Discarded++
		return
	}
	tx.State.Ledger.Changes.Forgotten++
}

func forgetHistory(tx *state.Tx, u *state.User) {
	for n := u.Index.History; n != 0; {
		ch := tx.Fetch(tx.History, state.NumberKey(n))
		if ch == nil {
			return
		}
		tx.Remove(tx.History, state.NumberKey(n))
		tx.Remove(tx.Locator, state.IDKey(ch.ID))
		n = ch.Prev
	}
}
