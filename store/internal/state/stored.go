package state

import (
	"bytes"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
)

// ChangeVersion 1 did not count the attempts without other users.
const ChangeVersion byte = 2

// Stored is a change as the queue, the parked, the held and the history keep it. All four use one encoding, so a
// change moves whole.
type Stored struct {
	domain.Change
	Field    uint32 // number of its field; FieldNone for a received event
	Lane     uint32
	Endpoint domain.Endpoint
	Prev     uint64 // in the history: number of the user's entry before this one; 0: none
	Raw      []byte // of a received event: its frame, to be applied again on retry
	Loose    bool   // an attribute that is queued like an event, because its computation does not collapse
}

// FieldNone is the field of a received event, which has none.
const FieldNone = ^uint32(0)

// InRow reports whether a pending change is kept in a membership row. All others are in the user's queue.
func (c *Stored) InRow() bool {
	return !c.Loose && (c.Kind == domain.KindAttribute || c.Kind == domain.KindCohort || c.Kind == domain.KindList)
}

// Encode appends the frame of a change.
func (c *Stored) Encode(buf []byte) []byte {
	start := len(buf)
	buf = append(buf, ChangeVersion)
	buf = record.PutID(buf, c.ID)
	buf = append(buf, byte(c.Kind), byte(c.State), byte(c.Transition), byte(c.Class), byte(c.Endpoint), record.BoolByte(c.Loose))
	buf = wire.AppendString(buf, c.User)
	buf = wire.AppendUint(wire.AppendUint(buf, uint64(c.Field)), uint64(c.Lane))
	buf = wire.AppendString(wire.AppendString(buf, c.Computation), c.ComputedBy)
	buf = wire.AppendString(wire.AppendString(buf, c.Column), c.Name)
	buf = wire.AppendBytes(wire.AppendBytes(buf, c.Value), c.Props)
	buf = wire.AppendTime(wire.AppendTime(buf, c.EventTime), c.Received)
	buf = wire.AppendString(buf, c.MessageID)
	buf = wire.AppendTime(wire.AppendUint(buf, uint64(c.Attempts)), c.NextAttempt)
	buf = wire.AppendString(wire.AppendString(buf, c.Reason), c.Sentence)
	buf = putAnswer(buf, &c.Answer)
	buf = wire.AppendTime(buf, c.Closed)
	buf = wire.AppendUint(record.PutID(buf, c.Successor), c.Prev)
	buf = wire.AppendBytes(buf, c.Raw)
	return wire.Seal(wire.AppendUint(buf, uint64(c.Alone)), start)
}

func putAnswer(buf []byte, a *domain.Answer) []byte {
	buf = wire.AppendUint(buf, uint64(a.Status))
	buf = wire.AppendString(wire.AppendString(buf, a.RequestID), a.Body)
	return wire.AppendTime(buf, a.At)
}

func readAnswer(r *wire.Reader) domain.Answer {
	return domain.Answer{Status: int(r.Uint()), RequestID: r.Text(), Body: r.Text(), At: r.Time()}
}

// DecodeChange reads a change of any version. It copies everything, because the change outlives its transaction.
func DecodeChange(frame []byte, epoch record.Epochs) (*Stored, error) {
	return PeekChange(bytes.Clone(frame), epoch)
}

// PeekChange is DecodeChange without the copy: the value, the properties and the raw bytes are slices of frame, and
// valid as long as frame is.
func PeekChange(frame []byte, epoch record.Epochs) (*Stored, error) {
	version := ChangeVersion
	if len(frame) > 0 && frame[0] == 1 {
		version = 1
	}
	r, err := wire.Unseal(frame, version)
	if err != nil {
		return nil, err
	}
	c := &Stored{Change: domain.Change{ID: record.ReadID(&r, epoch)}}
	c.Kind, c.State, c.Transition, c.Class = domain.Kind(r.Byte()), domain.State(r.Byte()), domain.Transition(r.Byte()), domain.Class(r.Byte())
	c.Endpoint, c.Loose = domain.Endpoint(r.Byte()), r.Byte() == 1
	c.User = r.Text()
	c.Field, c.Lane = uint32(r.Uint()), uint32(r.Uint())
	c.Computation, c.ComputedBy = r.Text(), r.Text()
	c.Column, c.Name = r.Text(), r.Text()
	c.Value, c.Props = nilIfEmpty(r.Bytes()), nilIfEmpty(r.Bytes())
	c.EventTime, c.Received = r.Time(), r.Time()
	c.MessageID = r.Text()
	c.Attempts, c.NextAttempt = int(r.Uint()), r.Time()
	c.Reason, c.Sentence = r.Text(), r.Text()
	c.Answer = readAnswer(&r)
	c.Closed = r.Time()
	c.Successor, c.Prev = record.ReadID(&r, epoch), r.Uint()
	c.Raw = nilIfEmpty(r.Bytes())
	if version > 1 {
		c.Alone = int(r.Uint())
	}
	return c, r.Done()
}

func nilIfEmpty(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// About sets the field that a change is about.
func (c *Stored) About(f *Field) {
	c.Field, c.Computation, c.ComputedBy, c.Column, c.Class = f.Number, f.Key, f.ID, f.SQLColumn(), f.Class
}
