package outbox

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// A deletion is a change on an endpoint of its own. It stands in its user's queue, and keeps of the user nothing but the
// id, which MoEngage must be told:
//
//	asked     everything else of the user is erased; what arrives afterwards waits (state.LaneBarred)
//	pending   it leaves once no other request with the user is in flight
//	delivered the change is removed with the id, and its receipt says so; the user's other changes wait for another
//	          domain.DeletionBuffer, because MoEngage deletes with the user whatever arrives within it
//
// A held or parked deletion bars nothing, like every held or parked change.

// Delete makes the change that deletes u at MoEngage, or holds it when there were too many on this day. It does nothing
// if a deletion of u is open, or was accepted so lately that it covers everything of u that MoEngage can have.
func Delete(tx *state.Tx, u *state.User, c *Cause, by string) {
	if covered(tx, u, c.Event.Received) {
		return
	}
	ch := &state.Stored{
		Change: domain.Change{
			ID: c.next(tx.State.Epochs), Kind: domain.KindDelete, User: u.ID,
			EventTime: c.Event.Received, Received: c.Event.Received, MessageID: c.Event.MessageID, Trace: c.Event.Trace,
		},
		Field: state.FieldNone, Lane: state.LaneDelete, Endpoint: domain.EndpointDelete,
	}
	tx.State.Ledger.Changes.Created++
	r := receiptOf(tx, ch)
	r.By = by
	tx.Put(tx.Bucket(state.BucketDeletions), r.Key(), r.Encode())
	if most := tx.State.Rules.Deletes.PerDay; askedToday(tx, ch.Received) > most {
		holdDeletion(tx, u, ch, most)
		return
	}
	Enqueue(tx, u, ch)
	countDeletion(tx, domain.StatePending, 1)
}

// askedToday counts a deletion in its UTC day, and returns how many there were on it. One that was received shortly
// before midnight, and is applied after the first of the new day, counts for that one.
func askedToday(tx *state.Tx, at time.Time) uint64 {
	d, day := &tx.State.Deletes, uint64(max(at.Unix(), 0))/uint64(state.Day/time.Second)
	if day > d.Day || day+1 < d.Day {
		d.Day, d.Asked = day, 0
	}
	d.Asked++
	tx.PutDeletes()
	return d.Asked
}

func countDeletion(tx *state.Tx, s domain.State, n int) {
	tx.State.Deletes.Count(s, n)
	tx.PutDeletes()
}

func holdDeletion(tx *state.Tx, u *state.User, ch *state.Stored, most uint64) {
	ch.State, ch.Reason = domain.StateHeld, domain.ReasonDeleteLimit
	ch.Sentence = fmt.Sprintf("more than %d deletions were asked for on this day (moengage.max_deletes_per_day): release it if it is meant", most)
	tx.State.Ledger.Changes.Held++
	tx.Locate(ch)
	tx.Put(tx.Held, state.IDKey(ch.ID), tx.Frame(ch.Encode))
	tx.Put(tx.Queue, state.QueueKey(u.Key, state.LaneHeld, ch.ID), nil)
	countDeletion(tx, domain.StateHeld, 1)
}

// covered reports whether a deletion of u is pending, held or parked, or was accepted less than a buffer before at. A
// salvage may have lost the change of an open receipt.
func covered(tx *state.Tx, u *state.User, at time.Time) bool {
	return slices.ContainsFunc(receipts(tx, u.ID, at), func(r *state.Receipt) bool {
		open := r.State == domain.StatePending && tx.Locator.Get(state.IDKey(r.ID)) != nil
		return open || r.State == domain.StateDelivered && at.Before(r.Accepted.Add(domain.DeletionBuffer))
	})
}

// receipts returns a user's receipts. An acceptance that was dated by a clock ahead of this one came before now, so it
// is dated now: MoEngage may delete the user for a buffer from now at the most, and not until the clock gets there.
func receipts(tx *state.Tx, user string, now time.Time) []*state.Receipt {
	list := state.Receipts(tx, user)
	for _, r := range list {
		if r.Accepted.After(now.Add(AheadOfClock)) {
			r.Accepted = now
			tx.Put(tx.Bucket(state.BucketDeletions), r.Key(), r.Encode())
		}
	}
	return list
}

// deletedUntil returns the unix second until which MoEngage may delete a user for a deletion that it accepted, or may have
// accepted, 0 if there is none.
func deletedUntil(tx *state.Tx, user string, now time.Time) (until uint32) {
	if tx.State.Deletes.Accepted == 0 {
		return 0
	}
	for _, r := range receipts(tx, user, now) {
		if !r.Accepted.IsZero() {
			until = max(until, Second(r.Accepted.Add(domain.DeletionBuffer)))
		}
	}
	return until
}

// Bar has the changes of a user wait while MoEngage may delete the user.
func Bar(tx *state.Tx, u *state.User, now time.Time) {
	if until := acceptedUntil(tx, u, now); until != 0 {
		u.Index.Deleted = until
	}
}

// acceptedUntil is deletedUntil, 0 if that is over.
func acceptedUntil(tx *state.Tx, u *state.User, now time.Time) uint32 {
	if d := &tx.State.Deletes; d.Accepted == 0 || Second(now) > uint32(d.Accepted)+uint32(domain.DeletionBuffer/time.Second) {
		return 0 // for everybody
	}
	if until := deletedUntil(tx, u.ID, now); until > Second(now) {
		return until
	}
	return 0
}

// Deleting reports whether MoEngage is to delete u, or may do so still. It loses its knowledge of u.
func Deleting(tx *state.Tx, u *state.User) bool {
	return len(u.Index.Endpoint(domain.EndpointDelete).Lanes) > 0 || acceptedUntil(tx, u, tx.Now) != 0
}

