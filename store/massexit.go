package store

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
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

// exitWindow is what the guard keeps of an audience.
type exitWindow struct {
	since   time.Time // when the window began, by receipt; zero before the first
	seq     uint64    // number of the record that it began with
	members uint64    // the most there were in it
	left    uint64    // who left in it and has not come back
	tripped time.Time // zero while exits go
	until   uint64    // number of the record that tripped it
	swept   []byte    // sweep: key of the locator where to go on; nil when none is under way
	undone  recordRange
}

// recordRange is the records of a window that an operator discarded, while some who left in it are not
// readmitted yet: from up to before until. The zero value is no window.
type recordRange struct{ from, until uint64 }

func (r recordRange) has(seq uint64) bool { return seq >= r.from && seq < r.until }

const reasonMassExit = "mass_exit"

func (w *exitWindow) encode(buf []byte) []byte {
	buf = wire.AppendUint(wire.AppendTime(buf, w.since), w.seq)
	buf = wire.AppendUint(wire.AppendUint(buf, w.members), w.left)
	buf = wire.AppendBytes(wire.AppendUint(wire.AppendTime(buf, w.tripped), w.until), w.swept)
	return wire.AppendUint(wire.AppendUint(buf, w.undone.from), w.undone.until)
}

func readWatch(r *wire.Reader) (w exitWindow) {
	w.since, w.seq = r.Time(), r.Uint()
	w.members, w.left = r.Uint(), r.Uint()
	w.tripped, w.until = r.Time(), r.Uint()
	w.swept = nilIfEmpty(bytes.Clone(r.Bytes()))
	return w
}

// begin starts a window.
func (w *exitWindow) begin(since time.Time, seq, members uint64) {
	*w = exitWindow{since: since, seq: seq, members: members, undone: w.undone}
}

// mayUndo reports whether a discard may make one a member again who left by the record seq. A window from
// before a time is over, unless it tripped.
func (w *exitWindow) mayUndo(seq uint64, before int64) bool {
	open := !w.tripped.IsZero() || w.since.UnixNano() >= before
	return seq != 0 && seq >= w.seq && open || w.undone.has(seq)
}

// openWindow sees to it that the record being applied falls into f's window.
func (b *batch) openWindow(f *field, c *cause) {
	w, length, at := &f.watch, b.st.rules.Guard.Window, c.event.Earliest()
	since := at
	switch {
	case !w.tripped.IsZero():
		return // until somebody decides
	case w.since.IsZero(), at.Before(w.since.Add(-length)): // the clock was set back: else this window would last for as long
	case at.Sub(w.since) < length:
		return
	default:
		since = w.since.Add(at.Sub(w.since) / length * length)
	}
	w.begin(since, c.seq, f.members)
	b.touch(f)
}

// watchMember counts who leaves and who comes back. A membership is the newest of identify and track, so
// a user counts once however many calls say it.
func (b *batch) watchMember(f *field, en *entry, was, is bool, c *cause) {
	w, g := &f.watch, &b.st.rules.Guard
	switch {
	case was && !is:
		en.left = c.seq
		w.left++
	case !was && is && en.left >= w.seq && w.left > 0:
		w.left--
	default:
		return
	}
	b.touch(f)
	if is || !w.tripped.IsZero() || w.left < g.Count || float64(w.left) <= g.Share*float64(w.members) {
		return
	}
	w.tripped, w.until, w.swept = c.event.Received, c.seq, idKey(domain.ID{Seq: w.seq})
	b.st.sweeping = append(b.st.sweeping, f)
	b.log.Warn("too many members left an audience at once: its exits are held until you release or discard them",
		"computation", f.key, "id", f.id, "left", w.left, "members", w.members, "since", w.since)
}

// withholds reports whether a transition of f is not to leave for now.
func (b *batch) withholds(f *field, p *domain.Policy, c *cause, t domain.Transition) bool {
	return t == domain.TransitionExit && !b.st.registry.speaker(f).watch.tripped.IsZero() && !c.unguarded && b.st.rules.Guards(p)
}

