package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// The kinds of records. Numbers are on disk.
const (
	recordEvent1 byte = 1 // an event without TimeSource, ClockShift and Tracking
	recordRules  byte = 2
	recordLost   byte = 3 // stands for a lost record; a salvage writes it
	recordRepair byte = 4
	recordAction byte = 5
	recordOrder  byte = 6
	RecordErased byte = 7 // was applied, and was about an erased user: blank
	recordEvent  byte = 8
	recordAgain  byte = 9 // a parked event in a new reading

	recordConsenting byte = 10 // an event that states consent; one that does not stays a recordEvent
	recordOrderBy    byte = 11 // an order with the operator's login at its end; one without stays a recordOrder
	recordTraced     byte = 12 // an event of a delivery that named its trace, with or without consent
)

// Record is one decoded record. One of its pointers is set. None is set for a lost or an erased record.
type Record struct {
	Seq    uint64
	Event  *domain.Event
	Rules  *domain.Rules
	Repair *Repair
	Action *Action
	Order  *Order
	Again  *Reread

	Erased bool
}

// Told returns the event of the record, at its first reading or a later one, nil when it has none.
func (r *Record) Told() *domain.Event {
	if r.Again != nil {
		return r.Again.Event
	}
	return r.Event
}

// OrderedBy returns the operator's command that the record came from, "" for an event.
func (r *Record) OrderedBy() string {
	switch {
	case r.Order != nil && r.Order.Verb == OrderDiscarded:
		return "audience " + OrderDiscard.String()
	case r.Order != nil && r.Order.Verb == OrderCompare:
		return "a change of consent in the configuration"
	case r.Order != nil && r.Order.Verb == OrderDelete:
		return "user forget --moengage"
	case r.Order != nil:
		return "audience " + r.Order.Verb.String()
	case r.Repair != nil:
		return "audience verify --repair"
	case r.Action != nil && r.Action.Verb == ActionRetry:
		return "outbox retry"
	}
	return ""
}

// IsOther reports whether the record is not a received event.
func (r *Record) IsOther() bool {
	return r.Rules != nil || r.Repair != nil || r.Action != nil || r.Order != nil || r.Again != nil
}

// AppendEvent appends the frame of e. The parts of the last line are left out when they are empty. The first two of them
// are not where a trace or consent follows.
//
//	received, time, time source, clock shift, tracking, call, messageId, name, 3 x (id, fault), class, space, key,
//	computation id, flags, columns x (name, off, len), object off, len, fault, sentence, raw,
//	left-out values x (name, off, len), clock ahead, trace, categories given
func AppendEvent(buf []byte, e *domain.Event) []byte {
	start := len(buf)
	kind, longer := recordEvent, true
	switch {
	case e.Trace != nil:
		kind = recordTraced
	case e.Consent != nil:
		kind = recordConsenting
	default:
		longer = false
	}
	buf = append(buf, kind)
	buf = wire.AppendTime(buf, e.Received)
	buf = wire.AppendTime(buf, e.Time)
	buf = append(buf, byte(e.TimeSource))
	buf = wire.AppendInt(buf, int64(e.ClockShift))
	buf = append(buf, BoolByte(e.Tracking))
	buf = append(buf, byte(e.Call), byte(e.Class), byte(e.Flag), BoolByte(e.PassThrough))
	buf = wire.AppendString(buf, e.MessageID)
	buf = wire.AppendString(buf, e.Name)
	for _, id := range [...]*domain.Identifier{&e.User, &e.Anonymous, &e.Email} {
		buf = wire.AppendString(buf, id.ID)
		buf = wire.AppendString(buf, id.Fault)
	}
	buf = wire.AppendString(buf, e.Space)
	buf = wire.AppendString(buf, e.Key)
	buf = wire.AppendString(buf, e.ComputationID)
	buf = putColumns(buf, e.Columns)
	buf = putSpan(buf, e.Object)
	buf = wire.AppendString(buf, e.Fault)
	buf = wire.AppendString(buf, e.Sentence)
	buf = wire.AppendBytes(buf, e.Raw)
	if len(e.LeftOut) > 0 || e.ClockAhead != 0 || longer {
		buf = putColumns(buf, e.LeftOut)
	}
	if e.ClockAhead != 0 || longer {
		buf = wire.AppendInt(buf, int64(e.ClockAhead))
	}
	if e.Trace != nil {
		buf = PutTrace(buf, e.Trace)
	}
	if e.Consent != nil {
		buf = wire.AppendTexts(buf, e.Consent.Given)
	}
	return wire.Seal(buf, start)
}

