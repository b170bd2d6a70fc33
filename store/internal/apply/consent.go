package apply

import (
	"slices"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// applyOrdinary applies an event that names no computation. It can only be Segment's reserved event about consent, which
// comes from a source. One of an anonymous visitor is ignored, unless their id is a customer id: MoEngage was told
// nothing of them.
func applyOrdinary(tx *state.Tx, c *outbox.Cause) domain.Outcome {
	if !c.Event.IsConsentUpdate() {
		return domain.OutcomeIgnored
	}
	who, verdict := domain.IdentifyUser(c.Event, &tx.State.Rules.Defaults)
	if verdict == domain.IdentityParked || verdict == domain.IdentityIgnored || forgotten(tx, who.ID, c.Event.Time, believable(tx, c)) {
		return domain.OutcomeIgnored
	}
	return keepConsent(tx, tx.User(who.ID), c)
}

// keepConsent keeps what an event says of its user's consent, and compares the user's computations with it. While no
// computation asks for consent, a statement is kept only of users who have one already.
func keepConsent(tx *state.Tx, u *state.User, c *outbox.Cause) domain.Outcome {
	e := c.Event
	if e.Consent == nil {
		return domain.OutcomeIgnored
	}
	known := state.ConsentOf(tx, u)
	if known == nil && !tx.State.Rules.AsksConsent() {
		return domain.OutcomeIgnored
	}
	now := domain.Consent{}
	if known != nil {
		now = *known
	}
	at := e.Time.UnixNano()
	if now.Time > believable(tx, c) { // written while the clock was ahead
		now.Time = at - 1
	}
	switch now.Update(e.Consent, at, c.Seq, e.IsConsentUpdate()) {
	case domain.CompareStale:
		return domain.OutcomeStale
	case domain.CompareDuplicate:
		return domain.OutcomeDuplicate
	case domain.CompareUnchanged:
		state.SetConsent(u, now)
		return domain.OutcomeUnchanged
	}
	state.SetConsent(u, now)
	comply(tx, u, c)
	return domain.OutcomeTransition
}

// complyRoom is how many changes Comply makes of one computation at most: a removal, or the newest value, on the
// attribute, the cohort and the list.
const complyRoom = 3

// comply compares what MoEngage is told of a user with their consent.
func comply(tx *state.Tx, u *state.User, c *outbox.Cause) {
	why := c.Why
	c.Why = domain.CauseConsent
	defer func() { c.Why = why }()
	outbox.WithholdOpen(tx, u, c.Event.Received)
	for _, number := range state.BlockNumbers(tx, u) {
		row := tx.Block(u, number)
		for _, e := range slices.Clone(row.Entries) { // a target's entry may be added in the loop
			f := tx.FieldOf(row.Field(e))
			if f == nil || f.Former() || f.Kind() != domain.KindAttribute {
				continue
			}
			p := state.PolicyOf(tx, f)
			if !p.Withholds() && !e.Withheld {
				continue
			}
			if c.Room() < complyRoom {
				tx.Log.Error("a user is in more computations than one record can change: reconcile those that ask for consent", "computation", f.Key)
				return
			}
			outbox.Comply(tx, u, f, &p, e, c)
		}
	}
}

// askedAnew reports whether a computation that is known tells other users under other rules: it asks for other categories
// of consent, or is rolled out to others.
func askedAnew(r *state.Registry, was, now *domain.Rules) bool {
	if !was.Selects() && !now.Selects() {
		return false
	}
	return slices.ContainsFunc(r.Fields, func(f *state.Field) bool {
		before, after := was.For(f.Key, f.ID), now.For(f.Key, f.ID)
		return !f.Gone() && !before.SameSelection(&after)
	})
}

// compareAnew has every user compared from the first one on.
func compareAnew(tx *state.Tx) {
	tx.Put(tx.Bucket(state.BucketMeta), state.MetaConsent, new(state.Comparing).Encode())
}

// comparedAtOnce is how many users one record compares, so that a transaction of it takes some milliseconds.
const comparedAtOnce = 500

// compareNext compares the next users with the categories that the rules ask for now. The order only says go on: whom it
// is about follows from the state, so that a user who came meanwhile is neither left out nor compared twice.
func compareNext(tx *state.Tx, seq uint64, o *record.Order) {
	meta := tx.Bucket(state.BucketMeta)
	at, under := state.ReadComparing(meta.Get(state.MetaConsent))
	if !under {
		return
	}
	c := &outbox.Cause{Seq: seq, Event: &domain.Event{Received: o.Received, Time: o.Received, MessageID: o.Verb.String()}}
	ids, more := state.UsersAfter(tx, at.Last, comparedAtOnce)
	for i, id := range ids {
		u := tx.User(id)
		if i > 0 && c.Room() < roomFor(tx, u) {
			more = true
			break
		}
		comply(tx, u, c)
		outbox.HoldOpen(tx, u, o.Received)
		outbox.ReachAll(tx, u, state.BlockNumbers(tx, u), o.Received)
		at.Done, at.Last = at.Done+1, u.Key
	}
	if more {
		tx.Put(meta, state.MetaConsent, at.Encode())
		return
	}
	tx.Remove(meta, state.MetaConsent)
}

// roomFor returns how many changes comply can make of a user.
func roomFor(tx *state.Tx, u *state.User) (n int) {
	for _, number := range state.BlockNumbers(tx, u) {
		n += complyRoom * len(tx.Block(u, number).Entries)
	}
	return n
}
