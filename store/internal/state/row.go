package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
)

// Spoken returns the state that is told in one way: by its own channel, or as one of the two that are kept
// apart; nil when there is none.
func (e *Entry) Spoken(p *domain.Policy, channel domain.SendMethods, sort int) *domain.Assertion {
	switch {
	case p.Send.Has(domain.SendAsReceived) && sort == KeptIdentify:
		return e.Known(sort)
	case p.Send.Has(domain.SendAsReceived):
		return e.Kept[sort]
	case p.Send.Has(channel):
		return e.Newest()
	}
	return nil
}

// Unheard reports whether s is an exit from an audience that MoEngage never knew the user in.
func (e *Entry) Unheard(s *domain.Assertion, p *domain.Policy) bool {
	return !s.IsIn() && e.LastSent.Kind == NeverSent && !p.UnknownExit
}

// A membership row holds what is known of one user and one block of 64 fields. Nearly every user has
// one row; a user in ten thousand audiences has many, each small enough to rewrite for one event.
//
//	rows: userKey | block (2 bytes) -> frame( entry* )
//	entry: column, shape, [Assertion] x up to 3, [told], [waiting], [flying], [loose], [left]
//
// The row with block 0xFFFF is the user's head: see head.go.

// RowVersion 1 had no left.
const RowVersion byte = 2

const (
	BlockSize  = 64
	BlockIndex = 0xFFFF
)

// What a computation's calls are kept as. A computation that sends as received keeps identify and
// track apart; all others keep one state, whichever call brings it.
const (
	KeptOne      = 0
	KeptIdentify = 1
	KeptTrack    = 2
)

// Entry is everything kept of one user and one field.
type Entry struct {
	Column   uint8 // field number modulo blockSize
	Kept     [3]*domain.Assertion
	LastSent LastSent
	Waiting  Ticket // the attribute change that waits, in a request under way or not, is parked or is held
	InFlight Ticket // one in a request under way that a newer one has overtaken since
	Loose    uint32 // changes that wait in the queue instead, because the computation did not collapse
	Left     uint64 // the record that ended the membership under the guard's eyes, 0 of a member
}

// Newest returns the newest word of what is kept, nil when nothing is.
func (e *Entry) Newest() (s *domain.Assertion) {
	for _, k := range e.Kept {
		if k != nil && (s == nil || k.Time > s.Time || k.Time == s.Time && !k.IsIn()) {
			s = k
		}
	}
	return s
}

// Known returns the word that a new one of the given sort is compared with.
func (e *Entry) Known(sort int) *domain.Assertion {
	if sort == KeptOne {
		return e.Newest()
	}
	if e.Kept[sort] != nil {
		return e.Kept[sort]
	}
	return e.Kept[KeptOne]
}

// Keep writes a word. One state replaces what was kept apart, which is older by then.
func (e *Entry) Keep(sort int, s *domain.Assertion) {
	if sort == KeptOne {
		e.Kept = [3]*domain.Assertion{}
	}
	e.Kept[sort] = s
}

func (e *Entry) empty() bool {
	return e.Kept == [3]*domain.Assertion{} && e.LastSent.Kind == NeverSent && e.Waiting.ID.IsZero() && e.InFlight.ID.IsZero() && e.Loose == 0
}

// LastSent is what MoEngage was last told about an attribute. Numbers are on disk.
type LastSent struct {
	Kind  byte
	Value []byte // valueSent: the raw JSON; digestSent: the first 16 bytes of the SHA-256 of its canonical text
}

const (
	NeverSent       byte = 0
	UncertainlySent byte = 1 // a request may or may not have arrived
	valueSent       byte = 2
	DigestSent      byte = 3 // a value too long to keep twice
)

func SentValue(v []byte) LastSent {
	if len(v) <= 16 {
		return LastSent{valueSent, bytes.Clone(v)}
	}
	text, _ := domain.Canonical(v)
	return LastSent{DigestSent, digest(text)}
}

func digest(text []byte) []byte {
	sum := sha256.Sum256(text)
	return sum[:16]
}

// Is reports whether MoEngage certainly knows just v.
func (t LastSent) Is(v []byte) bool {
	switch t.Kind {
	case valueSent:
		return domain.SameValue(t.Value, v)
	case DigestSent:
		text, _ := domain.Canonical(v)
		return bytes.Equal(t.Value, digest(text)) || bytes.Equal(t.Value, digest(v)) // older versions took the text as it came
	}
	return false
}