// RoomFor returns about how long the frame of e becomes: no shorter, unless it has many columns.
func RoomFor(e *domain.Event) int {
	n := 160 + len(e.Raw) + len(e.MessageID) + len(e.Name) + len(e.Space) + len(e.Key) + len(e.ComputationID) + len(e.Fault) + len(e.Sentence)
	n += len(e.User.ID) + len(e.Anonymous.ID) + len(e.Email.ID)
	if e.Consent != nil {
		for _, category := range e.Consent.Given {
			n += len(category) + 1
		}
	}
	return n
}

func putColumns(b []byte, columns []domain.Column) []byte {
	b = wire.AppendUint(b, uint64(len(columns)))
	for i := range columns {
		b = putSpan(wire.AppendString(b, columns[i].Name), columns[i].Value)
	}
	return b
}

func readColumns(r *wire.Reader) []domain.Column {
	n := r.Uint()
	if n > uint64(r.Len()) { // each column takes several bytes
		r.Fail()
	}
	if n == 0 || !r.OK() {
		return nil
	}
	columns := make([]domain.Column, n)
	for i := range columns {
		columns[i] = domain.Column{Name: r.Text(), Value: readSpan(r)}
	}
	return columns
}

func putSpan(b []byte, s domain.Span) []byte {
	return wire.AppendUint(wire.AppendUint(b, uint64(s.Off)), uint64(s.Len))
}

// BoolByte returns 1 for true and 0 for false.
func BoolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func readSpan(r *wire.Reader) domain.Span {
	return domain.Span{Off: uint32(r.Uint()), Len: uint32(r.Uint())}
}

// eventTexts is how many bytes the ids and names of an event take, from its message id on. What follows are its own bytes.
const eventTexts = 192

func (d *Decoder) readEvent(r *wire.Reader, version byte) *domain.Event {
	r.ShareTexts(eventTexts)
	e := &d.event
	*e = domain.Event{Received: r.Time(), Time: r.Time()}
	if version != recordEvent1 {
		e.TimeSource, e.ClockShift, e.Tracking = domain.TimeSource(r.Byte()), time.Duration(r.Int()), r.Byte() == 1
	}
	e.Call, e.Class, e.Flag, e.PassThrough = domain.Call(r.Byte()), domain.Class(r.Byte()), domain.Flag(r.Byte()), r.Byte() == 1
	e.MessageID, e.Name = r.Text(), r.Text()
	for _, id := range [...]*domain.Identifier{&e.User, &e.Anonymous, &e.Email} {
		id.ID, id.Fault = r.Text(), r.Text()
	}
	e.Space, e.Key, e.ComputationID = r.Text(), r.Text(), r.Text()
	e.Columns, e.Object = readColumns(r), readSpan(r)
	e.Fault, e.Sentence = r.Text(), r.Text()
	e.Raw = r.Bytes()
	if version != recordEvent1 && r.Len() > 0 {
		e.LeftOut = readColumns(r)
	}
	if version != recordEvent1 && r.Len() > 0 {
		e.ClockAhead = time.Duration(r.Int())
	}
	if version == recordTraced {
		e.Trace = ReadTrace(r)
	}
	if version == recordConsenting || version == recordTraced && r.Len() > 0 {
		e.Consent = d.readConsent(r)
	}
	return e
}

