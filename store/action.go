package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// The operator's hand on single changes: to send again what is parked, or to throw away what waits. It
// travels through the inbox, like everything that can create or end a change.

// actionVerb is what an operator wants of changes. Numbers are on disk.
type actionVerb byte

const (
	actionRetry actionVerb = 1
	actionDrop  actionVerb = 2
)

// action is the record of it.
//
//	received, verb, changes x (id)
type action struct {
	received time.Time
	verb     actionVerb
	ids      []domain.ID
}

// MaxActionIDs is how many changes one Retry or Drop takes.
const MaxActionIDs = 10_000

// Retry has parked changes wait again, as if they had never been tried, and returns once that is done.
// Whatever is not parked by then is left alone, and so is an event that could not be used.
func (s *Store) Retry(ctx context.Context, now time.Time, ids []domain.ID) error {
	return s.handle(ctx, action{now, actionRetry, ids})
}

// Drop throws away changes that wait, are held or parked, and events that could not be used, and
// returns once that is done. Memberships, and what MoEngage was last told, stay. What is in a request
// under way, or closed, is left alone.
func (s *Store) Drop(ctx context.Context, now time.Time, ids []domain.ID) error {
	return s.handle(ctx, action{now, actionDrop, ids})
}

func (s *Store) handle(ctx context.Context, h action) error {
	switch {
	case len(h.ids) == 0:
		return nil
	case len(h.ids) > MaxActionIDs:
		return fmt.Errorf("%d changes are too many at once", len(h.ids))
	}
	most := 0
	if err := s.read(func(b *batch) error { most = b.st.registry.perRecord(MaxActionIDs); return nil }); err != nil {
		return err
	}
	var frames [][]byte
	for part := range slices.Chunk(h.ids, most) {
		frames = append(frames, (&action{h.received, h.verb, part}).encode(nil))
	}
	if err := translate(s.inbox.AppendOther(ctx, frames...)); err != nil {
		return s.cutShort(orderAbsent, err)
	}
	return s.carriedOut(ctx)
}

func (h *action) encode(buf []byte) []byte {
	start := len(buf)
	buf = append(wire.AppendTime(append(buf, recordAction), h.received), byte(h.verb))
	buf = wire.AppendUint(buf, uint64(len(h.ids)))
	for _, id := range h.ids {
		buf = putID(buf, id)
	}
	return wire.Seal(buf, start)
}

func readAction(r *wire.Reader, epoch epochs) *action {
	h := &action{received: r.Time(), verb: actionVerb(r.Byte())}
	n := r.Uint()
	if n > uint64(r.Len()) || n > MaxActionIDs {
		r.Fail()
		return h
	}
	for range n {
		h.ids = append(h.ids, readID(r, epoch))
	}
	return h
}

func (b *batch) applyAction(seq uint64, h *action) {
	b.now = h.received
	c := &cause{seq: seq}
	for _, id := range h.ids {
		id.Epoch = b.st.epochs.of(id.Seq)
		ch := b.find(id)
		switch {
		case ch == nil:
		case h.verb == actionRetry && ch.State == domain.StateParked && ch.Kind != domain.KindReceived:
			if c.room() < len(b.st.registry.cohorts) { // an older program made one record of too many
				b.log.Warn("a parked change was not retried, because its order has no numbers left for all cohorts: retry it again", "change", id.String())
				continue
			}
			b.retry(ch)
			b.repeatCohorts(c, ch)
		case h.verb == actionDrop:
			b.drop(ch, h.received)
		}
	}
}

// retry has a parked change wait like one that was just made.
func (b *batch) retry(ch *stored) {
	f, u := b.fieldOf(ch.field), b.user(ch.User)
	if f == nil {
		return
	}
	e, p := b.entry(u, ch.field), b.st.rules.For(f.key, f.id)
	b.withdraw(ch)
	if b.outdated(u, f, e, &p, ch) {
		if ch.inRow() {
			e.waiting = ticket{}
			b.write(u, ch.field)
		} else {
			b.remove(b.queue, queueKey(u.key, laneParked, ch.ID))
		}
		b.close(u, ch, domain.StateSuperseded, b.now)
		return
	}
	ch.lane = b.laneOf(u, f, p.Job, ch.Transition)
	ch.State, ch.Attempts, ch.Alone, ch.Reason, ch.Sentence, ch.Answer = domain.StatePending, 0, 0, "", "", domain.Answer{}
	if ch.inRow() {
		b.await(u, e, ch)
		b.write(u, ch.field)
		return
	}
	b.remove(b.queue, queueKey(u.key, laneParked, ch.ID))
	if ch.loose {
		e.loose++
		b.write(u, ch.field)
	}
	b.enqueue(u, ch)
}