// Ticket is an attribute change that waits. While it is pending, the row is all there is of it, so
// that sending it touches the user's own rows and nothing else; parked and held, it points to a change.
type Ticket struct {
	ID         domain.ID
	Place      byte // one of the place constants
	Transition domain.Transition
	Lane       uint32
	Due        uint32 // unix second of receipt
	Value      []byte
	Name       string // in MoEngage
	Time       int64  // event time to send, ns
	Received   int64  // ns
	Message    string
	Failures   *Failures // nil while there is nothing to tell
}

// Failures is what became of the attempts so far.
type Failures struct {
	Attempts int
	Alone    int // of these, the ones with no other user in the request
	Next     time.Time
	Reason   string
	Sentence string
	Answer   domain.Answer
}

// Where a waiting attribute change is kept. Numbers are on disk.
const (
	placePending byte = 0
	PlaceParked  byte = 1
	PlaceHeld    byte = 2
)

func (t *Ticket) Pending() bool { return !t.ID.IsZero() && t.Place == placePending }

// Tried reports whether an attempt failed: such a change goes with the user's retry, whatever the
// schedule of its lane.
func (t *Ticket) Tried() bool { return t.Failures != nil && t.Failures.Attempts > 0 }

// block is one membership row in memory. It holds an entry or two for nearly everybody, so they are
// a sorted slice.
type block struct {
	Number  uint16
	Entries []*Entry // by column
	stored  bool     // a row exists on disk
	Dirty   bool
}

// Find returns the entry of a column, nil when nothing is kept of it.
func (b *block) Find(column uint8) *Entry {
	for _, e := range b.Entries {
		if e.Column == column {
			return e
		}
	}
	return nil
}

// entry returns the entry of a column, to be filled if there is none.
func (b *block) entry(column uint8) *Entry {
	i := 0
	for i < len(b.Entries) && b.Entries[i].Column < column {
		i++
	}
	if i == len(b.Entries) || b.Entries[i].Column != column {
		b.Entries = slices.Insert(b.Entries, i, &Entry{Column: column})
	}
	return b.Entries[i]
}

// Field returns the number of the field that an entry of b is about.
func (b *block) Field(e *Entry) uint32 { return uint32(b.Number)*BlockSize + uint32(e.Column) }

// Bits of an entry's shape byte: which parts follow.
const (
	ShapeOne = 1 << iota
	shapeIdentify
	shapeTrack
	shapeTold
	shapeWaiting
	shapeInFlight
	shapeLoose
	shapeLeft
)

// Encode seals the row under its key.
func (b *block) Encode(buf, key []byte) []byte {
	start := len(buf)
	buf = append(buf, RowVersion)
	for _, e := range b.Entries {
		if !e.empty() {
			buf = e.encode(buf)
		}
	}
	if len(buf) == start+1 {
		return buf[:start]
	}
	return wire.SealKeyed(buf, start, key)
}

func (e *Entry) encode(buf []byte) []byte {
	shape := byte(0)
	for i, s := range e.Kept {
		if s != nil {
			shape |= 1 << i
		}
	}
	if e.LastSent.Kind != NeverSent {
		shape |= shapeTold
	}
	if !e.Waiting.ID.IsZero() {
		shape |= shapeWaiting
	}
	if !e.InFlight.ID.IsZero() {
		shape |= shapeInFlight
	}
	if e.Loose > 0 {
		shape |= shapeLoose
	}
	if e.Left > 0 && e.Newest() != nil {
		shape |= shapeLeft
	}
	buf = append(buf, e.Column, shape)
	for _, s := range e.Kept {
		if s != nil {
			buf = appendAssertion(buf, s)
		}
	}
	if shape&shapeTold != 0 {
		buf = wire.AppendBytes(append(buf, e.LastSent.Kind), e.LastSent.Value)
	}
	if shape&shapeWaiting != 0 {
		buf = e.Waiting.encode(buf)
	}
	if shape&shapeInFlight != 0 {
		buf = e.InFlight.encode(buf)
	}
	if shape&shapeLoose != 0 {
		buf = wire.AppendUint(buf, uint64(e.Loose))
	}
	if shape&shapeLeft != 0 {
		buf = wire.AppendInt(buf, int64(e.Left-e.Newest().Seq)) // nearly always 0
	}
	return buf
}

