package store

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"
)

// The guard. An audience edited, emptied or broken upstream sends thousands of exits at once, and each
// of them is a campaign stopped or started. So an audience is watched in windows, one after the other
// by receipt: when more of its members left in one than the rules allow, its exits are held, those
// that wait already included, until an operator releases or discards them. Enters go on, and cancel
// the held exit of the same user.
//
// Exits that waited when it tripped may be very many, so they are held some at a time, behind the
// batches, in the order of the locator (sweep). Until that is done, whoever is touched or taken is
// held first, so that when the sweep comes by makes no difference.

// Guard is when an audience's exits are held. The zero value never does.
type Guard struct {
	Share  float64       `json:"share"` // hold when more than this share of the members leaves; 0: off …
	Count  uint64        `json:"count"` // … and at least this many …
	Window time.Duration `json:"window"`
}

// exitWatch is what the guard keeps of an audience.
type exitWatch struct {
	since   time.Time // when the window began, by receipt; zero before the first
	seq     uint64    // number of the record that it began with
	members uint64    // at its start
	left    uint64    // who left in it and has not come back
	tripped time.Time // zero while exits go
	until   uint64    // number of the record that tripped it
	swept   []byte    // sweep: key of the locator where to go on; nil when none is under way
}

const reasonMassExit = "mass_exit"

func (w *exitWatch) encode(buf []byte) []byte {
	buf = putUint(putTime(buf, w.since), w.seq)
	buf = putUint(putUint(buf, w.members), w.left)
	return putBytes(putUint(putTime(buf, w.tripped), w.until), w.swept)
}

func (r *reader) watch() (w exitWatch) {
	w.since, w.seq = r.time(), r.uint()
	w.members, w.left = r.uint(), r.uint()
	w.tripped, w.until = r.time(), r.uint()
	w.swept = nilIfEmpty(bytes.Clone(r.bytes()))
	return w
}

func (r *Rules) guards(p *Policy) bool {
	return r.Guard.Share > 0 && r.Guard.Window > 0 && !p.Unguarded && p.Send != SendNone
}

// openWindow sees to it that the record being applied falls into f's window.
func (b *batch) openWindow(f *field, c *cause) {
	w, length := &f.watch, b.st.rules.Guard.Window
	at := c.event.Received
	switch {
	case !w.tripped.IsZero():
		return // until somebody decides
	case w.since.IsZero():
		*w = exitWatch{since: at}
	case at.Before(w.since.Add(-length)): // the clock was set back: else this window would last for as long
		*w = exitWatch{since: at}
	case at.Sub(w.since) < length:
		return
	default:
		*w = exitWatch{since: w.since.Add(at.Sub(w.since) / length * length)}
	}
	w.seq, w.members = c.seq, f.members
	b.touch(f)
}

// watchMember counts who leaves and who comes back. leftAt is the record that had the user leave, 0
// if he was in.
func (b *batch) watchMember(f *field, was, is bool, leftAt uint64, c *cause) {
	w, g := &f.watch, &b.st.rules.Guard
	switch {
	case was && !is:
		w.left++
	case !was && is && leftAt >= w.seq && w.left > 0:
		w.left--
	default:
		return
	}
	b.touch(f)
	if is || !w.tripped.IsZero() || w.members == 0 || w.left < g.Count || float64(w.left) <= g.Share*float64(w.members) {
		return
	}
	w.tripped, w.until, w.swept = c.event.Received, c.seq, idKey(ID{Seq: w.seq})
	b.st.sweeping = append(b.st.sweeping, f)
	b.log.Warn("too many members left an audience at once: its exits are held until you release or discard them",
		"computation", f.key, "id", f.id, "left", w.left, "members", w.members, "since", w.since)
}

// leftAt returns the number of the record that had a user leave, 0 of a member.
func (e *entry) leftAt() (seq uint64) {
	for _, s := range e.kept {
		if s != nil && !s.in() && (seq == 0 || s.seq < seq) {
			seq = s.seq
		}
	}
	return seq
}

// withholds reports whether a transition of f is not to leave for now.
func (b *batch) withholds(f *field, p *Policy, c *cause, t Transition) bool {
	return t == TransitionExit && !b.st.registry.speaker(f).watch.tripped.IsZero() && !c.unguarded && b.st.rules.guards(p)
}

