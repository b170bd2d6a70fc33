package state

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
)

// A membership row holds the entries of one user and one block of 64 fields. Nearly every user has one row. A user
// in ten thousand audiences has many, each small enough to rewrite for one event.
//
//	rows: userKey | block (2 bytes) -> frame( entry* )
//	entry: column, shape, [assertion] x up to 3, [last sent], [waiting], [in-flight], [loose], [left]
//
// The row with block 0xFFFF is the user's PendingIndex, the one with 0xFFFE their consent. Version 1 had no left.
// A row with a withheld entry has at least withheldVersion, and withheldBit in the column of each. One with a ticket that
// has a trace has RowVersion. Any other has plainVersion, so that an older program reads it.
const (
	plainVersion    byte = 2
	withheldVersion byte = 3
	RowVersion      byte = 4
	withheldBit     byte = 1 << 7
)

// block is one membership row in memory. Nearly every row has an entry or two, so they are a sorted slice.
type block struct {
	Number  uint16
	Entries []*Entry // by column
	stored  bool     // a row exists on disk
	Dirty   bool
	spare   *Entry // memory of the next entry; nil: none
}

// newEntry returns an empty entry of a column. The caller puts it in its place.
func (b *block) newEntry(column uint8) *Entry {
	e := b.spare
	if b.spare = nil; e == nil {
		e = new(Entry)
	}
	e.Column = column
	return e
}

// Find returns the entry of a column, nil when there is none.
func (b *block) Find(column uint8) *Entry {
	for _, e := range b.Entries {
		if e.Column == column {
			return e
		}
	}
	return nil
}

// entry returns the entry of a column, and adds an empty one if there is none.
func (b *block) entry(column uint8) *Entry {
	i := 0
	for i < len(b.Entries) && b.Entries[i].Column < column {
		i++
	}
	if i == len(b.Entries) || b.Entries[i].Column != column {
		b.Entries = slices.Insert(b.Entries, i, b.newEntry(column))
	}
	return b.Entries[i]
}

// Field returns the number of the field that an entry of b is about.
func (b *block) Field(e *Entry) uint32 { return uint32(b.Number)*BlockSize + uint32(e.Column) }

// Bits of an entry's shape byte: the parts that follow.
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