// readConsent reads a statement, the last part of an event. Users give the same categories, so two in a row share memory.
func (d *Decoder) readConsent(r *wire.Reader) *domain.Preferences {
	if d.consent != nil && bytes.Equal(r.Rest(), d.consentBytes) {
		r.Take(uint64(r.Len()))
		return d.consent
	}
	d.consentBytes = append(d.consentBytes[:0], r.Rest()...)
	r.ShareTexts(r.Len())
	d.consent = &domain.Preferences{Given: r.Texts()}
	read := d.consent
	if r.Done() != nil {
		d.consent = nil
	}
	return read
}

// AppendRules appends the frame of rules, which are JSON.
func AppendRules(buf []byte, rules *domain.Rules) ([]byte, error) {
	text, err := json.Marshal(rules)
	if err != nil {
		return nil, fmt.Errorf("encode rules: %w", err)
	}
	start := len(buf)
	buf = append(buf, recordRules)
	return wire.Seal(wire.AppendBytes(buf, text), start), nil
}

// DecodeRecord reads a frame of any version. The raw bytes of an event are a slice of frame. The error is
// wire.ErrDamaged, or wire.ErrNewer for an unknown kind.
func DecodeRecord(seq uint64, frame []byte) (Record, error) { return new(Decoder).Decode(seq, frame) }

// A Decoder reads records one after the other with less memory than DecodeRecord. Its zero value is ready. One goroutine
// uses it.
type Decoder struct {
	event        domain.Event
	consent      *domain.Preferences // the last statement of consent, nil before the first
	consentBytes []byte              // its bytes
}

// Decode is DecodeRecord, but the event of a record is valid until the next call. Nobody may write to its statement of
// consent, which later events may share.
func (d *Decoder) Decode(seq uint64, frame []byte) (Record, error) {
	if len(frame) == 0 {
		return Record{}, wire.ErrDamaged
	}
	r, err := wire.Unseal(frame, frame[0])
	if err != nil {
		return Record{}, err
	}
	rec := Record{Seq: seq}
	switch frame[0] {
	case recordEvent, recordEvent1, recordConsenting, recordTraced:
		rec.Event = d.readEvent(&r, frame[0])
	case recordRules:
		rec.Rules = new(domain.Rules)
		if json.Unmarshal(r.Bytes(), rec.Rules) != nil {
			return Record{}, wire.ErrDamaged
		}
	case recordRepair:
		rec.Repair = readRepair(&r)
	case recordAction:
		rec.Action = readAction(&r, nil)
	case recordOrder, recordOrderBy:
		if rec.Order = readOrder(&r); frame[0] == recordOrderBy {
			rec.Order.By = r.Text()
		}
	case recordAgain:
		rec.Again = readAgain(&r, seq)
	case RecordErased:
		rec.Erased = true
	case recordLost:
	default:
		return Record{}, wire.ErrNewer
	}
	return rec, r.Done()
}

// InboxRecords is what the write-ahead log must know of records.
var InboxRecords = wal.Records{
	Weigh: weigh, Received: receiptOf,
	Check: func(frame []byte) error { _, err := DecodeRecord(0, frame); return err },
	Lost:  wire.Seal([]byte{recordLost}, 0),
}

// weigh returns the cost of applying a record, in bytes of an event.
func weigh(frame []byte) int {
	if len(frame) > 0 && (frame[0] == recordOrder || frame[0] == recordOrderBy) {
		return len(frame) * orderWeight
	}
	return len(frame)
}

// receiptOf reads the receipt of an event, in ns, without decoding the rest. For other records it returns was.
func receiptOf(frame []byte, was int64) int64 {
	if len(frame) < 2 {
		return was
	}
	switch frame[0] {
	case recordEvent, recordEvent1, recordConsenting, recordTraced:
	default:
		return was
	}
	r := wire.NewReader(frame[1:])
	if ns := r.Int(); r.OK() {
		return ns
	}
	return was
}
