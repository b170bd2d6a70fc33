package outbox

import (
	"bytes"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// The outbox has no bucket of its own: what waits is kept with its user, so that sending to a user
// touches the user's rows and the right edge of the history, and nothing that is shared.
//
//	an attribute   the ticket in its row, and the head's bits
//	an event       the user's queue, by lane and id, whole
//	parked, held   buckets by id; the ticket or an empty entry of the queue points there
//	the locator    id -> user and place, written when the change is made
//
// The due index points at users. So taking what is due reads users, and never scans changes.

// Cause is the inbox record that brings changes about, and gives them their ids.
type Cause struct {
	Seq   uint64
	Slots uint16
	Event *domain.Event

	Unguarded bool      // an operator has decided: its exits are not held; see domain.ByOperator
	Parked    domain.ID // the event was parked under this id and is read again; zero otherwise
}

// ParkedAs is the id under which the event is parked if it cannot be used: that of its record, unless it has one.
func (c *Cause) ParkedAs(epoch record.Epochs) domain.ID {
	if c.Parked.IsZero() {
		return domain.ID{Epoch: epoch.Of(c.Seq), Seq: c.Seq}
	}
	return c.Parked
}

// MaxSlots is how many changes one record can bring about: their ids have 16 bits for it.
var MaxSlots = 1<<16 - 1 // tests make it small

// Room is how many changes the record can still bring about.
func (c *Cause) Room() int { return MaxSlots - int(c.Slots) }

// changesOfUser is how many changes an order makes of one user, those aside that tell cohorts again: the
// attribute, the event, the cohort and the entry of the list.
const changesOfUser = 4

// PerRecord is how many users one record of an order may be about, at most most: each may have all of their
// cohorts told again (repeatCohorts). Half of the slots stay free, for cohorts that appear before the record
// is applied.
func PerRecord(r *state.Registry, most int) int {
	return max(1, min(most, MaxSlots/2/(changesOfUser+len(r.Cohorts))))
}

func (c *Cause) next(epoch record.Epochs) domain.ID {
	id := domain.ID{Epoch: epoch.Of(c.Seq), Seq: c.Seq, Slot: c.Slots}
	c.Slots++
	return id
}

// SendTime is the time MoEngage is told: it refuses events from the future. A time that the door
// believed although it is far ahead of the receipt is not: there the clock is behind, or was set back.
func SendTime(e *domain.Event) time.Time {
	ahead := e.Time.Sub(e.Received)
	if ahead > -time.Second && ahead <= domain.MaxAhead {
		return e.Received.Add(-time.Second)
	}
	return e.Time
}

// Draft begins a change of user u about field f.
func Draft(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *Cause, kind domain.Kind, t domain.Transition) *state.Stored {
	ch := &state.Stored{
		Change: domain.Change{
			ID: c.next(tx.State.Epochs), Kind: kind, User: u.ID, Transition: t,
			EventTime: SendTime(c.Event), Received: c.Event.Received, MessageID: c.Event.MessageID,
			State: domain.StatePending,
		},
		Endpoint: domain.EndpointTransition,
	}
	ch.About(f)
	if kind == domain.KindCohort {
		ch.Endpoint = domain.EndpointCohort
	}
	ch.Lane = state.LaneOf(tx, u, f, p.Job, t)
	return ch
}

func Second(t time.Time) uint32 { return uint32(t.Unix()) }

// WantAttribute makes a change of the attribute, or the channel, that should become want. One that
// already waits gives way to it; and when MoEngage knows the value already, or never heard of an
// audience the user is not in, no net change remains and nothing will be sent. A cohort and a list
// collapse whatever the policy says: to add and remove in turn tells nobody anything.
func WantAttribute(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, e *state.Entry, c *Cause, t domain.Transition, want []byte) {
	ch := Draft(tx, u, f, p, c, f.Kind(), t)
	ch.Name, ch.Value = f.Attribute(p), bytes.Clone(want)
	tx.State.Ledger.Changes.Created++
	switch {
	case tx.State.Registry.Conflicted(f, p, &tx.State.Rules):
		supersede(tx, u, f, e, ch.ID)
		HoldConflict(tx, u, f, ch, e)
		return
	case Withholds(tx, f, p, c, t):
		supersede(tx, u, f, e, ch.ID)
		HoldExit(tx, u, f, ch, e)
		return
	}
	if ch.Kind == domain.KindAttribute && (!p.Collapse || e.Loose > 0) { // what was queued before collapse was turned on goes first
		ch.Loose = true
		e.Loose++
		Enqueue(tx, u, ch)
		return
	}
	parked := supersede(tx, u, f, e, ch.ID)
	if e.InFlight.ID.IsZero() && needless(e, ch.Transition, ch.Value, p.UnknownExit) {
		tx.Locate(ch)
		tx.Close(u, ch, domain.StateCancelled, c.Event.Received)
		return
	}
	Await(tx, u, e, ch)
	if parked != nil {
		RepeatCohorts(tx, c, parked)
	}
}

// needless reports whether MoEngage needs no telling.
func needless(e *state.Entry, t domain.Transition, value []byte, unknownExit bool) bool {
	if e.LastSent.Kind == state.NeverSent {
		return t == domain.TransitionExit && !unknownExit || bytes.Equal(value, domain.JSONNull)
	}
	return e.LastSent.Is(value)
}

// Await has an attribute change wait in its row.
func Await(tx *state.Tx, u *state.User, e *state.Entry, ch *state.Stored) {
	tx.State.Ledger.Changes.Pending++
	tx.Locate(ch)
	e.Waiting = state.Ticket{
		ID: ch.ID, Transition: ch.Transition, Lane: ch.Lane, Due: Second(ch.Received),
		Value: ch.Value, Name: ch.Name, Time: ch.EventTime.UnixNano(), Received: ch.Received.UnixNano(), Message: ch.MessageID,
	}
	u.Index.SetPending(ch.Field, true)
	u.Index.Endpoint(ch.Endpoint).Add(ch.Lane, e.Waiting.Due)
	if ch.Endpoint == domain.EndpointCohort {
		u.Index.Defer(e.Waiting.Due)
	}
	u.Dirty = true
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
	u.Index.Endpoint(ch.Endpoint).Add(ch.Lane, due)
	u.Dirty = true
}

// lineUp has a loose attribute wait for the schedule by which the user's other values of it wait, and returns when
// it is due: not before the older ones, and not after the newer ones. MoEngage keeps the value that is sent last, so
// a new schedule or a clock that was set back must not let one overtake another.
func lineUp(tx *state.Tx, u *state.User, ch *state.Stored) (due uint32) {
	e, least, most := tx.Entry(u, ch.Field), Second(ch.Received), state.NotYet
	if t := &e.Waiting; t.Pending() { // since before collapse was turned off
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

// neighbours returns when the next older and the next newer queued value of an attribute in a lane are due, 0 and
// notYet when there is none.
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

// HoldConflict keeps a change whose name is another computation's. e is nil for an event.
func HoldConflict(tx *state.Tx, u *state.User, f *state.Field, ch *state.Stored, e *state.Entry) {
	ch.Reason = reasonConflict
	p := tx.State.Rules.For(f.Key, f.ID)
	ch.Sentence = tx.State.Registry.ConflictSentence(f, &p, &tx.State.Rules)
	if f.Held == 0 {
		tx.Log.Warn("two computations send to one name; the later one's changes are held", "computation", f.Key, "id", f.ID, "column", f.SQLColumn(),
			"name", domain.SentName(f.Kind(), f.Attribute(&p)), "why", ch.Sentence)
	}
	hold(tx, u, f, ch, e)
}

const reasonConflict = "key_conflict"

// hold keeps a change until an operator decides. e is nil for an event.
func hold(tx *state.Tx, u *state.User, f *state.Field, ch *state.Stored, e *state.Entry) {
	ch.State = domain.StateHeld
	tx.State.Ledger.Changes.Held++
	f.Held++
	tx.Touch(f)
	tx.Locate(ch)
	tx.Put(tx.Held, state.IDKey(ch.ID), tx.Frame(ch.Encode))
	if e != nil {
		e.Waiting = state.Ticket{ID: ch.ID, Place: state.PlaceHeld, Transition: ch.Transition}
		return
	}
	tx.Put(tx.Queue, state.QueueKey(u.Key, state.LaneHeld, ch.ID), nil)
}

// ReleaseConflicts lets go of what was held for a name that is nobody else's any more.
func ReleaseConflicts(tx *state.Tx) {
	for _, key := range state.KeysWithPrefix(tx.Held, nil) {
		ch := tx.Fetch(tx.Held, key)
		if ch == nil || ch.Reason != reasonConflict {
			continue
		}
		f := tx.FieldOf(ch.Field)
		p := tx.State.Rules.For(f.Key, f.ID)
		if tx.State.Registry.Conflicted(f, &p, &tx.State.Rules) {
			continue
		}
		tx.Withdraw(ch)
		release(tx, tx.User(ch.User), f, &p, ch, ch.Received) // rules bear no time
	}
}

// release has a change that was held wait like any other, unless MoEngage needs no telling by now.
func release(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, ch *state.Stored, at time.Time) {
	ch.Reason, ch.Sentence = "", ""
	ch.Lane = state.LaneOf(tx, u, f, p.Job, ch.Transition)
	e := tx.Entry(u, f.Number)
	if ch.InRow() && ch.Kind == domain.KindAttribute && e.Loose > 0 { // behind what is queued, which was said before it
		e.Waiting, ch.Loose = state.Ticket{}, true
	}
	if ch.InRow() {
		tx.Write(u, f.Number)
		if e.InFlight.ID.IsZero() && needless(e, ch.Transition, ch.Value, p.UnknownExit) {
			e.Waiting = state.Ticket{}
			tx.Close(u, ch, domain.StateCancelled, at)
			return
		}
		ch.Name, ch.State = f.Attribute(p), domain.StatePending
		Await(tx, u, e, ch)
		return
	}
	if ch.Loose {
		e.Loose++
		tx.Write(u, f.Number)
	}
	tx.Remove(tx.Queue, state.QueueKey(u.Key, state.LaneHeld, ch.ID))
	Enqueue(tx, u, ch)
}

// supersede closes whatever attribute change waits in e, because successor takes its place. One that
// is in a request under way stays until the answer comes. One that was parked is returned.
func supersede(tx *state.Tx, u *state.User, f *state.Field, e *state.Entry, successor domain.ID) (parked *state.Stored) {
	t := e.Waiting
	e.Waiting = state.Ticket{}
	switch {
	case t.ID.IsZero():
		return nil
	case t.Pending() && tx.State.IsInFlight(f.Endpoint(), u.ID, t.ID):
		e.InFlight = t
		u.Index.SetPending(f.Number, false)
		u.Dirty = true // the successor may be held, and not touch the head
		return nil
	case t.Pending():
		SettlePending(tx, u, f, &t)
	}
	ch := tx.ChangeAt(u, f, &t)
	if ch == nil {
		return nil
	}
	ch.Successor = successor
	if !t.Pending() {
		tx.Withdraw(ch)
	}
	tx.Close(u, ch, domain.StateSuperseded, tx.Now)
	if t.Place == state.PlaceParked {
		return ch
	}
	return nil
}

// SettlePending takes an attribute change out of what waits.
func SettlePending(tx *state.Tx, u *state.User, f *state.Field, t *state.Ticket) {
	tx.State.Ledger.Changes.Pending--
	u.Index.SetPending(f.Number, false)
	u.Index.Endpoint(f.Endpoint()).Remove(t.Lane)
	u.Dirty = true
}

// ParkEvent keeps an event that cannot be used, with its bytes, under the user it names if any.
func ParkEvent(tx *state.Tx, id domain.ID, frame []byte, e *domain.Event, userID, reason, sentence string) {
	ch := &state.Stored{
		Change: domain.Change{
			ID: id, Kind: domain.KindReceived, State: domain.StateParked, User: userID,
			Computation: e.Key, ComputedBy: e.ComputationID, Class: e.Class, Name: e.Name,
			EventTime: e.Time, Received: e.Received, MessageID: e.MessageID, Reason: reason, Sentence: sentence,
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
