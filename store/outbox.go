package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"

	bolt "go.etcd.io/bbolt"
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

// cause is the inbox record that brings changes about, and gives them their ids.
type cause struct {
	seq   uint64
	slots uint16
	event *domain.Event

	unguarded bool      // an operator has decided: its exits are not held; see domain.ByOperator
	parked    domain.ID // the event was parked under this id and is read again; zero otherwise
}

// parkedAs is the id under which the event is parked if it cannot be used: that of its record, unless it has one.
func (c *cause) parkedAs(epoch epochs) domain.ID {
	if c.parked.IsZero() {
		return domain.ID{Epoch: epoch.of(c.seq), Seq: c.seq}
	}
	return c.parked
}

// maxSlots is how many changes one record can bring about: their ids have 16 bits for it.
var maxSlots = 1<<16 - 1 // tests make it small

// room is how many changes the record can still bring about.
func (c *cause) room() int { return maxSlots - int(c.slots) }

// changesOfUser is how many changes an order makes of one user, those aside that tell cohorts again: the
// attribute, the event, the cohort and the entry of the list.
const changesOfUser = 4

// perRecord is how many users one record of an order may be about, at most most: each may have all of their
// cohorts told again (repeatCohorts). Half of the slots stay free, for cohorts that appear before the record
// is applied.
func (r *registry) perRecord(most int) int {
	return max(1, min(most, maxSlots/2/(changesOfUser+len(r.cohorts))))
}

func (c *cause) next(epoch epochs) domain.ID {
	id := domain.ID{Epoch: epoch.of(c.seq), Seq: c.seq, Slot: c.slots}
	c.slots++
	return id
}

// sendTime is the time MoEngage is told: it refuses events from the future. A time that the door
// believed although it is far ahead of the receipt is not: there the clock is behind, or was set back.
func sendTime(e *domain.Event) time.Time {
	ahead := e.Time.Sub(e.Received)
	if ahead > -time.Second && ahead <= domain.MaxAhead {
		return e.Received.Add(-time.Second)
	}
	return e.Time
}

// draft begins a change of user u about field f.
func (b *batch) draft(u *user, f *field, p *domain.Policy, c *cause, kind domain.Kind, t domain.Transition) *stored {
	ch := &stored{
		Change: domain.Change{
			ID: c.next(b.st.epochs), Kind: kind, User: u.id, Transition: t,
			EventTime: sendTime(c.event), Received: c.event.Received, MessageID: c.event.MessageID,
			State: domain.StatePending,
		},
		endpoint: domain.EndpointTransition,
	}
	ch.about(f)
	if kind == domain.KindCohort {
		ch.endpoint = domain.EndpointCohort
	}
	ch.lane = b.laneOf(u, f, p.Job, t)
	return ch
}

// about says which field a change speaks of.
func (c *stored) about(f *field) {
	c.field, c.Computation, c.ComputedBy, c.Column, c.Class = f.number, f.key, f.id, f.sqlColumn(), f.class
}

func second(t time.Time) uint32 { return uint32(t.Unix()) }

// wantAttribute makes a change of the attribute, or the channel, that should become want. One that
// already waits gives way to it; and when MoEngage knows the value already, or never heard of an
// audience the user is not in, no net change remains and nothing will be sent. A cohort and a list
// collapse whatever the policy says: to add and remove in turn tells nobody anything.
func (b *batch) wantAttribute(u *user, f *field, p *domain.Policy, e *entry, c *cause, t domain.Transition, want []byte) {
	ch := b.draft(u, f, p, c, f.kind(), t)
	ch.Name, ch.Value = f.attribute(p), bytes.Clone(want)
	b.st.ledger.changes.Created++
	switch {
	case b.st.registry.conflicted(f, p, &b.st.rules):
		b.supersede(u, f, e, ch.ID)
		b.holdConflict(u, f, ch, e)
		return
	case b.withholds(f, p, c, t):
		b.supersede(u, f, e, ch.ID)
		b.holdExit(u, f, ch, e)
		return
	}
	if ch.Kind == domain.KindAttribute && (!p.Collapse || e.loose > 0) { // what was queued before collapse was turned on goes first
		ch.loose = true
		e.loose++
		b.enqueue(u, ch)
		return
	}
	parked := b.supersede(u, f, e, ch.ID)
	if e.inFlight.id.IsZero() && needless(e, ch.Transition, ch.Value, p.UnknownExit) {
		b.locate(ch)
		b.close(u, ch, domain.StateCancelled, c.event.Received)
		return
	}
	b.await(u, e, ch)
	if parked != nil {
		b.repeatCohorts(c, parked)
	}
}

