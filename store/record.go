package store

import (
	"encoding/json"
	"fmt"
	"time"
)

// A record of the inbox is whatever can change the state: an event, new rules, a repair, the operator's
// hand on changes, or an order on memberships. Its frame begins with the kind, which is also its
// version: a new shape takes a new number.
const (
	recordEvent1 byte = 1 // an event without TimeSource, ClockShift and Tracking
	recordRules  byte = 2
	recordLost   byte = 3 // stands for a record that damage took: a salvage writes it
	recordRepair byte = 4
	recordHand   byte = 5
	recordOrder  byte = 6
	recordErased byte = 7 // it was applied, and spoke of somebody who is forgotten: nothing is left of it
	recordEvent  byte = 8
	recordAgain  byte = 9 // an event that was parked, in a new reading
)

// record is one decoded inbox record; one of its pointers is set, or none when it stands for a lost one
// or is what is left of an erased one.
type record struct {
	seq    uint64
	event  *Event
	rules  *Rules
	repair *repair
	hand   *hand
	order  *order
	again  *reread

	erased bool
}

// told is the event of the record, at its first reading or a later one; nil when it has none.
func (r *record) told() *Event {
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
	case r.hand != nil && r.hand.verb == handRetry:
		return "outbox retry"
	}
	return ""
}

// outsider reports whether the record is none of the events that were received.
func (r *record) outsider() bool {
	return r.rules != nil || r.repair != nil || r.hand != nil || r.order != nil || r.again != nil
}

// appendEvent encodes e behind buf.
//
//	received, time, time source, clock shift, tracking, call, messageId, name, 3 x (id, fault), class, space, key, computation id,
//	flags, columns x (name, off, len), object off, len, fault, sentence, raw,
//	what is left out x (name, off, len); nothing stands for none
func appendEvent(buf []byte, e *Event) []byte {
	start := len(buf)
	buf = append(buf, recordEvent)
	buf = putTime(buf, e.Received)
	buf = putTime(buf, e.Time)
	buf = append(buf, byte(e.TimeSource))
	buf = putInt(buf, int64(e.ClockShift))
	buf = append(buf, boolByte(e.Tracking))
	buf = append(buf, byte(e.Call), byte(e.Class), byte(e.Flag), boolByte(e.PassThrough))
	buf = putString(buf, e.MessageID)
	buf = putString(buf, e.Name)
	for _, id := range [...]*Identifier{&e.User, &e.Anonymous, &e.Email} {
		buf = putString(buf, id.ID)
		buf = putString(buf, id.Fault)
	}
	buf = putString(buf, e.Space)
	buf = putString(buf, e.Key)
	buf = putString(buf, e.ComputationID)
	buf = putColumns(buf, e.Columns)
	buf = putSpan(buf, e.Object)
	buf = putString(buf, e.Fault)
	buf = putString(buf, e.Sentence)
	buf = putBytes(buf, e.Raw)
	if len(e.LeftOut) > 0 {
		buf = putColumns(buf, e.LeftOut)
	}
	return seal(buf, start)
}

func putColumns(b []byte, columns []Column) []byte {
	b = putUint(b, uint64(len(columns)))
	for i := range columns {
		b = putSpan(putString(b, columns[i].Name), columns[i].Value)
	}
	return b
}

func (r *reader) columns() []Column {
	n := r.uint()
	if n > uint64(len(r.b)) { // each column takes several bytes
		r.bad = true
	}
	if n == 0 || r.bad {
		return nil
	}
	columns := make([]Column, n)
	for i := range columns {
		columns[i] = Column{Name: r.string(), Value: r.span()}
	}
	return columns
}

func putSpan(b []byte, s Span) []byte {
	return putUint(putUint(b, uint64(s.Off)), uint64(s.Len))
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func (r *reader) span() Span {
	return Span{Off: uint32(r.uint()), Len: uint32(r.uint())}
}

func (r *reader) event(version byte) *Event {
	e := &Event{Received: r.time(), Time: r.time()}
	if version != recordEvent1 {
		e.TimeSource, e.ClockShift, e.Tracking = TimeSource(r.byte()), time.Duration(r.int()), r.byte() == 1
	}
	e.Call, e.Class, e.Flag, e.PassThrough = Call(r.byte()), Class(r.byte()), Flag(r.byte()), r.byte() == 1
	e.MessageID, e.Name = r.string(), r.string()
	for _, id := range [...]*Identifier{&e.User, &e.Anonymous, &e.Email} {
		id.ID, id.Fault = r.string(), r.string()
	}
	e.Space, e.Key, e.ComputationID = r.string(), r.string(), r.string()
	e.Columns, e.Object = r.columns(), r.span()
	e.Fault, e.Sentence = r.string(), r.string()
	e.Raw = r.bytes()
	if version != recordEvent1 && len(r.b) > 0 {
		e.LeftOut = r.columns()
	}
	return e
}

func appendRules(buf []byte, rules *Rules) ([]byte, error) {
	text, err := json.Marshal(rules)
	if err != nil {
		return nil, fmt.Errorf("encode rules: %w", err)
	}
	start := len(buf)
	buf = append(buf, recordRules)
	return seal(putBytes(buf, text), start), nil
}

// decodeRecord reads a frame; an event's raw bytes share memory with it.
func decodeRecord(seq uint64, frame []byte) (record, error) {
	if len(frame) == 0 {
		return record{}, errDamaged
	}
	r, err := unseal(frame, frame[0])
	if err != nil {
		return record{}, err
	}
	rec := record{seq: seq}
	switch frame[0] {
	case recordEvent, recordEvent1:
		rec.event = r.event(frame[0])
	case recordRules:
		rec.rules = new(Rules)
		if json.Unmarshal(r.bytes(), rec.rules) != nil {
			return record{}, errDamaged
		}
	case recordRepair:
		rec.repair = r.repair()
	case recordHand:
		rec.hand = r.hand(nil)
	case recordOrder:
		rec.order = r.order()
	case recordAgain:
		rec.again = r.again(seq)
	case recordErased:
		rec.erased = true
	case recordLost:
	default:
		return record{}, ErrNewer
	}
	return rec, r.done()
}
