package store

import (
	"bytes"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The outbox holds every change that waits, keyed by id; parked, held and history hold those that do
// not, in the same encoding. What points at a waiting change:
//
//	an attribute   the ticket in its row, and the head's bits
//	an event       the user's queue, by lane and id
//
// and the due index points at the user. So taking what is due reads users, never scans changes.

// cause is the inbox record that brings changes about, and gives them their ids.
type cause struct {
	seq   uint64
	slots uint16
	event *Event
}

func (c *cause) next(epoch uint32) ID {
	id := ID{Epoch: epoch, Seq: c.seq, Slot: c.slots}
	c.slots++
	return id
}

// sendTime is the time MoEngage is told: it refuses events from the future.
func sendTime(e *Event) time.Time {
	if latest := e.Received.Add(-time.Second); e.Time.After(latest) {
		return latest
	}
	return e.Time
}

// draft begins a change of user u about field f.
func (b *batch) draft(u *user, f *field, p *Policy, c *cause, kind Kind, t Transition) *stored {
	return &stored{
		Change: Change{
			ID: c.next(b.st.epoch), Kind: kind, User: u.id,
			Computation: f.key, ComputedBy: f.id, Column: f.column, Class: f.class, Transition: t,
			EventTime: sendTime(c.event), Received: c.event.Received, MessageID: c.event.MessageID,
			State: StatePending,
		},
		field: f.number, lane: b.lane(p.Job), road: RoadTransition,
	}
}

// lane returns the number of a job, giving it one on first sight.
func (b *batch) lane(job string) uint32 {
	for n, name := range b.st.jobs {
		if name == job {
			return uint32(n)
		}
	}
	n := uint32(len(b.st.jobs))
	b.st.jobs = append(b.st.jobs, job)
	b.put(b.tx.Bucket(bucketJobs), binary.BigEndian.AppendUint32(nil, n), []byte(job))
	return n
}

func second(t time.Time) uint32 { return uint32(t.Unix()) }

// wantAttribute makes a change of the attribute that should become want. An attribute that already
// waits gives way to it; and when MoEngage knows the value already, or never heard of an audience the
// user is not in, no net change remains and nothing will be sent.
func (b *batch) wantAttribute(u *user, f *field, p *Policy, e *entry, c *cause, t Transition, want []byte) {
	ch := b.draft(u, f, p, c, KindAttribute, t)
	ch.Name, ch.Value = f.attribute(p), bytes.Clone(want)
	b.st.ledger.changes.Created++
	if b.st.registry.conflicted(f, p) {
		b.supersede(u, e, ch.ID)
		b.hold(u, f, ch, e)
		return
	}
	if !p.Collapse {
		ch.loose = true
		b.enqueue(u, ch)
		return
	}
	b.supersede(u, e, ch.ID)
	if e.flying.id.IsZero() && needless(e, ch, p.UnknownExit) {
		b.close(u, ch, StateCancelled, c.event.Received)
		return
	}
	b.await(u, e, ch)
}

// needless reports whether MoEngage needs no telling.
func needless(e *entry, ch *stored, unknownExit bool) bool {
	if e.told.kind == toldNever {
		return ch.Transition == TransitionExit && !unknownExit || bytes.Equal(ch.Value, jsonNull)
	}
	return e.told.is(ch.Value)
}

// await puts an attribute change in the outbox, with its ticket in the row.
func (b *batch) await(u *user, e *entry, ch *stored) {
	ch.State = StatePending
	b.st.ledger.changes.Pending++
	b.put(b.outbox, idKey(ch.ID), ch.encode(nil))
	e.waiting = ticket{id: ch.ID, lane: ch.lane, due: second(ch.Received)}
	u.head.setPending(ch.field, true)
	u.head.road(ch.road).add(ch.lane, e.waiting.due)
	u.dirty = true
}

// enqueue puts an event, or a loose attribute, behind the user's others.
func (b *batch) enqueue(u *user, ch *stored) {
	ch.State = StatePending
	b.st.ledger.changes.Pending++
	b.put(b.outbox, idKey(ch.ID), ch.encode(nil))
	due := second(ch.Received)
	b.put(b.queue, queueKey(u.key, ch.lane, ch.ID), queueValue(due, false))
	u.head.road(ch.road).add(ch.lane, due)
	u.dirty = true
}

// A queue entry says when it is due, and whether an attempt at it failed.
func queueValue(due uint32, tried bool) []byte {
	return append(binary.BigEndian.AppendUint32(nil, due), boolByte(tried))
}

func parseQueueValue(v []byte) (due uint32, tried bool) {
	if len(v) != 5 {
		return 0, false
	}
	return binary.BigEndian.Uint32(v), v[4] == 1
}

// hold keeps a change until an operator decides. e is nil for an event.
func (b *batch) hold(u *user, f *field, ch *stored, e *entry) {
	ch.State, ch.Reason = StateHeld, "key_conflict"
	ch.Sentence = "another computation sends to this attribute already: name them apart in the config"
	b.st.ledger.changes.Held++
	f.held++
	b.touch(f)
	b.put(b.held, idKey(ch.ID), ch.encode(nil))
	if e != nil {
		e.waiting = ticket{id: ch.ID, lane: ch.lane, due: second(ch.Received), place: placeHeld}
		return
	}
	b.put(b.queue, queueKey(u.key, laneHeld, ch.ID), queueValue(0, false))
}

// releaseConflicts lets go of what was held for a name that is nobody else's any more.
func (b *batch) releaseConflicts() {
	for _, key := range keysWithPrefix(b.held, nil) {
		ch := b.fetch(b.held, idFromKey(key, b.st.epoch))
		if ch == nil || ch.Reason != "key_conflict" {
			continue
		}
		f := b.fieldOf(ch.field)
		p := b.st.rules.For(f.key, f.id)
		if b.st.registry.conflicted(f, &p) {
			continue
		}
		b.withdraw(ch)
		b.release(b.user(ch.User), f, &p, ch)
	}
}

// release puts a change that was held into the outbox.
func (b *batch) release(u *user, f *field, p *Policy, ch *stored) {
	ch.Reason, ch.Sentence = "", ""
	if ch.Kind == KindAttribute && !ch.loose {
		ch.Name = f.attribute(p)
		b.await(u, b.entry(u, f.number), ch)
		b.write(u, f.number)
		return
	}
	b.remove(b.queue, queueKey(u.key, laneHeld, ch.ID))
	b.enqueue(u, ch)
}

// supersede closes whatever attribute change waits in e, because successor takes its place.
func (b *batch) supersede(u *user, e *entry, successor ID) {
	t := e.waiting
	if t.id.IsZero() {
		return
	}
	ch := b.fetch(b.placeOf(t.place), t.id)
	e.waiting = ticket{}
	if t.place == placeOutbox && ch != nil {
		u.head.setPending(ch.field, false)
		u.head.road(ch.road).remove(t.lane)
		u.dirty = true
	}
	if ch == nil {
		return
	}
	ch.Successor = successor
	b.withdraw(ch)
	b.close(u, ch, StateSuperseded, b.now)
}

func (b *batch) placeOf(place byte) *bolt.Bucket {
	switch place {
	case placeParked:
		return b.parked
	case placeHeld:
		return b.held
	default:
		return b.outbox
	}
}

// fetch reads a change, or nil when it is gone or damaged (then it is set aside).
func (b *batch) fetch(from *bolt.Bucket, id ID) *stored {
	frame := from.Get(idKey(id))
	if frame == nil {
		return nil
	}
	ch, err := decodeChange(id, frame)
	if err != nil {
		b.log.Error("a damaged change was set aside", "id", id.String(), "err", err)
		return nil
	}
	return ch
}

// withdraw takes a change out of where it waits; the ledger follows.
func (b *batch) withdraw(ch *stored) {
	switch ch.State {
	case StateParked:
		b.remove(b.parked, idKey(ch.ID))
	case StateHeld:
		b.remove(b.held, idKey(ch.ID))
		if f := b.fieldOf(ch.field); f != nil && f.held > 0 {
			f.held--
			b.touch(f)
		}
	default:
		b.remove(b.outbox, idKey(ch.ID))
	}
	if ch.Kind == KindReceived {
		b.st.ledger.events.Parked--
		return
	}
	*b.st.ledger.changes.of(ch.State)--
}

func (b *batch) fieldOf(number uint32) *field {
	if int64(number) < int64(len(b.st.registry.fields)) {
		return b.st.registry.fields[number]
	}
	return nil
}

// close writes a change that waits nowhere any more into the history, at the head of its user's chain.
func (b *batch) close(u *user, ch *stored, s State, at time.Time) {
	ch.State, ch.Closed = s, at
	ch.NextAttempt = time.Time{}
	ch.prev = u.head.history
	u.head.history = ch.ID
	u.dirty = true
	*b.st.ledger.changes.of(s)++
	b.put(b.history, idKey(ch.ID), ch.encode(nil))
}

// parkEvent keeps an event that cannot be used, with its bytes, under the user it names if any.
func (b *batch) parkEvent(seq uint64, frame []byte, e *Event, userID, reason, sentence string) {
	ch := &stored{
		Change: Change{
			ID: ID{Epoch: b.st.epoch, Seq: seq}, Kind: KindReceived, State: StateParked, User: userID,
			Computation: e.Key, ComputedBy: e.ComputationID, Class: e.Class, Name: e.Name,
			EventTime: e.Time, Received: e.Received, MessageID: e.MessageID, Reason: reason, Sentence: sentence,
		},
		field: fieldNone,
		raw:   frame,
	}
	b.put(b.parked, idKey(ch.ID), ch.encode(nil))
	if userID != "" && len(userID) <= MaxUserID {
		b.put(b.queue, queueKey(userKey(userID), laneParked, ch.ID), queueValue(0, false))
	}
}