// needless reports whether MoEngage needs no telling.
func needless(e *entry, t domain.Transition, value []byte, unknownExit bool) bool {
	if e.lastSent.kind == neverSent {
		return t == domain.TransitionExit && !unknownExit || bytes.Equal(value, domain.JSONNull)
	}
	return e.lastSent.is(value)
}

// await has an attribute change wait in its row.
func (b *batch) await(u *user, e *entry, ch *stored) {
	b.st.ledger.changes.Pending++
	b.locate(ch)
	e.waiting = ticket{
		id: ch.ID, transition: ch.Transition, lane: ch.lane, due: second(ch.Received),
		value: ch.Value, name: ch.Name, time: ch.EventTime.UnixNano(), received: ch.Received.UnixNano(), message: ch.MessageID,
	}
	u.head.setPending(ch.field, true)
	u.head.endpoint(ch.endpoint).add(ch.lane, e.waiting.due)
	if ch.endpoint == domain.EndpointCohort {
		u.head.setAside(e.waiting.due)
	}
	u.dirty = true
}

// change makes the change that a pending ticket stands for.
func (b *batch) change(u *user, f *field, t *ticket) *stored {
	ch := b.made(u, f, t)
	return &ch
}

// made is change for whoever is done with it at once: it takes no memory of its own.
func (b *batch) made(u *user, f *field, t *ticket) stored {
	ch := stored{
		Change: domain.Change{
			ID: t.id, Kind: f.kind(), User: u.id, Transition: t.transition, Name: t.name, Value: t.value,
			EventTime: time.Unix(0, t.time).UTC(), Received: time.Unix(0, t.received).UTC(), MessageID: t.message, State: domain.StatePending,
		},
		lane: t.lane, endpoint: f.endpoint(),
	}
	ch.about(f)
	if t.trouble != nil {
		ch.Attempts, ch.Alone, ch.NextAttempt = t.trouble.attempts, t.trouble.alone, t.trouble.next
		ch.Reason, ch.Sentence, ch.Answer = t.trouble.reason, t.trouble.sentence, t.trouble.answer
	}
	return ch
}

// enqueue puts an event, or a loose attribute, behind the user's others.
func (b *batch) enqueue(u *user, ch *stored) {
	ch.State = domain.StatePending
	b.st.ledger.changes.Pending++
	due := second(ch.Received)
	if ch.loose {
		due = b.lineUp(u, ch)
	}
	b.locate(ch)
	b.put(b.queue, queueKey(u.key, ch.lane, ch.ID), b.queueValue(due, ch))
	u.head.endpoint(ch.endpoint).add(ch.lane, due)
	u.dirty = true
}

// lineUp has a loose attribute wait for the schedule by which the user's other values of it wait, and returns when
// it is due: not before the older ones, and not after the newer ones. MoEngage keeps the value that is sent last, so
// a new schedule or a clock that was set back must not let one overtake another.
func (b *batch) lineUp(u *user, ch *stored) (due uint32) {
	e, least, most := b.entry(u, ch.field), second(ch.Received), notYet
	if t := &e.waiting; t.pending() { // since before collapse was turned off
		ch.lane, least = sameJob(ch.lane, t.lane), max(least, t.due)
	}
	if e.loose == 1 {
		return least // it is the only one
	}
	for _, l := range u.head.endpoint(ch.endpoint).lanes {
		older, newer := b.neighbours(u, ch, l.number)
		if older != 0 || newer != notYet {
			ch.lane = sameJob(ch.lane, l.number)
		}
		least, most = max(least, older), min(most, newer)
	}
	return min(least, most)
}