// holdExit keeps an exit until an operator decides. e is nil for one that stands in the queue.
func (b *batch) holdExit(u *user, f *field, ch *stored, e *entry) {
	ch.Reason = reasonMassExit
	ch.Sentence = "too many members left this audience at once: release or discard its exits"
	b.hold(u, f, ch, e)
}

// holdWaiting holds the exits of f that wait for a user since the window began, those in a request
// under way excepted, and those in the queue behind which his return waits already: held, they would
// leave after it, and MoEngage would take a member for one who left.
func (b *batch) holdWaiting(u *user, f *field) {
	for _, x := range b.st.registry.voices(f) {
		e := b.entry(u, x.number)
		if t := e.waiting; t.pending() && t.transition == TransitionExit && t.id.Seq >= f.watch.seq && !b.st.flying(x.road(), u.id, t.id) {
			ch := b.change(u, x, &t)
			b.settlePending(u, x, &t)
			b.holdExit(u, x, ch, e)
			b.write(u, x.number)
		}
	}
	queued := b.queuedOf(u, f)
	back := lastEnters(queued)
	for _, ch := range queued {
		if ch.Transition != TransitionExit || ch.ID.Seq < f.watch.seq || ch.ID.Seq < back[ch.loose] || b.st.underWay(ch.road, u.id, ch.ID) {
			continue
		}
		b.leaveQueue(u, ch.road, ch.lane, ch.ID)
		b.st.ledger.changes.Pending--
		b.looseLess(u, ch)
		b.holdExit(u, f, ch, nil)
	}
}

// queuedOf returns what waits for a user in the queue and is of f.
func (b *batch) queuedOf(u *user, f *field) (list []*stored) {
	for _, key := range keysWithPrefix(b.queue, u.key) {
		if ch := b.fetchQueued(key); ch != nil && ch.field == f.number {
			list = append(list, ch)
		}
	}
	return list
}

// lastEnters returns the number of the record of the last enter among changes of one user and audience,
// of what is loose and of events.
func lastEnters(changes []*stored) map[bool]uint64 {
	seqs := make(map[bool]uint64, 2)
	for _, ch := range changes {
		if ch.Transition == TransitionEnter {
			seqs[ch.loose] = max(seqs[ch.loose], ch.ID.Seq)
		}
	}
	return seqs
}

// looseLess counts an attribute that leaves the queue.
func (b *batch) looseLess(u *user, ch *stored) {
	if e := b.entry(u, ch.field); ch.loose && e.loose > 0 {
		e.loose--
		b.write(u, ch.field)
	}
}

// holdSwept holds what a sweep under way would hold of a user.
func (b *batch) holdSwept(u *user) {
	for _, f := range b.st.sweeping {
		b.holdWaiting(u, f)
	}
}

// sweepSlice is how many changes one transaction of a sweep looks at.
const sweepSlice = 2000

// sweep goes on with the first sweep under way.
func (b *batch) sweep() {
	if len(b.st.sweeping) == 0 {
		return
	}
	f := b.st.sweeping[0]
	var spots []sweepSpot
	c := b.locator.Cursor()
	k, at := c.Seek(f.watch.swept)
	for ; len(k) == 10 && binary.BigEndian.Uint64(k) <= f.watch.until && len(spots) < sweepSlice; k, at = c.Next() {
		spots = append(spots, sweepSpot{bytes.Clone(k), bytes.Clone(at)})
	}
	for _, s := range spots {
		if len(s.at) >= 5 && b.concerns(f, s) {
			b.holdWaiting(b.user(string(s.at[5:])), f)
		}
	}
	b.touch(f)
	if len(spots) == sweepSlice {
		f.watch.swept = bytes.Clone(k)
	}
	if len(spots) < sweepSlice || f.watch.swept == nil {
		b.endSweep(f)
	}
}

type sweepSpot struct{ id, at []byte }

