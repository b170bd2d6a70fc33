package outbox

import (
	"bytes"
	"encoding/binary"
	"iter"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// needless reports whether MoEngage already has a value, or needs no exit because it never knew the user in the
// audience.
func needless(e *state.Entry, t domain.Transition, value []byte, unknownExit bool) bool {
	if e.LastSent.Kind == state.NeverSent {
		return t == domain.TransitionExit && !unknownExit || bytes.Equal(value, domain.JSONNull)
	}
	return e.LastSent.Is(value)
}

// untold reports whether MoEngage knows nothing of a value that does not collapse, and need not: the enter before this exit
// was withheld or dropped.
func untold(e *state.Entry, ch *state.Stored, p *domain.Policy) bool {
	return !e.Moving() && e.LastSent.Kind == state.NeverSent && needless(e, ch.Transition, ch.Value, p.UnknownExit)
}

// setAside reports whether an attribute of f that does not collapse is parked or held, and may still be sent.
func setAside(tx *state.Tx, u *state.User, f *state.Field) bool {
	return slices.ContainsFunc(state.KeysWithPrefix(tx.Queue, u.Key), func(key []byte) bool {
		var ch *state.Stored
		switch lane, id := binary.BigEndian.Uint32(key[len(u.Key):]), key[len(u.Key)+4:]; lane {
		case state.LaneParked:
			ch = tx.Fetch(tx.Parked, id)
		case state.LaneHeld:
			ch = tx.Fetch(tx.Held, id)
		}
		return ch != nil && ch.Field == f.Number && ch.Kind == domain.KindAttribute
	})
}

// CancelUntold cancels the exits at the front of the changes of f that do not collapse, once nothing before them can be sent any
// more: MoEngage would hear "no member" of a user that it never knew.
func CancelUntold(tx *state.Tx, u *state.User, f *state.Field, at time.Time) {
	e, p := tx.Entry(u, f.Number), tx.State.Rules.For(f.Key, f.ID)
	if e.LastSent.Kind != state.NeverSent || !e.InFlight.ID.IsZero() || !e.Waiting.ID.IsZero() || setAside(tx, u, f) {
		return
	}
	list := slices.DeleteFunc(QueuedOf(tx, u, f), func(ch *state.Stored) bool { return !ch.Loose })
	slices.SortFunc(list, func(a, b *state.Stored) int { return a.ID.Compare(b.ID) })
	for _, ch := range list {
		if tx.State.UnderWay(ch.Endpoint, u.ID, ch.ID) || !needless(e, ch.Transition, ch.Value, p.UnknownExit) {
			return
		}
		DropQueued(tx, u, ch)
		tx.Close(u, ch, domain.StateCancelled, at)
	}
}

// DropQueued takes a pending change out of its user's queue for good.
func DropQueued(tx *state.Tx, u *state.User, ch *state.Stored) {
	dequeue(tx, u, ch.Endpoint, ch.Lane, ch.ID)
	tx.State.Ledger.Changes.Pending--
	if e := tx.Entry(u, ch.Field); ch.Loose && e.Loose > 0 {
		e.Loose--
		tx.Write(u, ch.Field)
	}
	if len(u.Index.Endpoint(ch.Endpoint).Lanes) > 0 {
		Retime(tx, u, ch.Endpoint)
	}
}

// expects reports whether MoEngage will have want once the open changes of f are delivered. The newest decides: a queued one, or
// the waiting one, which a rollout or a pause may hold behind the queued ones.
func expects(tx *state.Tx, u *state.User, f *state.Field, e *state.Entry, t domain.Transition, want []byte, unknownExit bool) bool {
	if e.Loose > 0 {
		if id, value := lastLoose(tx, u, f); e.Waiting.ID.Compare(id) < 0 {
			return bytes.Equal(value, want)
		}
	}
	if e.Waiting.Pending() {
		return bytes.Equal(e.Waiting.Value, want)
	}
	return e.Waiting.ID.IsZero() && e.InFlight.ID.IsZero() && needless(e, t, want, unknownExit)
}

// Await makes an attribute change the pending one of its row.
func Await(tx *state.Tx, u *state.User, e *state.Entry, ch *state.Stored) {
	tx.State.Ledger.Changes.Pending++
	tx.Locate(ch)
	e.Waiting = state.Ticket{
		ID: ch.ID, Transition: ch.Transition, Lane: ch.Lane, Due: Second(ch.Received),
		Value: ch.Value, Name: ch.Name, Time: ch.EventTime.UnixNano(), Received: ch.Received.UnixNano(), Message: ch.MessageID, Trace: ch.Trace,
	}
	Bar(tx, u, tx.Now)
	u.Index.SetPending(ch.Field, true)
	u.Index.Endpoint(ch.Endpoint).Add(ch.Lane, e.Waiting.Due)
	if ch.Endpoint == domain.EndpointCohort {
		u.Index.Defer(e.Waiting.Due)
	}
	u.Dirty = true
}

// SettlePending takes an attribute change out of the pending ones. The caller closes or keeps it.
func SettlePending(tx *state.Tx, u *state.User, f *state.Field, t *state.Ticket) {
	tx.State.Ledger.Changes.Pending--
	u.Index.SetPending(f.Number, false)
	u.Index.Endpoint(f.Endpoint()).Remove(t.Lane)
	u.Dirty = true
}

// CancelWaiting closes the open change of en, whether pending, parked or held, because no net change remains. It
// must not be in-flight.
func CancelWaiting(tx *state.Tx, u *state.User, f *state.Field, en *state.Entry) {
	t := en.Waiting
	if t.ID.IsZero() {
		return
	}
	en.Waiting = state.Ticket{}
	if t.Pending() {
		SettlePending(tx, u, f, &t)
	}
	ch := tx.ChangeAt(u, f, &t)
	if ch == nil {
		return
	}
	if !t.Pending() {
		tx.Withdraw(ch)
	}
	tx.Close(u, ch, domain.StateCancelled, tx.Now)
}

// Enqueue puts an event, or a loose attribute, behind the user's others.
func Enqueue(tx *state.Tx, u *state.User, ch *state.Stored) {
	ch.State = domain.StatePending
	tx.State.Ledger.Changes.Pending++
	due := Second(ch.Received)
	if ch.Loose {
		due = lineUp(tx, u, ch)
	}
	tx.Locate(ch)
	tx.Put(tx.Queue, state.QueueKey(u.Key, ch.Lane, ch.ID), tx.QueueValue(due, ch))
	Bar(tx, u, tx.Now)
	u.Index.Endpoint(ch.Endpoint).Add(ch.Lane, due)
	u.Dirty = true
}

// Requeue is Enqueue for a change that was parked or held. In a lane of a user's queue no event is due later than what stands
// behind it, so that the first says when the lane is due. What was let go counts as received then, and may be older than what
// was received before: the older is due with the newer. Values have an order of their own, see lineUp.
func Requeue(tx *state.Tx, u *state.User, ch *state.Stored) {
	Enqueue(tx, u, ch)
	if ch.Loose || !slices.ContainsFunc(u.Index.Endpoint(ch.Endpoint).Lanes, func(l state.Lane) bool { return l.Number == ch.Lane && l.Count > 1 }) {
		return // nothing else is queued
	}
	key := state.QueueKey(u.Key, ch.Lane, ch.ID)
	prefix := key[:len(u.Key)+4]
	c := tx.Queue.Cursor()
	due, before := state.NotYet, c.Prev
	if k, v := c.Seek(append(key, 0)); k == nil {
		before = c.Last
	} else if bytes.HasPrefix(k, prefix) {
		due, _, _ = state.ParseQueueValue(v)
	}
	late := make(map[string]*state.Stored)
	for k, v := before(); bytes.HasPrefix(k, prefix); k, v = c.Prev() {
		own, _, frame := state.ParseQueueValue(v)
		if own <= due && !bytes.Equal(k, key) {
			break // so are those before it
		}
		if x := tx.Decode(frame); own > due && x != nil && !x.Loose {
			late[string(k)] = x
		}
		due = min(due, own)
	}
	for k, x := range late {
		tx.Put(tx.Queue, []byte(k), tx.QueueValue(due, x))
	}
}

// lineUp gives a loose attribute the schedule of the user's other queued values of it, and returns when it is due:
// not before the older ones, and not after the newer ones. MoEngage keeps the value that it receives last, so
// neither a new schedule nor a clock that was set back may let one overtake another.
func lineUp(tx *state.Tx, u *state.User, ch *state.Stored) (due uint32) {
	e, least, most := tx.Entry(u, ch.Field), Second(ch.Received), state.NotYet
	if t := &e.Waiting; t.Pending() && t.ID.Compare(ch.ID) < 0 { // from before collapse was turned off
		ch.Lane, least = state.SameJob(ch.Lane, t.Lane), max(least, t.Due)
	}
	if e.Loose == 1 {
		return least // it is the only one
	}
	for _, l := range u.Index.Endpoint(ch.Endpoint).Lanes {
		older, newer := neighbours(tx, u, ch, l.Number)
		if older != 0 || newer != state.NotYet {
			ch.Lane = state.SameJob(ch.Lane, l.Number)
		}
		least, most = max(least, older), min(most, newer)
	}
	return min(least, most)
}

// neighbours returns the due seconds of the next older and the next newer queued value of an attribute in a lane, 0
// and NotYet when there is none.
func neighbours(tx *state.Tx, u *state.User, ch *state.Stored, lane uint32) (older, newer uint32) {
	c, at := tx.Queue.Cursor(), state.QueueKey(u.Key, lane, ch.ID)
	prefix := at[:len(u.Key)+4]
	due := func(k, v []byte, step func() (k, v []byte)) (uint32, bool) {
		for ; bytes.HasPrefix(k, prefix); k, v = step() {
			due, _, frame := state.ParseQueueValue(v)
			if x := tx.Decode(frame); x != nil && x.Loose && x.Field == ch.Field {
				return due, true
			}
		}
		return 0, false
	}
	before := c.Prev
	k, v := c.Seek(at)
	if k == nil {
		before = c.Last
	}
	newer, found := due(k, v, c.Next)
	if !found {
		newer = state.NotYet
	}
	if k != nil {
		c.Seek(at)
	}
	k, v = before()
	older, _ = due(k, v, c.Prev)
	return older, newer
}

// QueuedOf returns the queued changes of a user that are about f, in the order of lanes and ids.
func QueuedOf(tx *state.Tx, u *state.User, f *state.Field) (list []*state.Stored) {
	for _, key := range state.KeysWithPrefix(tx.Queue, u.Key) {
		if ch := tx.FetchQueued(key); ch != nil && ch.Field == f.Number {
			list = append(list, ch)
		}
	}
	return list
}

// lastLoose returns the newest attribute of f in the queue, and its value.
func lastLoose(tx *state.Tx, u *state.User, f *state.Field) (newest domain.ID, value []byte) {
	for _, ch := range QueuedOf(tx, u, f) {
		if ch.Loose && ch.ID.Compare(newest) > 0 {
			newest, value = ch.ID, ch.Value
		}
	}
	return newest, value
}

// dequeue takes an event out of its user's queue.
func dequeue(tx *state.Tx, u *state.User, endpoint domain.Endpoint, lane uint32, id domain.ID) {
	tx.Remove(tx.Queue, state.QueueKey(u.Key, lane, id))
	u.Index.Endpoint(endpoint).Remove(lane)
	u.Dirty = true
}

// missQueued quarantines a queued event that is corrupt, not merely gone, so that those behind it can leave. The
// ledger still counts it until the next start recounts.
func missQueued(tx *state.Tx, u *state.User, endpoint domain.Endpoint, lane uint32, id domain.ID) {
	key := state.QueueKey(u.Key, lane, id)
	frame := tx.Queue.Get(key)
	if frame == nil || tx.Err != nil {
		return
	}
	tx.Quarantine(state.BucketQueue, key, frame, wire.ErrDamaged)
	dequeue(tx, u, endpoint, lane, id)
}

// queueFront returns the first entry of a user's queue in a lane.
func queueFront(tx *state.Tx, u *state.User, lane uint32) (id domain.ID, due uint32, tried, ok bool) {
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.Key), lane)
	c := tx.Queue.Cursor()
	c.Within(prefix)
	k, v := c.Seek(prefix)
	if !bytes.HasPrefix(k, prefix) {
		return domain.ID{}, 0, false, false
	}
	due, tried, _ = state.ParseQueueValue(v)
	return state.IDFromKey(k[len(prefix):], tx.State.Epochs), due, tried, true
}