// neighbours returns when the next older and the next newer queued value of an attribute in a lane are due, 0 and
// notYet when there is none.
func (b *batch) neighbours(u *user, ch *stored, lane uint32) (older, newer uint32) {
	c, at := b.queue.Cursor(), queueKey(u.key, lane, ch.ID)
	prefix := at[:len(u.key)+4]
	due := func(k, v []byte, step func() (k, v []byte)) (uint32, bool) {
		for ; bytes.HasPrefix(k, prefix); k, v = step() {
			due, _, frame := parseQueueValue(v)
			if x := b.decode(frame); x != nil && x.loose && x.field == ch.field {
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
		newer = notYet
	}
	if k != nil {
		c.Seek(at)
	}
	k, v = before()
	older, _ = due(k, v, c.Prev)
	return older, newer
}

// A queue entry is when it is due, whether an attempt at it failed, and the change itself; of a change
// that is parked or held, nothing.
func (b *batch) queueValue(due uint32, ch *stored) []byte {
	return b.frame(func(buf []byte) []byte {
		buf = binary.BigEndian.AppendUint32(buf, due)
		return ch.encode(append(buf, boolByte(ch.Attempts > 0)))
	})
}

func parseQueueValue(v []byte) (due uint32, tried bool, frame []byte) {
	if len(v) < 5 {
		return 0, false, nil
	}
	return binary.BigEndian.Uint32(v), v[4] == 1, v[5:]
}

// locate notes whose a change is, for whoever asks by its id.
func (b *batch) locate(ch *stored) {
	place, number := locatedInQueue, ch.lane
	if ch.inRow() {
		place, number = locatedInRow, ch.field
	}
	b.put(b.locator, idKey(ch.ID), b.frame(func(buf []byte) []byte {
		return append(binary.BigEndian.AppendUint32(append(buf, place), number), ch.User...)
	}))
}

// Where the locator says that a pending change is. Numbers are on disk.
const (
	locatedInRow   byte = 1 // followed by the field
	locatedInQueue byte = 2 // followed by the lane
)

// holdConflict keeps a change whose name is another computation's. e is nil for an event.
func (b *batch) holdConflict(u *user, f *field, ch *stored, e *entry) {
	ch.Reason = reasonConflict
	p := b.st.rules.For(f.key, f.id)
	ch.Sentence = b.st.registry.conflictSentence(f, &p, &b.st.rules)
	if f.held == 0 {
		b.log.Warn("two computations send to one name; the later one's changes are held", "computation", f.key, "id", f.id, "column", f.sqlColumn(),
			"name", domain.SentName(f.kind(), f.attribute(&p)), "why", ch.Sentence)
	}
	b.hold(u, f, ch, e)
}

const reasonConflict = "key_conflict"

// hold keeps a change until an operator decides. e is nil for an event.
func (b *batch) hold(u *user, f *field, ch *stored, e *entry) {
	ch.State = domain.StateHeld
	b.st.ledger.changes.Held++
	f.held++
	b.touch(f)
	b.locate(ch)
	b.put(b.held, idKey(ch.ID), b.frame(ch.encode))
	if e != nil {
		e.waiting = ticket{id: ch.ID, place: placeHeld, transition: ch.Transition}
		return
	}
	b.put(b.queue, queueKey(u.key, laneHeld, ch.ID), nil)
}

// releaseConflicts lets go of what was held for a name that is nobody else's any more.
func (b *batch) releaseConflicts() {
	for _, key := range keysWithPrefix(b.held, nil) {
		ch := b.fetch(b.held, key)
		if ch == nil || ch.Reason != reasonConflict {
			continue
		}
		f := b.fieldOf(ch.field)
		p := b.st.rules.For(f.key, f.id)
		if b.st.registry.conflicted(f, &p, &b.st.rules) {
			continue
		}
		b.withdraw(ch)
		b.release(b.user(ch.User), f, &p, ch, ch.Received) // rules bear no time
	}
}

// release has a change that was held wait like any other, unless MoEngage needs no telling by now.
func (b *batch) release(u *user, f *field, p *domain.Policy, ch *stored, at time.Time) {
	ch.Reason, ch.Sentence = "", ""
	ch.lane = b.laneOf(u, f, p.Job, ch.Transition)
	e := b.entry(u, f.number)
	if ch.inRow() && ch.Kind == domain.KindAttribute && e.loose > 0 { // behind what is queued, which was said before it
		e.waiting, ch.loose = ticket{}, true
	}
	if ch.inRow() {
		b.write(u, f.number)
		if e.inFlight.id.IsZero() && needless(e, ch.Transition, ch.Value, p.UnknownExit) {
			e.waiting = ticket{}
			b.close(u, ch, domain.StateCancelled, at)
			return
		}
		ch.Name, ch.State = f.attribute(p), domain.StatePending
		b.await(u, e, ch)
		return
	}
	if ch.loose {
		e.loose++
		b.write(u, f.number)
	}
	b.remove(b.queue, queueKey(u.key, laneHeld, ch.ID))
	b.enqueue(u, ch)
}

// supersede closes whatever attribute change waits in e, because successor takes its place. One that
// is in a request under way stays until the answer comes. One that was parked is returned.
func (b *batch) supersede(u *user, f *field, e *entry, successor domain.ID) (parked *stored) {
	t := e.waiting
	e.waiting = ticket{}
	switch {
	case t.id.IsZero():
		return nil
	case t.pending() && b.st.isInFlight(f.endpoint(), u.id, t.id):
		e.inFlight = t
		u.head.setPending(f.number, false)
		u.dirty = true // the successor may be held, and not touch the head
		return nil
	case t.pending():
		b.settlePending(u, f, &t)
	}
	ch := b.changeAt(u, f, &t)
	if ch == nil {
		return nil
	}
	ch.Successor = successor
	if !t.pending() {
		b.withdraw(ch)
	}
	b.close(u, ch, domain.StateSuperseded, b.now)
	if t.place == placeParked {
		return ch
	}
	return nil
}

// settlePending takes an attribute change out of what waits.
func (b *batch) settlePending(u *user, f *field, t *ticket) {
	b.st.ledger.changes.Pending--
	u.head.setPending(f.number, false)
	u.head.endpoint(f.endpoint()).remove(t.lane)
	u.dirty = true
}

// changeAt returns the change of a ticket, wherever it is; nil when damage took it.
func (b *batch) changeAt(u *user, f *field, t *ticket) *stored {
	switch t.place {
	case placeParked:
		return b.fetch(b.parked, idKey(t.id))
	case placeHeld:
		return b.fetch(b.held, idKey(t.id))
	default:
		return b.change(u, f, t)
	}
}

// fetch reads a change from parked, held or history; nil when it is gone or damaged.
func (b *batch) fetch(from *bolt.Bucket, key []byte) *stored {
	return b.decode(from.Get(key))
}

// fetchQueued reads an event from its user's queue.
func (b *batch) fetchQueued(key []byte) *stored {
	_, _, frame := parseQueueValue(b.queue.Get(key))
	return b.decode(frame)
}

func (b *batch) decode(frame []byte) *stored {
	if frame == nil {
		return nil
	}
	ch, err := decodeChange(frame, b.st.epochs)
	if errors.Is(err, wire.ErrNewer) {
		b.meetNewer("a change")
		return nil
	}
	if err != nil {
		b.log.Error("a damaged change is passed over: start the agent again, which then reads the files and saves what can be saved", "err", err)
		b.aside = true
		return nil
	}
	return ch
}

// withdraw takes a change out of the parked or the held; the ledger follows.
func (b *batch) withdraw(ch *stored) {
	if ch.State == domain.StateParked {
		b.remove(b.parked, idKey(ch.ID))
	} else {
		b.remove(b.held, idKey(ch.ID))
		if f := b.fieldOf(ch.field); f != nil && f.held > 0 {
			f.held--
			b.touch(f)
		}
	}
	if ch.Kind == domain.KindReceived {
		b.st.ledger.events.Parked--
		return
	}
	*b.st.ledger.changes.Column(ch.State)--
}

func (b *batch) fieldOf(number uint32) *field {
	if int64(number) < int64(len(b.st.registry.fields)) {
		return b.st.registry.fields[number]
	}
	return nil
}

// close writes a change that waits nowhere any more to the end of the history, which is the head of
// its user's chain.
func (b *batch) close(u *user, ch *stored, s domain.State, at time.Time) {
	ch.State, ch.Closed = s, at
	ch.NextAttempt = time.Time{}
	ch.prev = u.head.history
	b.st.closed++
	u.head.history = b.st.closed
	u.dirty = true
	*b.st.ledger.changes.Column(s)++
	b.put(b.history, numberKey(b.st.closed), b.frame(ch.encode))
}

// parkEvent keeps an event that cannot be used, with its bytes, under the user it names if any.
func (b *batch) parkEvent(id domain.ID, frame []byte, e *domain.Event, userID, reason, sentence string) {
	ch := &stored{
		Change: domain.Change{
			ID: id, Kind: domain.KindReceived, State: domain.StateParked, User: userID,
			Computation: e.Key, ComputedBy: e.ComputationID, Class: e.Class, Name: e.Name,
			EventTime: e.Time, Received: e.Received, MessageID: e.MessageID, Reason: reason, Sentence: sentence,
		},
		field: fieldNone,
		raw:   frame,
	}
	b.put(b.parked, idKey(ch.ID), ch.encode(nil))
	b.parkedNow(ch)
	if userID != "" && len(userID) <= domain.MaxUserID {
		b.put(b.queue, queueKey(userKey(userID), laneParked, ch.ID), nil)
	}
}