// outdated reports whether a newer value than a parked attribute's has left, or leaves first. Without collapse
// that one has no successor, and MoEngage would keep it. A later one that is queued leaves behind it, unless it is
// under way already.
func (b *batch) outdated(u *user, f *field, e *entry, p *domain.Policy, ch *stored) bool {
	s := e.spoken(p, domain.SendAttribute, keptIdentify)
	if ch.Kind != domain.KindAttribute || s == nil || s.Seq <= ch.ID.Seq {
		return false
	}
	leavesBehind := func(x *stored) bool {
		return x.loose && x.ID.Compare(ch.ID) > 0 && !b.st.underWay(x.endpoint, u.id, x.ID)
	}
	if e.loose > 0 && slices.ContainsFunc(b.queuedOf(u, f), leavesBehind) {
		return false
	}
	value, send := p.Sendable(s.Value)
	return send && !domain.SameValue(value, ch.Value)
}

// repeatCohorts has a user's cohorts told again behind a change that was parked, and is sent after all or has
// given way to another. It held nothing back meanwhile, and what the cohorts were told then went by a user
// whom MoEngage may not have known, without a word. Of a user whom MoEngage accepted something of before that
// change, and nothing since, this is not so.
func (b *batch) repeatCohorts(c *cause, was *stored) {
	u := b.user(was.User)
	if last := u.head.accepted; was.endpoint != domain.EndpointTransition || last != 0 && last < second(was.Received) {
		return
	}
	if c.room() < len(b.st.registry.cohorts) {
		b.log.Error("cohorts are not told again of a user whom MoEngage may not have known, because one order has no numbers left for it: reconcile the audiences that are sent to cohorts",
			"change", was.ID.String())
		return
	}
	again := &cause{seq: c.seq, slots: c.slots, unguarded: true} // an exit that was told is told
	defer func() { c.slots = again.slots }()
	for _, x := range b.st.registry.cohorts {
		f := b.st.registry.speaker(x)
		p := b.st.rules.For(f.key, f.id)
		e, en := b.entry(u, x.number), b.entry(u, f.number)
		s := en.newest()
		if !p.Send.Has(domain.SendCohort) || s == nil || e.lastSent.kind == neverSent {
			continue
		}
		again.event = &domain.Event{Received: b.now, Time: time.Unix(0, s.Since).UTC(), Class: f.class, MessageID: "retry"}
		t, value := en.membership()
		b.tellAgain(u, x, &p, e, again, t, value)
	}
}

// drop closes a change that is not in a request under way.
func (b *batch) drop(ch *stored, at time.Time) {
	u, f := b.user(ch.User), b.fieldOf(ch.field)
	switch {
	case ch.State == domain.StateParked, ch.State == domain.StateHeld:
		b.withdraw(ch)
		if ch.User != "" && len(ch.User) <= domain.MaxUserID {
			b.remove(b.queue, queueKey(u.key, laneParked, ch.ID))
			b.remove(b.queue, queueKey(u.key, laneHeld, ch.ID))
		}
		if ch.Kind == domain.KindReceived {
			b.st.ledger.events.Discarded++
			return
		}
	case ch.State != domain.StatePending || b.st.underWay(ch.endpoint, u.id, ch.ID):
		return
	case ch.inRow() && f != nil:
		b.settlePending(u, f, &b.entry(u, ch.field).waiting)
	default:
		b.leaveQueue(u, ch.endpoint, ch.lane, ch.ID)
		b.st.ledger.changes.Pending--
	}
	e := b.entry(u, ch.field)
	if e.waiting.id == ch.ID {
		e.waiting = ticket{}
		b.write(u, ch.field)
	} else if ch.loose && ch.State == domain.StatePending && e.loose > 0 {
		e.loose--
		b.write(u, ch.field)
	}
	if len(u.head.endpoint(ch.endpoint).lanes) > 0 {
		b.retime(u, ch.endpoint)
	}
	b.close(u, ch, domain.StateDropped, at)
}

// underWay reports whether a change is in a request on its way.
func (st *state) underWay(endpoint domain.Endpoint, user string, id domain.ID) bool {
	p := st.inFlight[leaseKey{endpoint, user}]
	return st.isInFlight(endpoint, user, id) || p != nil && p.queued.id == id
}
