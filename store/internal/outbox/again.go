package outbox

import (
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// RepeatCohorts has a user's cohorts told again behind a change that was parked, and is sent after all or has
// given way to another. It held nothing back meanwhile, and what the cohorts were told then went by a user
// whom MoEngage may not have known, without a word. Of a user whom MoEngage accepted something of before that
// change, and nothing since, this is not so.
func RepeatCohorts(tx *state.Tx, c *Cause, was *state.Stored) {
	u := tx.User(was.User)
	if last := u.Index.Accepted; was.Endpoint != domain.EndpointTransition || last != 0 && last < Second(was.Received) {
		return
	}
	if c.Room() < len(tx.State.Registry.Cohorts) {
		tx.Log.Error("cohorts are not told again of a user whom MoEngage may not have known, because one order has no numbers left for it: reconcile the audiences that are sent to cohorts",
			"change", was.ID.String())
		return
	}
	again := &Cause{Seq: c.Seq, Slots: c.Slots, Unguarded: true} // an exit that was told is told
	defer func() { c.Slots = again.Slots }()
	for _, x := range tx.State.Registry.Cohorts {
		f := tx.State.Registry.Speaker(x)
		p := tx.State.Rules.For(f.Key, f.ID)
		e, en := tx.Entry(u, x.Number), tx.Entry(u, f.Number)
		s := en.Newest()
		if !p.Send.Has(domain.SendCohort) || s == nil || e.LastSent.Kind == state.NeverSent {
			continue
		}
		again.Event = &domain.Event{Received: tx.Now, Time: time.Unix(0, s.Since).UTC(), Class: f.Class, MessageID: "retry"}
		t, value := en.Membership()
		TellAgain(tx, u, x, &p, e, again, t, value)
	}
}

// TellAgain has an attribute sent whatever MoEngage was last told.
func TellAgain(tx *state.Tx, u *state.User, f *state.Field, p *domain.Policy, en *state.Entry, c *Cause, t domain.Transition, value []byte) {
	if !en.Waiting.ID.IsZero() || en.Loose > 0 {
		return
	}
	en.LastSent = state.LastSent{Kind: state.UncertainlySent}
	tx.Write(u, f.Number)
	WantAttribute(tx, u, f, p, en, c, t, value)
}
