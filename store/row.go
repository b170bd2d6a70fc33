package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// A membership row holds what is known of one user and one block of 64 fields. Nearly every user has
// one row; a user in ten thousand audiences has many, each small enough to rewrite for one event.
//
//	rows: userKey | block (2 bytes) -> frame( entry* )
//	entry: column, shape, [Assertion] x up to 3, [told], [waiting], [flying], [loose], [left]
//
// The row with block 0xFFFF is the user's head: see head.go.

// rowVersion 1 had no left.
const rowVersion byte = 2

const (
	blockSize = 64
	blockHead = 0xFFFF
)

// What a computation's calls are kept as. A computation that sends as received keeps identify and
// track apart; all others keep one state, whichever call brings it.
const (
	keptOne      = 0
	keptIdentify = 1
	keptTrack    = 2
)

// entry is everything kept of one user and one field.
type entry struct {
	column   uint8 // field number modulo blockSize
	kept     [3]*domain.Assertion
	lastSent lastSent
	waiting  ticket // the attribute change that waits, in a request under way or not, is parked or is held
	inFlight ticket // one in a request under way that a newer one has overtaken since
	loose    uint32 // changes that wait in the queue instead, because the computation did not collapse
	left     uint64 // the record that ended the membership under the guard's eyes, 0 of a member
}

// newest returns the newest word of what is kept, nil when nothing is.
func (e *entry) newest() (s *domain.Assertion) {
	for _, k := range e.kept {
		if k != nil && (s == nil || k.Time > s.Time || k.Time == s.Time && !k.IsIn()) {
			s = k
		}
	}
	return s
}

// known returns the word that a new one of the given sort is compared with.
func (e *entry) known(sort int) *domain.Assertion {
	if sort == keptOne {
		return e.newest()
	}
	if e.kept[sort] != nil {
		return e.kept[sort]
	}
	return e.kept[keptOne]
}

// keep writes a word. One state replaces what was kept apart, which is older by then.
func (e *entry) keep(sort int, s *domain.Assertion) {
	if sort == keptOne {
		e.kept = [3]*domain.Assertion{}
	}
	e.kept[sort] = s
}

func (e *entry) empty() bool {
	return e.kept == [3]*domain.Assertion{} && e.lastSent.kind == neverSent && e.waiting.id.IsZero() && e.inFlight.id.IsZero() && e.loose == 0
}

// lastSent is what MoEngage was last told about an attribute. Numbers are on disk.
type lastSent struct {
	kind  byte
	value []byte // valueSent: the raw JSON; digestSent: the first 16 bytes of the SHA-256 of its canonical text
}

const (
	neverSent       byte = 0
	uncertainlySent byte = 1 // a request may or may not have arrived
	valueSent       byte = 2
	digestSent      byte = 3 // a value too long to keep twice
)

func sentValue(v []byte) lastSent {
	if len(v) <= 16 {
		return lastSent{valueSent, bytes.Clone(v)}
	}
	text, _ := domain.Canonical(v)
	return lastSent{digestSent, digest(text)}
}

func digest(text []byte) []byte {
	sum := sha256.Sum256(text)
	return sum[:16]
}

// is reports whether MoEngage certainly knows just v.
func (t lastSent) is(v []byte) bool {
	switch t.kind {
	case valueSent:
		return domain.SameValue(t.value, v)
	case digestSent:
		text, _ := domain.Canonical(v)
		return bytes.Equal(t.value, digest(text)) || bytes.Equal(t.value, digest(v)) // older versions took the text as it came
	}
	return false
}

// ticket is an attribute change that waits. While it is pending, the row is all there is of it, so
// that sending it touches the user's own rows and nothing else; parked and held, it points to a change.
type ticket struct {
	id         domain.ID
	place      byte // one of the place constants
	transition domain.Transition
	lane       uint32
	due        uint32 // unix second of receipt
	value      []byte
	name       string // in MoEngage
	time       int64  // event time to send, ns
	received   int64  // ns
	message    string
	trouble    *trouble // nil while there is nothing to tell
}