// concerns reports whether an entry of the locator may be an exit of f.
func (b *batch) concerns(f *field, s sweepSpot) bool {
	number := binary.BigEndian.Uint32(s.at[1:])
	if s.at[0] == locatedInRow {
		x := b.fieldOf(number)
		return x != nil && b.st.registry.speaker(x) == f
	}
	ch := b.fetchQueued(queueKey(userKey(string(s.at[5:])), number, idFromKey(s.id, b.st.epoch)))
	return ch != nil && ch.field == f.number
}

func (b *batch) endSweep(f *field) {
	f.watch.swept = nil
	b.st.sweeping = slices.DeleteFunc(b.st.sweeping, func(x *field) bool { return x == f })
}

// cancelHeld closes the exits of f that the guard holds for a user who is a member again, on the
// channels of a state, and reports on which there were any.
func (b *batch) cancelHeld(u *user, f *field, en *entry, sort int) (attribute, event bool) {
	if f.held == 0 {
		return false, false
	}
	if en.waiting.place == placeHeld && sort != keptTrack {
		if ch := b.fetch(b.held, idKey(en.waiting.id)); ch != nil && ch.Reason == reasonMassExit {
			attribute = true
			b.cancelWaiting(u, f, en)
		}
	}
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.key), laneHeld)
	for _, key := range keysWithPrefix(b.queue, prefix) {
		ch := b.fetch(b.held, key[len(prefix):])
		if ch == nil || ch.field != f.number || ch.Reason != reasonMassExit || ch.loose && sort == keptTrack || !ch.loose && sort == keptIdentify {
			continue
		}
		attribute, event = attribute || ch.loose, event || !ch.loose
		b.withdraw(ch)
		b.remove(b.queue, key)
		b.close(u, ch, StateCancelled, b.now)
	}
	return attribute, event
}

// decide ends what the guard holds of f: what was held is let go or given up by the orders that
// follow, and a new window begins.
func (b *batch) decide(f *field, c *cause, o *order) {
	b.endSweep(f)
	f.watch = exitWatch{since: o.received, seq: c.seq, members: f.members}
	b.touch(f)
}

// letGo releases or discards one exit that was held.
func (b *batch) letGo(f *field, p *Policy, c *cause, id ID, discard bool) {
	ch := b.fetch(b.held, idKey(id))
	if ch == nil || ch.Reason != reasonMassExit {
		return
	}
	x := b.fieldOf(ch.field)
	if x == nil || b.st.registry.speaker(x) != f {
		return
	}
	u := b.user(ch.User)
	b.withdraw(ch)
	if !discard {
		b.release(u, x, p, ch, b.now)
		return
	}
	e := b.entry(u, x.number)
	if e.waiting.id == id {
		e.waiting = ticket{}
		b.write(u, x.number)
	} else {
		b.remove(b.queue, queueKey(u.key, laneHeld, id))
	}
	b.close(u, ch, StateDropped, b.now)
	en := b.entry(u, f.number)
	b.readmit(u, f, en, id.Seq)
	if en.newest().in() && p.tells(x) && ch.Kind != KindEvent && !e.told.is(jsonTrue) && e.waiting.id.IsZero() {
		c.event = &Event{Received: b.now, Time: time.Unix(0, en.newest().time), Class: f.class, MessageID: orderDiscard.String()}
		b.wantAttribute(u, x, p, e, c, TransitionEnter, jsonTrue) // the exit had taken the place of an enter
	}
}

// tells reports whether a computation's membership is told by x: its own field or a channel.
func (p *Policy) tells(x *field) bool {
	switch x.kind() {
	case KindCohort:
		return p.Send.Has(SendCohort)
	case KindList:
		return p.Send.Has(SendList)
	}
	return p.sendsAttributes()
}

// readmit makes a user a member again who left by the record seq. The event time stays, but for a
// nanosecond: at the same moment an exit beats an enter, and the exit may be delivered again.
func (b *batch) readmit(u *user, f *field, en *entry, seq uint64) {
	was := en.newest().in()
	for _, s := range en.kept {
		if s != nil && !s.in() && s.seq == seq {
			s.value, s.time = jsonTrue, s.time+1
			s.since = s.time
		}
	}
	b.write(u, f.number)
	if !was && en.newest().in() {
		f.members++
		f.exited--
		f.watch.members++
		b.touch(f)
	}
}