// holdExit keeps an exit until an operator decides. e is nil for one that stands in the queue.
func (b *batch) holdExit(u *user, f *field, ch *stored, e *entry) {
	ch.Reason = reasonMassExit
	ch.Sentence = "too many members left this audience at once: release or discard its exits"
	b.hold(u, f, ch, e)
}

// holdWaiting holds the exits of f that wait for a user since the record from, way and those that an operator decided on excepted. An exit behind which the user's return waits is not held: it would leave after the
// return, and MoEngage would take a member for one who left.
func (b *batch) holdWaiting(u *user, f *field, from uint64) {
	en := b.entry(u, f.number)
	for _, x := range b.st.registry.targetFields(f) {
		e := b.entry(u, x.number)
		t := e.waiting
		if t.pending() && t.transition == domain.TransitionExit && t.id.Seq >= from && !en.decided(t.id.Seq) && !b.st.isInFlight(x.endpoint(), u.id, t.id) {
			ch := b.change(u, x, &t)
			b.settlePending(u, x, &t)
			b.holdExit(u, x, ch, e)
			b.write(u, x.number)
		}
	}
	queued := b.queuedOf(u, f)
	back := lastEnters(queued)
	for _, ch := range queued {
		if ch.Transition != domain.TransitionExit || ch.ID.Seq < from || ch.ID.Seq < back[ch.loose] || en.decided(ch.ID.Seq) || b.st.underWay(ch.endpoint, u.id, ch.ID) {
			continue
		}
		b.leaveQueue(u, ch.endpoint, ch.lane, ch.ID)
		b.st.ledger.changes.Pending--
		b.looseLess(u, ch)
		b.holdExit(u, f, ch, nil)
	}
}

// decided reports whether the record seq made the user leave because an operator decided so.
func (e *entry) decided(seq uint64) bool {
	return slices.ContainsFunc(e.kept[:], func(s *domain.Assertion) bool {
		return s != nil && !s.IsIn() && s.Seq == seq && s.Message == domain.ByOperator
	})
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
		if ch.Transition == domain.TransitionEnter {
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
		b.holdWaiting(u, f, f.watch.seq)
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
			b.holdWaiting(b.user(string(s.at[5:])), f, f.watch.seq)
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
	ch := b.fetchQueued(queueKey(userKey(string(s.at[5:])), number, idFromKey(s.id, b.st.epochs)))
	return ch != nil && ch.field == f.number
}

func (b *batch) endSweep(f *field) {
	f.watch.swept = nil
	b.st.sweeping = slices.DeleteFunc(b.st.sweeping, func(x *field) bool { return x == f })
}

// cancelHeld closes the exits of f that the guard holds for a user who is a member again, on the
// targets of a state, and reports on which there were any.
func (b *batch) cancelHeld(u *user, f *field, en *entry, sort int) (attribute, event bool) {
	return b.closeHeld(u, f, en, sort, ^uint64(0), domain.StateCancelled)
}

// closeHeld closes the exits of f that the guard holds for a user since before the record until.
func (b *batch) closeHeld(u *user, f *field, en *entry, sort int, until uint64, as domain.State) (attribute, event bool) {
	if f.held == 0 {
		return false, false
	}
	if t := en.waiting; t.place == placeHeld && sort != keptTrack && t.id.Seq < until {
		if ch := b.fetch(b.held, idKey(t.id)); ch != nil && ch.Reason == reasonMassExit {
			attribute = true
			b.endHeld(u, f, en, ch, as)
		}
	}
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.key), laneHeld)
	for _, key := range keysWithPrefix(b.queue, prefix) {
		ch := b.fetch(b.held, key[len(prefix):])
		if ch == nil || ch.field != f.number || ch.Reason != reasonMassExit || ch.ID.Seq >= until ||
			ch.loose && sort == keptTrack || !ch.loose && sort == keptIdentify {
			continue
		}
		attribute, event = attribute || ch.loose, event || !ch.loose
		b.endHeld(u, f, en, ch, as)
	}
	return attribute, event
}

