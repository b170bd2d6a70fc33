package outbox

import (
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