// trouble is what became of the attempts so far.
type trouble struct {
	attempts int
	alone    int // of these, the ones with no other user in the request
	next     time.Time
	reason   string
	sentence string
	answer   domain.Answer
}

// Where a waiting attribute change is kept. Numbers are on disk.
const (
	placePending byte = 0
	placeParked  byte = 1
	placeHeld    byte = 2
)

func (t *ticket) pending() bool { return !t.id.IsZero() && t.place == placePending }

// tried reports whether an attempt failed: such a change goes with the user's retry, whatever the
// schedule of its lane.
func (t *ticket) tried() bool { return t.trouble != nil && t.trouble.attempts > 0 }

// block is one membership row in memory. It holds an entry or two for nearly everybody, so they are
// a sorted slice.
type block struct {
	number  uint16
	entries []*entry // by column
	stored  bool     // a row exists on disk
	dirty   bool
}

// find returns the entry of a column, nil when nothing is kept of it.
func (b *block) find(column uint8) *entry {
	for _, e := range b.entries {
		if e.column == column {
			return e
		}
	}
	return nil
}

// entry returns the entry of a column, to be filled if there is none.
func (b *block) entry(column uint8) *entry {
	i := 0
	for i < len(b.entries) && b.entries[i].column < column {
		i++
	}
	if i == len(b.entries) || b.entries[i].column != column {
		b.entries = slices.Insert(b.entries, i, &entry{column: column})
	}
	return b.entries[i]
}

// field returns the number of the field that an entry of b is about.
func (b *block) field(e *entry) uint32 { return uint32(b.number)*blockSize + uint32(e.column) }

// Bits of an entry's shape byte: which parts follow.
const (
	shapeOne = 1 << iota
	shapeIdentify
	shapeTrack
	shapeTold
	shapeWaiting
	shapeInFlight
	shapeLoose
	shapeLeft
)

// encode seals the row under its key.
func (b *block) encode(buf, key []byte) []byte {
	start := len(buf)
	buf = append(buf, rowVersion)
	for _, e := range b.entries {
		if !e.empty() {
			buf = e.encode(buf)
		}
	}
	if len(buf) == start+1 {
		return buf[:start]
	}
	return wire.SealKeyed(buf, start, key)
}

func (e *entry) encode(buf []byte) []byte {
	shape := byte(0)
	for i, s := range e.kept {
		if s != nil {
			shape |= 1 << i
		}
	}
	if e.lastSent.kind != neverSent {
		shape |= shapeTold
	}
	if !e.waiting.id.IsZero() {
		shape |= shapeWaiting
	}
	if !e.inFlight.id.IsZero() {
		shape |= shapeInFlight
	}
	if e.loose > 0 {
		shape |= shapeLoose
	}
	if e.left > 0 && e.newest() != nil {
		shape |= shapeLeft
	}
	buf = append(buf, e.column, shape)
	for _, s := range e.kept {
		if s != nil {
			buf = appendAssertion(buf, s)
		}
	}
	if shape&shapeTold != 0 {
		buf = wire.AppendBytes(append(buf, e.lastSent.kind), e.lastSent.value)
	}
	if shape&shapeWaiting != 0 {
		buf = e.waiting.encode(buf)
	}
	if shape&shapeInFlight != 0 {
		buf = e.inFlight.encode(buf)
	}
	if shape&shapeLoose != 0 {
		buf = wire.AppendUint(buf, uint64(e.loose))
	}
	if shape&shapeLeft != 0 {
		buf = wire.AppendInt(buf, int64(e.left-e.newest().Seq)) // nearly always 0
	}
	return buf
}

func (t *ticket) encode(buf []byte) []byte {
	buf = putID(buf, t.id)
	buf = append(buf, t.place, byte(t.transition), t.trouble.shape())
	if t.place != placePending {
		return buf
	}
	buf = wire.AppendUint(buf, uint64(t.lane))
	buf = binary.BigEndian.AppendUint32(buf, t.due)
	buf = wire.AppendBytes(buf, t.value)
	buf = wire.AppendString(buf, t.name)
	buf = wire.AppendInt(wire.AppendInt(buf, t.time), t.received-t.time)
	buf = wire.AppendString(buf, t.message)
	if t.trouble != nil {
		buf = t.trouble.encode(buf)
	}
	return buf
}