// endHeld closes one change of f that is held.
func (b *batch) endHeld(u *user, f *field, e *entry, ch *stored, as domain.State) {
	b.withdraw(ch)
	if e.waiting.id == ch.ID {
		e.waiting = ticket{}
		b.write(u, f.number)
	} else {
		b.remove(b.queue, queueKey(u.key, laneHeld, ch.ID))
	}
	b.close(u, ch, as, b.now)
}

// comeBack takes a user who is a member again for one by the other call, too, where the guard held the exit
// that it brought: MoEngage never heard of that exit, and the enter that may follow by that call is no news.
func (b *batch) comeBack(u *user, f *field, p *domain.Policy, en *entry, c *cause, sort int) {
	if f.held == 0 {
		return
	}
	for other, s := range en.kept {
		if other == sort || s == nil || s.IsIn() {
			continue
		}
		own := b.holdsExit(u, f, s.Seq)
		attribute, event := b.cancelHeld(u, f, en, other)
		if !own || !attribute && !event {
			continue
		}
		s.Readmit(c.seq)
		if attribute {
			b.wantMember(u, f, p, en, c)
		}
	}
}

// wantMember has a target told that a user is a member, unless what MoEngage knows once everything pending
// has left is just that.
func (b *batch) wantMember(u *user, x *field, p *domain.Policy, e *entry, c *cause) {
	if e.loose > 0 {
		last := domain.TransitionExit
		for _, ch := range b.queuedOf(u, x) {
			if ch.loose {
				last = ch.Transition
			}
		}
		if last == domain.TransitionEnter {
			return
		}
	} else if e.expects(domain.TransitionEnter, domain.JSONTrue, false) {
		return
	}
	b.wantAttribute(u, x, p, e, c, domain.TransitionEnter, domain.JSONTrue)
	b.write(u, x.number)
}

// decide ends what the guard holds of f, and begins a new window. What was held is let go or given up by
// the orders that follow. Until these have come to all who left in a discarded window, a user who is met
// first is readmitted first, so that it makes no difference when they come.
func (b *batch) decide(f *field, c *cause, o *order) {
	b.endSweep(f)
	members := f.members
	f.watch.undone = recordRange{}
	if o.verb == orderDiscard && !f.watch.tripped.IsZero() {
		f.watch.undone = recordRange{f.watch.seq, c.seq}
		members += f.watch.left // they are members in the new window, whenever the order comes to them
	}
	f.watch.begin(o.received, c.seq, members)
	b.touch(f)
}

// letGo releases or discards one exit that was held.
func (b *batch) letGo(f *field, p *domain.Policy, c *cause, id domain.ID, discard bool) {
	ch := b.fetch(b.held, idKey(id))
	if ch == nil || ch.Reason != reasonMassExit {
		return
	}
	x := b.fieldOf(ch.field)
	if x == nil || b.st.registry.speaker(x) != f {
		return
	}
	u := b.user(ch.User)
	window := f.watch.undone
	if !window.has(id.Seq) {
		window = recordRange{id.Seq, id.Seq + 1}
	}
	if discard {
		b.readmit(u, f, p, c, window)
		switch {
		case b.held.Get(idKey(id)) == nil:
			return
		case b.entry(u, f.number).newest().IsIn(): // a repeat of what one call said, or damage took what the exit was of
			b.endHeld(u, x, b.entry(u, x.number), ch, domain.StateDropped)
			return
		}
	}
	b.withdraw(ch)
	b.release(u, x, p, ch, b.now)
}