// RetryDeletion makes a held or parked deletion pending.
func RetryDeletion(tx *state.Tx, ch *state.Stored) {
	u, was := tx.User(ch.User), ch.State
	tx.Withdraw(ch)
	unlist(tx, u, ch.ID)
	countDeletion(tx, was, -1)
	ch.Attempts, ch.Alone, ch.Reason, ch.Sentence, ch.Answer = 0, 0, "", "", domain.Answer{}
	Enqueue(tx, u, ch)
	countDeletion(tx, domain.StatePending, 1)
}

// DropDeletion ends a deletion that an operator does not want. One in flight stays.
func DropDeletion(tx *state.Tx, ch *state.Stored, at time.Time) {
	u, was := tx.User(ch.User), ch.State
	switch {
	case was == domain.StateHeld, was == domain.StateParked:
		tx.Withdraw(ch)
		unlist(tx, u, ch.ID)
	case was != domain.StatePending || tx.State.UnderWay(ch.Endpoint, u.ID, ch.ID):
		return
	default:
		dequeue(tx, u, ch.Endpoint, ch.Lane, ch.ID)
		tx.State.Ledger.Changes.Pending--
	}
	closeDeletion(tx, u, ch, was, domain.StateDropped, at)
}

// unlist removes the pointer of a held or parked change from its user's queue.
func unlist(tx *state.Tx, u *state.User, id domain.ID) {
	tx.Remove(tx.Queue, state.QueueKey(u.Key, state.LaneParked, id))
	tx.Remove(tx.Queue, state.QueueKey(u.Key, state.LaneHeld, id))
}

// closeDeletion completes the receipt of a deletion that left its place in the outbox. Nothing goes to the history,
// which would keep the id.
func closeDeletion(tx *state.Tx, u *state.User, ch *state.Stored, was, s domain.State, at time.Time) {
	tx.Remove(tx.Locator, state.IDKey(ch.ID))
	*tx.State.Ledger.Changes.Column(s)++
	r := receiptOf(tx, ch)
	r.State, r.Closed = s, at
	if s == domain.StateDelivered {
		r.Reason, r.Status, r.RequestID = ch.Reason, ch.Answer.Status, ch.Answer.RequestID
		accept(tx, u, r, at)
		lose(tx, u)
	}
	u.Dirty = true
	tx.Put(tx.Bucket(state.BucketDeletions), r.Key(), r.Encode())
	countDeletion(tx, was, -1)
	MarkErase(tx, at)
}

// receiptOf reads the receipt of a deletion. One that was lost to damage is made again.
func receiptOf(tx *state.Tx, ch *state.Stored) *state.Receipt {
	made := &state.Receipt{
		Hash: state.Tombstone(tx.State.Salt, ch.User), ID: ch.ID, Asked: ch.Received, By: domain.BySegment, MessageID: ch.MessageID, State: domain.StatePending,
	}
	if r, err := state.DecodeReceipt(made.Key(), tx.Bucket(state.BucketDeletions).Get(made.Key()), tx.State.Epochs); err == nil {
		return r
	}
	return made
}

// Doubt notes that MoEngage may lose the last thing that it was told of u about f.
func Doubt(tx *state.Tx, u *state.User, f *state.Field) {
	if e := tx.Entry(u, f.Number); e.LastSent.Kind != state.NeverSent {
		e.LastSent = state.LastSent{Kind: state.UncertainlySent}
		tx.Write(u, f.Number)
	}
}

// lose notes that MoEngage knows nothing of u any more.
func lose(tx *state.Tx, u *state.User) {
	for _, number := range state.BlockNumbers(tx, u) {
		row := tx.Block(u, number)
		for _, e := range row.Entries {
			if e.LastSent.Kind != state.NeverSent {
				e.LastSent, row.Dirty = state.LastSent{}, true
			}
		}
	}
}

// accept notes that MoEngage accepted a deletion, or may have: from then on it may delete the user.
func accept(tx *state.Tx, u *state.User, r *state.Receipt, at time.Time) {
	r.Accepted = at
	tx.State.Deletes.Accepted = max(tx.State.Deletes.Accepted, uint64(max(at.Unix(), 0))) // no acceptance is later, however the clock went
	u.Index.Deleted, u.Dirty = Second(at.Add(domain.DeletionBuffer)), true
}

// mayHaveAccepted is accept for a deletion whose answer is missing. It stays pending.
func mayHaveAccepted(tx *state.Tx, u *state.User, ch *state.Stored, at time.Time) {
	r := receiptOf(tx, ch)
	accept(tx, u, r, at)
	tx.Put(tx.Bucket(state.BucketDeletions), r.Key(), r.Encode())
	tx.PutDeletes()
}

// MetaErase is present while there is something to erase from the files: when the first user was erased (8 bytes),
// and how many have been since (8). A deletion leaves the bytes of a user in free pages of state.db and in the
// inbox. The next erasure compacts the state, and blanks the applied records of users who have a tombstone. So
// records that came since, and were ignored, go as well.
var MetaErase = []byte("erase")

// MarkErase notes that the files have something to erase.
func MarkErase(tx *state.Tx, at time.Time) {
	meta := tx.Bucket(state.BucketMeta)
	since, n := uint64(at.UnixNano()), uint64(0)
	if v := meta.Get(MetaErase); len(v) == 16 {
		since, n = binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])
	}
	tx.Put(meta, MetaErase, binary.BigEndian.AppendUint64(state.NumberKey(since), n+1))
}
