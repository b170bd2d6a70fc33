package store

import (
	"bytes"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// An order is an operator's word about the memberships of one computation, as a record of the inbox:
// what it changes is then a function of the state and the record, like everything else. A command on
// millions of users is many of them, each about few enough to be applied between two events.
type order struct {
	verb     verb
	received time.Time
	time     time.Time // of what is said: an import's --as-of
	events   bool      // events are queued, too
	field    uint32
	key      string // orderName: of the computation that should exist
	words    []jobTarget
	ids      []domain.ID // of changes: orderRelease and orderDiscard
	other    uint32      // field: orderAdopt
}

// verb says what an order does. Numbers are on disk.
type verb uint8

const (
	orderName      verb = 1  // the computation exists, if only by its key
	orderImport    verb = 2  // who is a member, and who is not
	orderBaseline  verb = 3  // the same, and MoEngage knows it
	orderReconcile verb = 4  // say again what MoEngage should know of these users
	orderClose     verb = 5  // these users are members no more
	orderRelease   verb = 6  // exits that the guard holds may leave; without ids: from now on, none is held
	orderDiscard   verb = 7  // they never were; likewise; with users: of these
	orderAdopt     verb = 8  // what another computation knows of these users is this one's; without users: its id is, too
	orderDiscarded verb = 9  // the discard has come to all who left
	orderForget    verb = 10 // the computation is removed, if its last event is of the order's time
)

var verbNames = [...]string{"", "name", "import", "baseline", "reconcile", "close", "release", "discard", "adopt", "discarded", "forget"}

func (v verb) String() string {
	if int(v) < len(verbNames) {
		return verbNames[v]
	}
	return ""
}

// jobTarget is one user of an order.
type jobTarget struct {
	user string
	in   bool
}

const (
	// orderWords bounds the users of one record; see perRecord.
	orderWords = 512

	// orderWeight is how much more a byte of an order writes than one of an event: twenty bytes of a user
	// become a row, a place in the outbox and in three indexes. It keeps a batch at some thousand users.
	orderWeight = 64
)

// appendOrder encodes o behind buf.
//
//	received, time, verb, events, field, key, words x (in, user), ids, of orderAdopt the other field
func appendOrder(buf []byte, o *order) []byte {
	start := len(buf)
	buf = append(buf, recordOrder)
	buf = wire.AppendTime(wire.AppendTime(buf, o.received), o.time)
	buf = append(buf, byte(o.verb), boolByte(o.events))
	buf = wire.AppendUint(buf, uint64(o.field))
	buf = wire.AppendString(buf, o.key)
	buf = wire.AppendUint(buf, uint64(len(o.words)))
	for i := range o.words {
		buf = wire.AppendString(append(buf, boolByte(o.words[i].in)), o.words[i].user)
	}
	buf = wire.AppendUint(buf, uint64(len(o.ids)))
	for _, id := range o.ids {
		buf = putID(buf, id)
	}
	if o.verb == orderAdopt {
		buf = wire.AppendUint(buf, uint64(o.other))
	}
	return wire.Seal(buf, start)
}

// readOrder reads one. The ids have no epoch yet: it is the store's.
func readOrder(r *wire.Reader) *order {
	o := &order{received: r.Time(), time: r.Time(), verb: verb(r.Byte()), events: r.Byte() == 1}
	o.field = uint32(r.Uint())
	o.key = r.Text()
	n := r.Uint()
	if n > uint64(r.Len()) {
		r.Fail()
		return o
	}
	o.words = make([]jobTarget, n)
	for i := range o.words {
		o.words[i] = jobTarget{in: r.Byte() == 1, user: r.Text()}
	}
	for n := r.Uint(); n > 0 && r.OK(); n-- {
		o.ids = append(o.ids, readID(r, nil))
	}
	if o.verb == orderAdopt {
		o.other = uint32(r.Uint())
	}
	return o
}

func (b *batch) applyOrder(seq uint64, o *order) {
	b.now = o.received
	if o.verb == orderName {
		if len(b.st.registry.byKey[o.key]) == 0 {
			b.newField(&field{key: o.key, class: domain.ClassAudience})
		}
		return
	}
	f := b.fieldOf(o.field)
	if f == nil {
		return // only damage brings this about
	}
	p := b.st.rules.For(f.key, f.id)
	c := &cause{seq: seq, unguarded: o.verb == orderClose || o.verb == orderBaseline}
	switch o.verb {
	case orderRelease, orderDiscard:
		b.applyDecision(f, &p, c, o)
		return
	case orderDiscarded:
		f.watch.undone = recordRange{}
		b.touch(f)
		return
	case orderForget:
		b.applyRemoval(f, o)
		return
	case orderAdopt:
		b.applyAdoption(f, &p, c, o)
		return
	}
	for i := range o.words {
		w := &o.words[i]
		c.event = &domain.Event{Received: o.received, Time: o.time, Class: f.class, MessageID: o.verb.String(), Flag: domain.FlagOut}
		if w.in {
			c.event.Flag = domain.FlagIn
		}
		if o.verb != orderReconcile && b.forgotten(w.user, o.time, b.believable(c)) {
			continue
		}
		b.obey(b.user(w.user), f, &p, c, o)
	}
}

func (b *batch) applyDecision(f *field, p *domain.Policy, c *cause, o *order) {
	if len(o.ids)+len(o.words) == 0 {
		b.decide(f, c, o)
	}
	for i := range o.words {
		b.readmitFirst(b.user(o.words[i].user), f, p, c)
	}
	for _, id := range o.ids {
		id.Epoch = b.st.epochs.of(id.Seq)
		b.letGo(f, p, c, id, o.verb == orderDiscard)
	}
}

// obey carries out an order for one user.
func (b *batch) obey(u *user, f *field, p *domain.Policy, c *cause, o *order) {
	b.readmitFirst(u, f, p, c)
	en := b.entry(u, f.number)
	switch o.verb {
	case orderImport:
		for _, sort := range f.states(p, en) {
			b.member(u, f, p, c, sort, o.events)
		}
	case orderClose:
		if s := en.newest(); s != nil && c.event.Time.UnixNano() < s.Time && s.Time <= b.believable(c) {
			c.event.Time = time.Unix(0, s.Time).UTC() // at one moment an exit beats an enter
		}
		for _, sort := range f.states(p, en) {
			if en.known(sort).IsIn() {
				b.member(u, f, p, c, sort, o.events)
			}
		}
	case orderBaseline:
		b.baseline(u, f, p, c)
	case orderReconcile:
		b.reconcile(u, f, p, c, o.events)
	}
}

// states lists what an order speaks to: the one state of a computation, or those of identify and
// track that have been received. Before the first event of such a computation it is one, which both
// are compared with when they come.
func (f *field) states(p *domain.Policy, en *entry) (sorts []int) {
	if p.Send.Has(domain.SendAsReceived) {
		for _, sort := range [...]int{keptIdentify, keptTrack} {
			if f.heard&(1<<sort) != 0 || en.kept[sort] != nil {
				sorts = append(sorts, sort)
			}
		}
	}
	if len(sorts) == 0 {
		return []int{keptOne}
	}
	return sorts
}

// baseline takes in what an order says as known to MoEngage already.
func (b *batch) baseline(u *user, f *field, p *domain.Policy, c *cause) {
	en := b.entry(u, f.number)
	wasIn, heard := en.newest().IsIn(), false
	word := memberWord(c)
	for _, sort := range f.states(p, en) {
		heard = en.observe(sort, word, true, b.believable(c)) != domain.OutcomeStale || heard
	}
	if !heard {
		return
	}
	isIn := en.newest().IsIn()
	if w := &f.watch; isIn && !wasIn && en.left >= w.seq && w.left > 0 {
		w.left-- // they left in the window, and are back
	}
	en.left = 0 // as the operator says
	b.write(u, f.number)
	b.countMember(f, wasIn, isIn)
	if word.IsIn() {
		b.cancelHeld(u, f, en, keptOne) // an exit that the guard holds would undo it
	}
	if p.SendsAttributes() {
		b.assume(u, f, p, en, c, transitionOf(word), word.Value)
	}
	t, value := en.membership()
	for _, x := range b.targets(f, p) {
		b.assume(u, x, p, b.entry(u, x.number), c, t, value)
	}
}

// assume takes it that MoEngage was told a value by the field x.
func (b *batch) assume(u *user, x *field, p *domain.Policy, e *entry, c *cause, t domain.Transition, value []byte) {
	b.write(u, x.number)
	if !e.inFlight.id.IsZero() || e.loose > 0 || e.waiting.pending() && b.st.isInFlight(x.endpoint(), u.id, e.waiting.id) {
		// A value in lease, or one that is queued because it does not collapse, may say something else: MoEngage
		// is told after it. Until then it knows this, or that.
		if t == domain.TransitionEnter || e.lastSent.kind != neverSent {
			e.lastSent = lastSent{kind: uncertainlySent}
		}
		b.wantAttribute(u, x, p, e, c, t, value)
		return
	}
	b.cancelWaiting(u, x, e)
	if t == domain.TransitionEnter || e.lastSent.kind != neverSent {
		e.lastSent = sentValue(value)
	}
}

func transitionOf(s domain.Assertion) domain.Transition {
	if s.IsIn() {
		return domain.TransitionEnter
	}
	return domain.TransitionExit
}

// cancelWaiting closes the attribute change that waits in en, whether pending, parked or held, because
// no net change remains. It must not be in a request under way.
func (b *batch) cancelWaiting(u *user, f *field, en *entry) {
	t := en.waiting
	if t.id.IsZero() {
		return
	}
	en.waiting = ticket{}
	if t.pending() {
		b.settlePending(u, f, &t)
	}
	ch := b.changeAt(u, f, &t)
	if ch == nil {
		return
	}
	if !t.pending() {
		b.withdraw(ch)
	}
	b.close(u, ch, domain.StateCancelled, b.now)
}

// reconcile has MoEngage told again what it should know of a user, the columns of a SQL trait
// included. A change that waits, is parked or is held says it already, or will once it is decided on.
func (b *batch) reconcile(u *user, f *field, p *domain.Policy, c *cause, events bool) {
	en := b.entry(u, f.number)
	if f.class == domain.ClassTrait {
		b.reconcileValue(u, f, p, c, events)
		return
	}
	s := en.newest()
	if s == nil {
		return
	}
	c.event.Time = time.Unix(0, s.Since).UTC()
	b.reconcileTargets(u, f, p, c, en)
	if said := en.spoken(p, domain.SendAttribute, keptIdentify); said != nil && !en.unheard(said, p) {
		b.tellAgain(u, f, p, en, c, transitionOf(*said), said.Value)
	}
	if said := en.spoken(p, domain.SendEvent, keptTrack); events && said != nil && !en.unheard(said, p) {
		b.wantEvent(u, f, p, c, transitionOf(*said), said.Value, false)
	}
}

// spoken returns the state that is told in one way: by its own channel, or as one of the two that are kept
// apart; nil when there is none.
func (e *entry) spoken(p *domain.Policy, channel domain.SendMethods, sort int) *domain.Assertion {
	switch {
	case p.Send.Has(domain.SendAsReceived) && sort == keptIdentify:
		return e.known(sort)
	case p.Send.Has(domain.SendAsReceived):
		return e.kept[sort]
	case p.Send.Has(channel):
		return e.newest()
	}
	return nil
}

// unheard reports whether s is an exit from an audience that MoEngage never knew the user in.
func (e *entry) unheard(s *domain.Assertion, p *domain.Policy) bool {
	return !s.IsIn() && e.lastSent.kind == neverSent && !p.UnknownExit
}

func (b *batch) reconcileTargets(u *user, f *field, p *domain.Policy, c *cause, en *entry) {
	t, value := en.membership()
	for _, x := range b.targets(f, p) {
		e := b.entry(u, x.number)
		if t == domain.TransitionExit && e.lastSent.kind == neverSent && !p.UnknownExit {
			continue
		}
		b.tellAgain(u, x, p, e, c, t, value)
	}
}

func (b *batch) reconcileValue(u *user, f *field, p *domain.Policy, c *cause, events bool) {
	en := b.entry(u, f.number)
	if s := en.spoken(p, domain.SendAttribute, keptIdentify); s != nil && !(en.lastSent.kind == neverSent && bytes.Equal(s.Value, domain.JSONNull)) {
		if value, send := p.Sendable(s.Value); send {
			c.event.Time = time.Unix(0, s.Since).UTC()
			b.tellAgain(u, f, p, en, c, domain.TransitionValue, value)
		}
	}
	if s := en.spoken(p, domain.SendEvent, keptTrack); events && s != nil {
		if value, send := p.Sendable(s.Value); send {
			c.event.Time = time.Unix(0, s.Since).UTC()
			b.wantEvent(u, f, p, c, domain.TransitionValue, value, false)
		}
	}
}

// tellAgain has an attribute sent whatever MoEngage was last told.
func (b *batch) tellAgain(u *user, f *field, p *domain.Policy, en *entry, c *cause, t domain.Transition, value []byte) {
	if !en.waiting.id.IsZero() || en.loose > 0 {
		return
	}
	en.lastSent = lastSent{kind: uncertainlySent}
	b.write(u, f.number)
	b.wantAttribute(u, f, p, en, c, t, value)
}