func (t *Ticket) encode(buf []byte) []byte {
	buf = record.PutID(buf, t.ID)
	buf = append(buf, t.Place, byte(t.Transition), t.Failures.shape())
	if t.Place != placePending {
		return buf
	}
	buf = wire.AppendUint(buf, uint64(t.Lane))
	buf = binary.BigEndian.AppendUint32(buf, t.Due)
	buf = wire.AppendBytes(buf, t.Value)
	buf = wire.AppendString(buf, t.Name)
	buf = wire.AppendInt(wire.AppendInt(buf, t.Time), t.Received-t.Time)
	buf = wire.AppendString(buf, t.Message)
	if t.Failures != nil {
		buf = t.Failures.encode(buf)
	}
	return buf
}

// Whether there is any trouble, and what is kept of it. Numbers are on disk.
const (
	failuresNone  byte = 0
	failuresKept  byte = 1
	failuresAlone byte = 2 // attempts alone are counted, at its end
)

func (t *Failures) shape() byte {
	switch {
	case t == nil:
		return failuresNone
	case t.Alone == 0:
		return failuresKept
	}
	return failuresAlone
}

func (t *Failures) encode(buf []byte) []byte {
	buf = wire.AppendTime(wire.AppendUint(buf, uint64(t.Attempts)), t.Next)
	buf = wire.AppendString(wire.AppendString(buf, t.Reason), t.Sentence)
	buf = putAnswer(buf, &t.Answer)
	if t.shape() == failuresAlone {
		buf = wire.AppendUint(buf, uint64(t.Alone))
	}
	return buf
}

func DecodeBlock(key, frame []byte, epoch record.Epochs) (*block, error) {
	b := &block{Number: binary.BigEndian.Uint16(key[len(key)-2:]), stored: true}
	version := RowVersion
	if len(frame) > 0 && frame[0] == 1 {
		version = 1
	}
	r, err := wire.UnsealKeyed(frame, version, key)
	if err != nil {
		return nil, err
	}
	for r.Len() > 0 && r.OK() {
		e := &Entry{Column: r.Byte()}
		readEntry(&r, e, epoch)
		if s := e.Newest(); version == 1 && s != nil && !s.IsIn() && e.LastSent.Kind != NeverSent {
			e.Left = s.Seq
		}
		b.Entries = append(b.Entries, e)
	}
	return b, r.Done()
}

func readEntry(r *wire.Reader, e *Entry, epoch record.Epochs) {
	shape := r.Byte()
	for i := range e.Kept {
		if shape&(1<<i) != 0 {
			e.Kept[i] = readAssertion(r)
		}
	}
	if shape&shapeTold != 0 {
		e.LastSent = LastSent{r.Byte(), bytes.Clone(r.Bytes())}
	}
	if shape&shapeWaiting != 0 {
		e.Waiting = readTicket(r, epoch)
	}
	if shape&shapeInFlight != 0 {
		e.InFlight = readTicket(r, epoch)
	}
	if shape&shapeLoose != 0 {
		e.Loose = uint32(r.Uint())
	}
	if shape&shapeLeft != 0 {
		e.Left = uint64(r.Int())
		if s := e.Newest(); s != nil {
			e.Left += s.Seq
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

func readTicket(r *wire.Reader, epoch record.Epochs) Ticket {
	t := Ticket{ID: record.ReadID(r, epoch), Place: r.Byte(), Transition: domain.Transition(r.Byte())}
	shape := r.Byte()
	if t.Place != placePending {
		return t
	}
	t.Lane, t.Due = uint32(r.Uint()), r.Uint32()
	t.Value, t.Name = bytes.Clone(r.Bytes()), r.Text()
	t.Time = r.Int()
	t.Received = t.Time + r.Int()
	t.Message = r.Text()
	if shape != failuresNone {
		t.Failures = &Failures{Attempts: int(r.Uint()), Next: r.Time(), Reason: r.Text(), Sentence: r.Text(), Answer: readAnswer(r)}
	}
	if shape == failuresAlone {
		t.Failures.Alone = int(r.Uint())
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

// Moving reports whether a change of the attribute waits, for MoEngage or for an operator.
func (e *Entry) Moving() bool {
	return !e.Waiting.ID.IsZero() || !e.InFlight.ID.IsZero() || e.Loose > 0
}
