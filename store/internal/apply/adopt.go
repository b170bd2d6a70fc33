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

// An audience that was deleted in Segment and made again has its old key and a new id. That makes it
// another computation, whose changes are held: two that speak under one name would overwrite each other
// for ever. Adopted, the new id continues the old computation:
//
//	first   the two trade ids, in one record: what Segment delivers from now on belongs to the old one
//	then    what the new one has learnt so far is said to the old one, user by user, and what was held of
//	        it is cancelled. MoEngage is told what remains of that: the difference
//
// The new one's field stays behind under the old id, as a former computation, and late news of it are
// ignored. Whoever was a member and was not named under the new id stays one: Segment sends no exits
// for an audience that is gone. A full list tells who that is (Import).

// ErrNoSuccessor says that there is no computation of the key and the id that are to continue another.
var ErrNoSuccessor = errors.New("no event has named a computation of that key with that id")

// Adoption finds the audience that key names, and who continues it under id. That may be a second
// computation of the same id, as there are from before an event without a space was known by its id. If it
// came about before, from are the former computations of the key, of which something may be left.
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
		return // only damage brings this about
	}
	if len(o.Words) == 0 {
		trade(tx, into, from)
		return
	}
	for i := range o.Words {
		takeOver(tx, tx.User(o.Words[i].User), into, from, p, c, o)
	}
}

// trade gives the id of a computation to another, and that one's to it.
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
	from.Heard |= state.FormerMark
	r.Enter(from)
	r.SettleOwners(&tx.State.Rules)
}

// takeOver has into hear what from knows of a user, and ends what is held of from. What has left, or is in
// a request under way, stays as it is.
func takeOver(tx *state.Tx, u *state.User, into, from *state.Field, p *domain.Policy, c *outbox.Cause, o *record.Order) {
	for _, x := range tx.State.Registry.TargetFields(from) {
		if e := tx.Entry(u, x.Number); !e.Waiting.Pending() || !tx.State.IsInFlight(x.Endpoint(), u.ID, e.Waiting.ID) {
			outbox.CancelWaiting(tx, u, x, e)
			tx.Write(u, x.Number)
		}
	}
	cancelHeldEvents(tx, u, from)
	e := tx.Entry(u, from.Number)
	if e.Newest().IsIn() {
		from.Leave()
		tx.Touch(from)
	}
	kept := e.Kept
	e.Kept, e.Left = [3]*domain.Assertion{}, 0
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

// cancelHeldEvents closes the events of a field that are held for a user.
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