// encode appends the row's frame, sealed under its key, or nothing when every entry is empty.
func (b *block) encode(buf, key []byte) []byte {
	start := len(buf)
	buf = append(buf, plainVersion)
	for _, e := range b.Entries {
		if e.empty() {
			continue
		}
		buf = e.encode(buf)
		if e.Withheld {
			buf[start] = max(buf[start], withheldVersion)
		}
		if e.Waiting.Trace != nil || e.InFlight.Trace != nil {
			buf[start] = RowVersion
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
	column := e.Column
	if e.Withheld {
		column |= withheldBit
	}
	buf = append(buf, column, shape)
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
	buf = append(buf, t.Place, byte(t.Transition), t.shape())
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
	if t.Trace != nil {
		buf = record.PutTrace(buf, t.Trace)
	}
	return buf
}

// Whether a ticket has failures, and which parts of them are kept; and whether it has a trace. Numbers are on disk.
const (
	failuresNone  byte = 0
	failuresKept  byte = 1
	failuresAlone byte = 2 // attempts alone are counted, at its end
	traceKept     byte = 1 << 7
)

func (t *Ticket) shape() byte {
	shape := t.Failures.shape()
	if t.Trace != nil {
		shape |= traceKept
	}
	return shape
}

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

// DecodeBlock reads a membership row of any version.
func DecodeBlock(key, frame []byte, epoch record.Epochs) (*block, error) {
	b := &block{Number: binary.BigEndian.Uint16(key[len(key)-2:])}
	if err := b.decode(key, frame, epoch); err != nil {
		return nil, err
	}
	return b, nil
}

// decode reads a row into an empty block. After an error its content is undefined.
func (b *block) decode(key, frame []byte, epoch record.Epochs) error {
	b.stored = true
	version := RowVersion
	if len(frame) > 0 && frame[0] > 0 && frame[0] < RowVersion {
		version = frame[0]
	}
	r, err := wire.UnsealKeyed(frame, version, key)
	if err != nil {
		return err
	}
	r.ShareTexts(shared)
	for r.Len() > 0 && r.OK() {
		e := b.newEntry(r.Byte())
		if version >= withheldVersion {
			e.Withheld = e.Column&withheldBit != 0
			e.Column &^= withheldBit
		}
		readEntry(&r, e, epoch)
		if s := e.Newest(); version == 1 && s != nil && !s.IsIn() && e.LastSent.Kind != NeverSent {
			e.Left = s.Seq
		}
		b.Entries = append(b.Entries, e)
	}
	return r.Done()
}

// shared is how many bytes of a row have their texts in one piece of memory: those of an entry or two.
const shared = 256

func readEntry(r *wire.Reader, e *Entry, epoch record.Epochs) {
	shape := r.Byte()
	for i := range e.Kept {
		if shape&(1<<i) != 0 {
			e.Kept[i] = readAssertion(r)
		}
	}
	if shape&shapeTold != 0 {
		e.LastSent = LastSent{r.Byte(), domain.CloneValue(r.Bytes())}
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
	s := &domain.Assertion{Value: domain.CloneValue(r.Bytes()), Time: r.Int()}
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
	t.Value, t.Name = domain.CloneValue(r.Bytes()), r.Text()
	t.Time = r.Int()
	t.Received = t.Time + r.Int()
	t.Message = r.Text()
	traced := shape&traceKept != 0
	if shape &^= traceKept; shape != failuresNone {
		t.Failures = &Failures{Attempts: int(r.Uint()), Next: r.Time(), Reason: r.Text(), Sentence: r.Text(), Answer: readAnswer(r)}
	}
	if shape == failuresAlone {
		t.Failures.Alone = int(r.Uint())
	}
	if traced {
		t.Trace = record.ReadTrace(r)
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

// A computation that sends as received keeps the assertions of identify and of track apart. All others keep one,
// whichever call brings it. The values are indexes of Entry.Kept, and bits of Field.Flags.
const (
	KeptOne      = 0
	KeptIdentify = 1
	KeptTrack    = 2
)

// Entry is everything kept of one user and one field.
type Entry struct {
	Column   uint8 // field number modulo BlockSize
	Kept     [3]*domain.Assertion
	LastSent LastSent
	Waiting  Ticket // the open attribute change: pending, in-flight, parked or held
	InFlight Ticket // an in-flight change that a newer one has overtaken
	Loose    uint32 // changes in the queue instead, because the computation does not collapse
	Withheld bool   // MoEngage is not told of the membership, or of the value, because the user's consent is missing
	Left     uint64 // the record that ended the membership, as the guard counted it; 0 for a member
}

// Newest returns the newest assertion of e, nil when there is none. Of two of one time an exit wins.
func (e *Entry) Newest() (s *domain.Assertion) {
	for _, k := range e.Kept {
		if k != nil && (s == nil || k.Time > s.Time || k.Time == s.Time && !k.IsIn()) {
			s = k
		}
	}
	return s
}

// Known returns the assertion that a new one of the given sort is compared with, nil when there is none.
func (e *Entry) Known(sort int) *domain.Assertion {
	if sort == KeptOne {
		return e.Newest()
	}
	return cmp.Or(e.Kept[sort], e.Kept[KeptOne])
}

// Keep sets the assertion of a sort. KeptOne replaces those that were kept apart, which are older by then.
func (e *Entry) Keep(sort int, s *domain.Assertion) {
	if sort == KeptOne {
		e.Kept = [3]*domain.Assertion{}
	}
	e.Kept[sort] = s
}

// empty reports whether nothing of e needs a place in the row.
func (e *Entry) empty() bool {
	return e.Kept == [3]*domain.Assertion{} && e.LastSent.Kind == NeverSent && e.Waiting.ID.IsZero() && e.InFlight.ID.IsZero() && e.Loose == 0
}

// Moving reports whether a change of the entry is pending, parked or held.
func (e *Entry) Moving() bool {
	return !e.Waiting.ID.IsZero() || !e.InFlight.ID.IsZero() || e.Loose > 0
}

// Over reports whether a membership ended before a time, in ns, and nothing is left to send about it. Such an entry
// can be pruned.
func (e *Entry) Over(before int64) bool {
	for _, s := range e.Kept {
		if s != nil && (s.IsIn() || s.Time >= before) {
			return false
		}
	}
	return e.Newest() != nil && e.SettledOut()
}

// SettledOut reports whether MoEngage knows of no membership by this field, and no change of it is open.
func (e *Entry) SettledOut() bool {
	return !e.Moving() && (e.LastSent.Kind == NeverSent || e.LastSent.Is(domain.JSONFalse))
}

// AssertionFor returns the assertion that a way of sending follows, nil when there is none: that of its own method, or
// one of the two that are kept apart.
func (e *Entry) AssertionFor(p *domain.Policy, method domain.SendMethods, sort int) *domain.Assertion {
	switch {
	case p.Send.Has(domain.SendAsReceived) && sort == KeptIdentify:
		return e.Known(sort)
	case p.Send.Has(domain.SendAsReceived):
		return e.Kept[sort]
	case p.Send.Has(method):
		return e.Newest()
	}
	return nil
}

// IsUnknownExit reports whether s is an exit from an audience in which MoEngage never knew the user.
func (e *Entry) IsUnknownExit(s *domain.Assertion, p *domain.Policy) bool {
	return !s.IsIn() && e.LastSent.Kind == NeverSent && !p.UnknownExit
}

// Membership returns the transition and the value that describe the membership as it is now.
func (e *Entry) Membership() (domain.Transition, []byte) {
	if e.Newest().IsIn() {
		return domain.TransitionEnter, domain.JSONTrue
	}
	return domain.TransitionExit, domain.JSONFalse
}

// Expected returns the value that MoEngage should hold: the last one sent, or the one that an uncertain request
// carried. known is false for a long value of which only the digest is kept, and for an uncertain removal that an operator
// dropped.
func (e *Entry) Expected(p *domain.Policy) (value []byte, known bool) {
	if e.LastSent.Kind == NeverSent || e.Withheld && e.LastSent.Kind == UncertainlySent {
		return nil, false
	}
	if s := e.AttributeAssertion(p); s != nil {
		value = s.Value
		if bytes.Equal(value, domain.JSONNull) && p.OnNull == domain.NullEmpty {
			value = domain.JSONEmpty
		}
		if e.LastSent.Is(value) || e.LastSent.Kind == UncertainlySent {
			return value, true
		}
	}
	return e.LastSent.Value, e.LastSent.Kind == valueSent
}

// AttributeAssertion returns the assertion that is sent as the attribute, nil when there is none.
func (e *Entry) AttributeAssertion(p *domain.Policy) *domain.Assertion {
	if p.Send.Has(domain.SendAttribute) {
		return e.Newest()
	}
	return e.Known(KeptIdentify)
}

// LastSent is the value that MoEngage last accepted of an attribute, as far as that is known.
type LastSent struct {
	Kind  byte
	Value []byte // valueSent: the raw JSON; digestSent: the first 16 bytes of the SHA-256 of its canonical text
}

// The kinds of LastSent. Numbers are on disk.
const (
	NeverSent       byte = 0
	UncertainlySent byte = 1 // a request may or may not have arrived
	valueSent       byte = 2
	digestSent      byte = 3 // a value too long to keep twice
)

// SentValue returns a LastSent of a delivered value. A long one is kept as a digest of its canonical text.
func SentValue(v []byte) LastSent {
	if len(v) <= 16 {
		return LastSent{valueSent, domain.CloneValue(v)}
	}
	text, _ := domain.Canonical(v)
	return LastSent{digestSent, digest(text)}
}

func digest(text []byte) []byte {
	sum := sha256.Sum256(text)
	return sum[:16]
}

// Is reports whether MoEngage certainly holds v.
func (t LastSent) Is(v []byte) bool {
	switch t.Kind {
	case valueSent:
		return domain.SameValue(t.Value, v)
	case digestSent:
		text, _ := domain.Canonical(v)
		return bytes.Equal(t.Value, digest(text)) || bytes.Equal(t.Value, digest(v)) // older versions took the text as it came
	}
	return false
}

// Where the change of a ticket is kept. Numbers are on disk.
const (
	placePending byte = 0
	PlaceParked  byte = 1
	PlaceHeld    byte = 2
)

// Ticket is an attribute change that is not closed yet. While it is pending, the row is its only copy, so that
// sending it writes the user's own rows and nothing else. While it is parked or held, it points to the change.
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
	Trace      *domain.Trace // of the event that caused it; nil: it named none
	Failures   *Failures     // nil before the first failure
}

// Pending reports whether the ticket is a pending change, in-flight or not.
func (t *Ticket) Pending() bool { return !t.ID.IsZero() && t.Place == placePending }

// Tried reports whether an attempt failed. Such a change leaves with the user's retry, whatever the schedule of its
// lane.
func (t *Ticket) Tried() bool { return t.Failures != nil && t.Failures.Attempts > 0 }

// Failures is the record of the attempts that failed so far.
type Failures struct {
	Attempts int
	Alone    int // attempts with no other user in the request
	Next     time.Time
	Reason   string
	Sentence string
	Answer   domain.Answer
}

func putAnswer(buf []byte, a *domain.Answer) []byte {
	buf = wire.AppendUint(buf, uint64(a.Status))
	buf = wire.AppendString(wire.AppendString(buf, a.RequestID), a.Body)
	return wire.AppendTime(buf, a.At)
}

func readAnswer(r *wire.Reader) domain.Answer {
	return domain.Answer{Status: int(r.Uint()), RequestID: r.Text(), Body: r.Text(), At: r.Time()}
}
