package apply

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// ErrNoSuccessor says that no computation has the key and the id that are to continue another.
var ErrNoSuccessor = errors.New("no event has named a computation of that key with that id")

// Adoption finds the audience that key names, and the field that it continues under id.
//
// An audience that was deleted in Segment and created again has its old key and a new id. That makes it another
// computation, whose changes are held, because two under one name would overwrite each other forever. Adopted, the
// new id continues the old computation. The first record exchanges the two ids, so that later events belong to the
// old field. Further records move what the new field has, user by user, cancel its held changes, and send the
// difference. The new field stays under the old id as a former one, and its late events are ignored. A member who
// was not named under the new id stays a member, because Segment sends no exits for a deleted audience; an import of
// the full list corrects that.
//
// from may have the same id as into, as earlier versions stored an event without a space. After an adoption it is
// the former computations of the key, which may have something left.
func Adoption(r *state.Registry, key, id string) (into *state.Field, from []*state.Field, err error) {
	known := r.Computations(key)
	if len(known) == 0 {
		return nil, nil, domain.ErrNotFound
	}
	into = known[0]
	for _, f := range r.ByID[id] {
		if f != into && f.Key == into.Key && !f.Former() {
			return into, []*state.Field{f}, nil
		}
	}
	if into.ID != id {
		return nil, nil, ErrNoSuccessor
	}
	for _, f := range r.Fields {
		if f.Column == "" && f.Key == into.Key && f.Former() && !f.Gone() {
			from = append(from, f)
		}
	}
	return into, from, nil
}

func applyAdoption(tx *state.Tx, into *state.Field, p *domain.Policy, c *outbox.Cause, o *record.Order) {
	from := tx.FieldOf(o.Other)
	if from == nil || from == into {
		return // only corruption explains this
	}
	if len(o.Targets) == 0 {
		trade(tx, into, from)
		return
	}
	for i := range o.Targets {
		takeOver(tx, tx.User(o.Targets[i].User), into, from, p, c, o)
	}
}

// trade exchanges the ids of two computations.
func trade(tx *state.Tx, into, from *state.Field) {
	if from.Former() {
		return
	}
	r := tx.State.Registry
	ours, theirs := r.Family(into), r.Family(from)
	space, id, theirSpace, theirID := into.Space, into.ID, from.Space, from.ID
	for _, x := range ours {
		rename(tx, x, theirSpace, theirID)
	}
	for _, x := range theirs {
		rename(tx, x, space, id)
	}
	r.Unname(from)
	from.Flags |= state.FormerMark
	r.Enter(from)
	r.SettleOwners(&tx.State.Rules)
}

// takeOver gives into what from knows of a user, and cancels what from has pending or held. In-flight and delivered
// changes stay.
func takeOver(tx *state.Tx, u *state.User, into, from *state.Field, p *domain.Policy, c *outbox.Cause, o *record.Order) {
	for _, x := range tx.State.Registry.TargetFields(from) {
		if e := tx.Entry(u, x.Number); !e.Waiting.Pending() || !tx.State.IsInFlight(x.Endpoint(), u.ID, e.Waiting.ID) {
			outbox.CancelWaiting(tx, u, x, e)
			tx.Write(u, x.Number)
		}
	}
	cancelHeldEvents(tx, u, from)
	e := tx.Entry(u, from.Number)
	c.Event = &domain.Event{Received: o.Received, Time: o.Received}
	outbox.CountMember(tx, u, from, c, e.Newest().IsIn(), false)
	kept := e.Kept
	e.Kept = [3]*domain.Assertion{}
	outbox.UncountLeft(tx, from, e)
	outbox.Unmark(tx, from, e)
	tx.Write(u, from.Number)
	for sort, s := range kept {
		if s == nil {
			continue
		}
		if !p.Send.Has(domain.SendAsReceived) {
			sort = state.KeptOne
		}
		c.Event = &domain.Event{Received: o.Received, Time: time.Unix(0, s.Time).UTC(), Class: into.Class, MessageID: record.OrderAdopt.String(), Flag: domain.FlagOut}
		if s.IsIn() {
			c.Event.Flag = domain.FlagIn
		}
		member(tx, u, into, p, c, sort, true)
	}
}

// cancelHeldEvents closes the held events of a field and a user.
func cancelHeldEvents(tx *state.Tx, u *state.User, f *state.Field) {
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.Key), state.LaneHeld)
	for _, key := range state.KeysWithPrefix(tx.Queue, prefix) {
		ch := tx.Fetch(tx.Held, key[len(prefix):])
		if ch == nil || ch.Field != f.Number {
			continue
		}
		tx.Withdraw(ch)
		tx.Remove(tx.Queue, key)
		tx.Close(u, ch, domain.StateCancelled, tx.Now)
	}
}