// wantUsers has what sending to users, or settling it, reads of them read at once; see engine.Bucket.
func wantUsers(tx *state.Tx, endpoint domain.Endpoint, ids iter.Seq[string]) {
	tx.WantUsers(ids)
	state.Want(tx.Queue, func(yield func([]byte) bool) {
		for id := range ids {
			u := tx.User(id)
			for _, l := range u.Index.Endpoint(endpoint).Lanes {
				if mayQueue(u, endpoint) && !yield(binary.BigEndian.AppendUint32(slices.Clone(u.Key), l.Number)) {
					return
				}
			}
		}
	})
}

// mayQueue reports whether the queue can have changes of u for an endpoint.
func mayQueue(u *state.User, endpoint domain.Endpoint) bool {
	return endpoint == domain.EndpointDelete || endpoint == domain.EndpointTransition && u.Index.Backlog().Events > 0
}

// looseLess counts a loose attribute that leaves the queue.
func looseLess(tx *state.Tx, u *state.User, ch *state.Stored) {
	if !ch.Loose {
		return
	}
	if e := tx.Entry(u, ch.Field); e.Loose > 0 {
		e.Loose--
		tx.Write(u, ch.Field)
	}
}

// Retime sets the due second of each lane of u to the earliest change left in it. A lane without one is removed. While a
// request with u is in flight, a lane keeps its second if that is earlier: a change that was overtaken in the request is
// pending, and stands nowhere but in the lease.
func Retime(tx *state.Tx, u *state.User, endpoint domain.Endpoint) {
	rh := u.Index.Endpoint(endpoint)
	earliest := make(map[uint32]uint32, len(rh.Lanes))
	note := func(lane, due uint32) {
		if e, known := earliest[lane]; !known || due < e {
			earliest[lane] = due
		}
	}
	for _, number := range u.Index.PendingFields(nil) {
		f := tx.FieldOf(number)
		if t := tx.Entry(u, number).Waiting; f != nil && f.Endpoint() == endpoint && t.Pending() {
			note(t.Lane, t.Due)
		}
	}
	for _, l := range rh.Lanes {
		if _, due, _, ok := queueFront(tx, u, l.Number); ok {
			note(l.Number, due)
		}
	}
	leased := tx.State.InFlight[state.LeaseKey{Endpoint: endpoint, User: u.ID}] != nil // a change that was overtaken in a request is still counted
	rh.Lanes = slices.DeleteFunc(rh.Lanes, func(l state.Lane) bool {
		if _, known := earliest[l.Number]; known || leased {
			return false
		}
		tx.Contradiction("the pending index has a lane without a pending change")
		return true
	})
	for i := range rh.Lanes {
		l := &rh.Lanes[i]
		if due, known := earliest[l.Number]; known && (!leased || due < l.Due) {
			l.Due = due
		}
	}
	u.Dirty = true
}

// ParkEvent parks an event that cannot be used, with its bytes, under the user that it names, if any.
func ParkEvent(tx *state.Tx, id domain.ID, frame []byte, e *domain.Event, userID, reason, sentence string) {
	ch := &state.Stored{
		Change: domain.Change{
			ID: id, Kind: domain.KindReceived, State: domain.StateParked, User: userID,
			Computation: e.Key, ComputedBy: e.ComputationID, Class: e.Class, Name: e.Name,
			EventTime: e.Time, Received: e.Received, MessageID: e.MessageID, Trace: e.Trace, Reason: reason, Sentence: sentence,
		},
		Field: state.FieldNone,
		Raw:   frame,
	}
	tx.Put(tx.Parked, state.IDKey(ch.ID), ch.Encode(nil))
	tx.ParkedNow(ch)
	if userID != "" && len(userID) <= domain.MaxUserID {
		tx.Put(tx.Queue, state.QueueKey(state.UserKey(userID), state.LaneParked, ch.ID), nil)
	}
}
