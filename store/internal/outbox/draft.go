package outbox

import (
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Cause is the inbox record that makes changes, and gives them their ids.
type Cause struct {
	Seq   uint64
	Slots uint16
	Event *domain.Event

	Why domain.JournalCause // of what the record does
	By  string              // login of the operator who gave the order

	Unguarded bool      // an operator decided: its exits are not held; see domain.ByOperator
	Parked    domain.ID // the event was parked under this id and is read again; zero otherwise
}

// ParkedAs returns the id under which the event is parked if it cannot be used: the one it had before, or that of
// its record.
func (c *Cause) ParkedAs(epoch record.Epochs) domain.ID {
	if c.Parked.IsZero() {
		return domain.ID{Epoch: epoch.Of(c.Seq), Seq: c.Seq}
	}
	return c.Parked
}

// MaxSlots is how many changes one record can make: their ids have 16 bits for it.
var MaxSlots = 1<<16 - 1 // a variable so that tests can lower it

// Room returns how many changes the record can still make.
func (c *Cause) Room() int { return MaxSlots - int(c.Slots) }

// changesOfUser is how many changes an order makes of one user, besides repeated cohort changes: the attribute, the
// event, the cohort and the entry of the list; and for lack of consent, a removal of each but the event, or whatever was
// withheld of them.
const changesOfUser = 4 + 3

// PerRecord returns how many users one record of an order may be about, at most most. Each may have all of their
// cohort changes repeated (RepeatCohorts). Half of the slots stay free, for cohorts that are added before the record
// is applied.
func PerRecord(r *state.Registry, most int) int {
	return max(1, min(most, MaxSlots/2/(changesOfUser+len(r.Cohorts))))
}

// next returns the id of the record's next change.
func (c *Cause) next(epoch record.Epochs) domain.ID {
	id := domain.ID{Epoch: epoch.Of(c.Seq), Seq: c.Seq, Slot: c.Slots}
	c.Slots++
	return id
}

// SendTime returns the event time to send: MoEngage refuses events from the future. A time that ingest accepted
// although it is far ahead of the receipt is kept, because there the clock is behind or was set back.
func SendTime(e *domain.Event) time.Time {
	ahead := e.Time.Sub(e.Received)
	if ahead > -time.Second && ahead <= domain.MaxAhead {
		return e.Received.Add(-time.Second)
	}
	return e.Time
}

// Draft begins a change of user u about field f. It is small enough to be inlined, so that a caller that does not keep the
// change allocates none.
func Draft(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *Cause, kind domain.Kind, t domain.Transition) *state.Stored {
	ch := new(state.Stored)
	draft(ch, tx, u, f, p, c, kind, t)
	return ch
}

func draft(ch *state.Stored, tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, c *Cause, kind domain.Kind, t domain.Transition) {
	*ch = state.Stored{
		Change: domain.Change{
			ID: c.next(tx.State.Epochs), Kind: kind, User: u.ID, Transition: t,
			EventTime: SendTime(c.Event), Received: c.Event.Received, MessageID: c.Event.MessageID, Trace: c.Event.Trace,
			State: domain.StatePending,
		},
		Endpoint: domain.EndpointTransition,
	}
	ch.About(f)
	if kind == domain.KindCohort {
		ch.Endpoint = domain.EndpointCohort
	}
	ch.Lane = state.LaneOf(tx, u, f, p.Job, t)
	note(tx, u, f, c, t, false)
}

// note writes to the journal that a record made a change, or moved a membership.
func note(tx *state.Tx, u *state.User, f *state.Field, c *Cause, t domain.Transition, moved bool) {
	e := state.JournalEntry{Transition: t, Moved: moved, Seq: c.Seq, At: tx.Now, EventTime: c.Event.Time, Cause: c.Why, Text: c.By}
	if c.Event.Call != domain.CallUnknown { // an order has none
		e.Text = c.Event.MessageID
	}
	state.NoteTransition(tx, u, f, e)
}

// CountMember counts a user who may have entered or left a computation, and writes that to the journal. Every change of a
// membership is made known here, but that a user is forgotten.
func CountMember(tx *state.Tx, u *state.User, f *state.Field, c *Cause, was, is bool) {
	switch {
	case is && !was:
		f.Members++
		f.Entered++
		countEnter(tx, f)
		note(tx, u, f, c, domain.TransitionEnter, true)
	case was && !is:
		f.Leave()
		f.Exited++
		note(tx, u, f, c, domain.TransitionExit, true)
	default:
		return
	}
	tx.Touch(f)
}

// Second is t as the due index has it: unix seconds, rounded down.
func Second(t time.Time) uint32 { return uint32(t.Unix()) }