// holdsExit reports whether the guard holds an exit of a user that the record seq brought about. One of another record
// repeats what was so before, as a reconcile does: a discard lets it go, and a return is news to MoEngage all the same.
func (b *batch) holdsExit(u *user, f *field, seq uint64) bool {
	for _, x := range b.st.registry.targetFields(f) {
		if t := b.entry(u, x.number).waiting; t.place == placeHeld && t.id.Seq == seq {
			return true
		}
	}
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.key), laneHeld)
	return slices.ContainsFunc(keysWithPrefix(b.queue, prefix), func(key []byte) bool {
		ch := b.fetch(b.held, key[len(prefix):])
		return ch != nil && ch.ID.Seq == seq && ch.field == f.number
	})
}

// readmitFirst readmits a user who is met before a discard has come to them.
func (b *batch) readmitFirst(u *user, f *field, p *domain.Policy, c *cause) {
	if f.watch.undone != (recordRange{}) {
		b.readmit(u, f, p, c, f.watch.undone)
	}
}

// readmit makes a user a member of f again who left in a window that an operator discarded, on every
// target. What is held goes, what has left is corrected by the net difference, and no event is made.
func (b *batch) readmit(u *user, f *field, p *domain.Policy, c *cause, window recordRange) {
	en := b.entry(u, f.number)
	left := window.has(en.left)
	if left {
		b.holdWaiting(u, f, window.from) // an exit that came back from a request
	}
	was, found := en.newest().IsIn(), false
	for sort, s := range en.kept {
		if s == nil || s.IsIn() || s.Message == domain.ByOperator || !left && !(window.has(s.Seq) && b.holdsExit(u, f, s.Seq)) {
			continue
		}
		found = true
		b.closeHeld(u, f, en, sort, window.until, domain.StateDropped)
		s.Readmit(c.seq)
	}
	if !found {
		return
	}
	b.dropParkedExits(u, f, window)
	b.write(u, f.number)
	if en.newest().IsIn() {
		en.left = 0
		b.countReadmitted(f, was)
		for _, x := range b.st.registry.targetFields(f)[1:] {
			b.closeHeld(u, x, b.entry(u, x.number), keptOne, window.until, domain.StateDropped)
		}
	}
	again := &cause{seq: c.seq, slots: c.slots, event: &domain.Event{
		Received: b.now, Time: time.Unix(0, en.newest().Time).UTC(), Class: f.class, MessageID: orderDiscard.String(),
	}}
	b.updateTargets(u, f, p, en, again)
	if said := en.spoken(p, domain.SendAttribute, keptIdentify); said.IsIn() {
		b.wantMember(u, f, p, en, again)
	}
	c.slots = again.slots
}

// dropParkedExits drops the exits of a discarded window that are parked as events: sent again, they would tell of a
// member that they left. A parked attribute gives way to what readmit wants.
func (b *batch) dropParkedExits(u *user, f *field, window recordRange) {
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.key), laneParked)
	for _, key := range keysWithPrefix(b.queue, prefix) {
		ch := b.fetch(b.parked, key[len(prefix):])
		if ch == nil || ch.field != f.number || ch.Transition != domain.TransitionExit || !window.has(ch.ID.Seq) {
			continue
		}
		b.withdraw(ch)
		b.remove(b.queue, key)
		b.close(u, ch, domain.StateDropped, b.now)
	}
}

// countReadmitted counts a member who never left, after all.
func (b *batch) countReadmitted(f *field, was bool) {
	if was {
		return
	}
	f.members++
	f.exited--
	f.watch.members = max(f.watch.members, f.members)
	b.touch(f)
}

// toldBy reports whether a policy tells MoEngage what f holds: the membership itself, or a channel of it.
func (f *field) toldBy(p *domain.Policy) bool {
	switch f.kind() {
	case domain.KindCohort:
		return p.Send.Has(domain.SendCohort)
	case domain.KindList:
		return p.Send.Has(domain.SendList)
	}
	return p.SendsAttributes()
}