// Whether there is any trouble, and what is kept of it. Numbers are on disk.
const (
	troubleNone  byte = 0
	troubleKept  byte = 1
	troubleAlone byte = 2 // attempts alone are counted, at its end
)

func (t *trouble) shape() byte {
	switch {
	case t == nil:
		return troubleNone
	case t.alone == 0:
		return troubleKept
	}
	return troubleAlone
}

func (t *trouble) encode(buf []byte) []byte {
	buf = wire.AppendTime(wire.AppendUint(buf, uint64(t.attempts)), t.next)
	buf = wire.AppendString(wire.AppendString(buf, t.reason), t.sentence)
	buf = putAnswer(buf, &t.answer)
	if t.shape() == troubleAlone {
		buf = wire.AppendUint(buf, uint64(t.alone))
	}
	return buf
}

func decodeBlock(key, frame []byte, epoch epochs) (*block, error) {
	b := &block{number: binary.BigEndian.Uint16(key[len(key)-2:]), stored: true}
	version := rowVersion
	if len(frame) > 0 && frame[0] == 1 {
		version = 1
	}
	r, err := wire.UnsealKeyed(frame, version, key)
	if err != nil {
		return nil, err
	}
	for r.Len() > 0 && r.OK() {
		e := &entry{column: r.Byte()}
		readEntry(&r, e, epoch)
		if s := e.newest(); version == 1 && s != nil && !s.IsIn() && e.lastSent.kind != neverSent {
			e.left = s.Seq
		}
		b.entries = append(b.entries, e)
	}
	return b, r.Done()
}

func readEntry(r *wire.Reader, e *entry, epoch epochs) {
	shape := r.Byte()
	for i := range e.kept {
		if shape&(1<<i) != 0 {
			e.kept[i] = readAssertion(r)
		}
	}
	if shape&shapeTold != 0 {
		e.lastSent = lastSent{r.Byte(), bytes.Clone(r.Bytes())}
	}
	if shape&shapeWaiting != 0 {
		e.waiting = readTicket(r, epoch)
	}
	if shape&shapeInFlight != 0 {
		e.inFlight = readTicket(r, epoch)
	}
	if shape&shapeLoose != 0 {
		e.loose = uint32(r.Uint())
	}
	if shape&shapeLeft != 0 {
		e.left = uint64(r.Int())
		if s := e.newest(); s != nil {
			e.left += s.Seq
		}
	}
}

func readAssertion(r *wire.Reader) *domain.Assertion {
	s := &domain.Assertion{Value: bytes.Clone(r.Bytes()), Time: r.Int()}
	s.Since = s.Time - r.Int()
	s.Message = r.Text()
	s.Seq = r.Uint()
	return s
}

func readTicket(r *wire.Reader, epoch epochs) ticket {
	t := ticket{id: readID(r, epoch), place: r.Byte(), transition: domain.Transition(r.Byte())}
	shape := r.Byte()
	if t.place != placePending {
		return t
	}
	t.lane, t.due = uint32(r.Uint()), r.Uint32()
	t.value, t.name = bytes.Clone(r.Bytes()), r.Text()
	t.time = r.Int()
	t.received = t.time + r.Int()
	t.message = r.Text()
	if shape != troubleNone {
		t.trouble = &trouble{attempts: int(r.Uint()), next: r.Time(), reason: r.Text(), sentence: r.Text(), answer: readAnswer(r)}
	}
	if shape == troubleAlone {
		t.trouble.alone = int(r.Uint())
	}
	return t
}

func appendAssertion(buf []byte, s *domain.Assertion) []byte {
	buf = wire.AppendBytes(buf, s.Value)
	buf = wire.AppendInt(buf, s.Time)
	buf = wire.AppendInt(buf, s.Time-s.Since)
	buf = wire.AppendString(buf, s.Message)
	return wire.AppendUint(buf, s.Seq)
}
