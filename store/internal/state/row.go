package state

import (
	"encoding/binary"
	"slices"

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
// A row with a withheld entry has RowVersion, and withheldBit in the column of each. Any other has plainVersion, so that
// an older program reads it.
const (
	plainVersion byte = 2
	RowVersion   byte = 3
	withheldBit  byte = 1 << 7
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
	ShapeOne = 1 << iota
	shapeIdentify
	shapeTrack
	shapeTold
	shapeWaiting
	shapeInFlight
	shapeLoose
	shapeLeft
)

// Encode appends the row's frame, sealed under its key, or nothing when every entry is empty.
func (b *block) Encode(buf, key []byte) []byte {
	start := len(buf)
	buf = append(buf, plainVersion)
	for _, e := range b.Entries {
		if e.empty() {
			continue
		}
		buf = e.encode(buf)
		if e.Withheld {
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

// Whether a ticket has failures, and which parts of them are kept. Numbers are on disk.
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
	if len(frame) > 0 && (frame[0] == 1 || frame[0] == plainVersion) {
		version = frame[0]
	}
	r, err := wire.UnsealKeyed(frame, version, key)
	if err != nil {
		return err
	}
	r.ShareTexts(shared)
	for r.Len() > 0 && r.OK() {
		e := b.newEntry(r.Byte())
		if version == RowVersion {
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
