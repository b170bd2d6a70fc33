package store

import (
	"encoding/json"
	"fmt"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// A record of the inbox is whatever can change the state: an event, new rules, a repair, the operator's
// hand on changes, or an order on memberships. Its frame begins with the kind, which is also its
// version: a new shape takes a new number.
const (
	recordEvent1 byte = 1 // an event without TimeSource, ClockShift and Tracking
	recordRules  byte = 2
	recordLost   byte = 3 // stands for a record that damage took: a salvage writes it
	recordRepair byte = 4
	recordAction byte = 5
	recordOrder  byte = 6
	recordErased byte = 7 // it was applied, and spoke of somebody who is forgotten: nothing is left of it
	recordEvent  byte = 8
	recordAgain  byte = 9 // an event that was parked, in a new reading
)

// record is one decoded inbox record; one of its pointers is set, or none when it stands for a lost one
// or is what is left of an erased one.
type record struct {
	seq    uint64
	event  *domain.Event
	rules  *domain.Rules
	repair *repair
	action *action
	order  *order
	again  *reread

	erased bool
}

// told is the event of the record, at its first reading or a later one; nil when it has none.
func (r *record) told() *domain.Event {
	if r.again != nil {
		return r.again.event
	}
	return r.event
}

// orderedBy is the operator's command that the record came of, or "" for an event.
func (r *record) orderedBy() string {
	switch {
	case r.order != nil && r.order.verb == orderDiscarded:
		return "audience " + orderDiscard.String()
	case r.order != nil:
		return "audience " + r.order.verb.String()
	case r.repair != nil:
		return "audience verify --repair"
	case r.action != nil && r.action.verb == actionRetry:
		return "outbox retry"
	}
	return ""
}

// outsider reports whether the record is none of the events that were received.
func (r *record) outsider() bool {
	return r.rules != nil || r.repair != nil || r.action != nil || r.order != nil || r.again != nil
}

// appendEvent encodes e behind buf.
//
//	received, time, time source, clock shift, tracking, call, messageId, name, 3 x (id, fault), class, space, key, computation id,
//	flags, columns x (name, off, len), object off, len, fault, sentence, raw,
//	what is left out x (name, off, len), clock ahead; nothing stands for none
func appendEvent(buf []byte, e *domain.Event) []byte {
	start := len(buf)
	buf = append(buf, recordEvent)
	buf = wire.AppendTime(buf, e.Received)
	buf = wire.AppendTime(buf, e.Time)
	buf = append(buf, byte(e.TimeSource))
	buf = wire.AppendInt(buf, int64(e.ClockShift))
	buf = append(buf, boolByte(e.Tracking))
	buf = append(buf, byte(e.Call), byte(e.Class), byte(e.Flag), boolByte(e.PassThrough))
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
	if len(e.LeftOut) > 0 || e.ClockAhead != 0 {
		buf = putColumns(buf, e.LeftOut)
	}
	if e.ClockAhead != 0 {
		buf = wire.AppendInt(buf, int64(e.ClockAhead))
	}
	return wire.Seal(buf, start)
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

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func readSpan(r *wire.Reader) domain.Span {
	return domain.Span{Off: uint32(r.Uint()), Len: uint32(r.Uint())}
}

func readEvent(r *wire.Reader, version byte) *domain.Event {
	e := &domain.Event{Received: r.Time(), Time: r.Time()}
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
	return e
}

func appendRules(buf []byte, rules *domain.Rules) ([]byte, error) {
	text, err := json.Marshal(rules)
	if err != nil {
		return nil, fmt.Errorf("encode rules: %w", err)
	}
	start := len(buf)
	buf = append(buf, recordRules)
	return wire.Seal(wire.AppendBytes(buf, text), start), nil
}

// decodeRecord reads a frame; an event's raw bytes share memory with it.
func decodeRecord(seq uint64, frame []byte) (record, error) {
	if len(frame) == 0 {
		return record{}, wire.ErrDamaged
	}
	r, err := wire.Unseal(frame, frame[0])
	if err != nil {
		return record{}, err
	}
	rec := record{seq: seq}
	switch frame[0] {
	case recordEvent, recordEvent1:
		rec.event = readEvent(&r, frame[0])
	case recordRules:
		rec.rules = new(domain.Rules)
		if json.Unmarshal(r.Bytes(), rec.rules) != nil {
			return record{}, wire.ErrDamaged
		}
	case recordRepair:
		rec.repair = readRepair(&r)
	case recordAction:
		rec.action = readAction(&r, nil)
	case recordOrder:
		rec.order = readOrder(&r)
	case recordAgain:
		rec.again = readAgain(&r, seq)
	case recordErased:
		rec.erased = true
	case recordLost:
	default:
		return record{}, wire.ErrNewer
	}
	return rec, r.Done()
}

// inboxRecords is what the inbox must know of records.
var inboxRecords = wal.Records{Weigh: weigh, Received: receiptOf}

// weigh is a record's size as far as applying it goes.
func weigh(frame []byte) int {
	if len(frame) > 0 && frame[0] == recordOrder {
		return len(frame) * orderWeight
	}
	return len(frame)
}

// receiptOf reads an event frame's receipt time without decoding the rest; others keep was.
func receiptOf(frame []byte, was int64) int64 {
	if len(frame) < 2 || frame[0] != recordEvent && frame[0] != recordEvent1 {
		return was
	}
	r := wire.NewReader(frame[1:])
	if ns := r.Int(); r.OK() {
		return ns
	}
	return was
}
