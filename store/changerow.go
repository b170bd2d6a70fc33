package store

import "bytes"

// changeVersion 1 did not count the attempts alone.
const changeVersion byte = 2

// stored is a change as the queue, the parked, the held and the history keep it. One encoding serves
// all four, so that a change moves whole.
type stored struct {
	Change
	field uint32 // number of the field it speaks of; fieldNone of a received event
	lane  uint32
	road  Road
	prev  uint64 // history: number of the user's entry before this one; 0: none
	raw   []byte // received: the event's frame, to be read again on retry
	loose bool   // an attribute that is queued like an event, because its computation does not collapse
}

const fieldNone = ^uint32(0)

// inRow reports whether a pending change is kept in a membership row, and not in the user's queue.
func (c *stored) inRow() bool {
	return !c.loose && (c.Kind == KindAttribute || c.Kind == KindCohort || c.Kind == KindList)
}

func (c *stored) encode(buf []byte) []byte {
	start := len(buf)
	buf = append(buf, changeVersion)
	buf = putID(buf, c.ID)
	buf = append(buf, byte(c.Kind), byte(c.State), byte(c.Transition), byte(c.Class), byte(c.road), boolByte(c.loose))
	buf = putString(buf, c.User)
	buf = putUint(putUint(buf, uint64(c.field)), uint64(c.lane))
	buf = putString(putString(buf, c.Computation), c.ComputedBy)
	buf = putString(putString(buf, c.Column), c.Name)
	buf = putBytes(putBytes(buf, c.Value), c.Props)
	buf = putTime(putTime(buf, c.EventTime), c.Received)
	buf = putString(buf, c.MessageID)
	buf = putTime(putUint(buf, uint64(c.Attempts)), c.NextAttempt)
	buf = putString(putString(buf, c.Reason), c.Sentence)
	buf = putAnswer(buf, &c.Answer)
	buf = putTime(buf, c.Closed)
	buf = putUint(putID(buf, c.Successor), c.prev)
	buf = putBytes(buf, c.raw)
	return seal(putUint(buf, uint64(c.Alone)), start)
}

func putAnswer(buf []byte, a *Answer) []byte {
	buf = putUint(buf, uint64(a.Status))
	buf = putString(putString(buf, a.RequestID), a.Body)
	return putTime(buf, a.At)
}

func (r *reader) answer() Answer {
	return Answer{Status: int(r.uint()), RequestID: r.string(), Body: r.string(), At: r.time()}
}

// decodeChange copies everything it keeps: a change leaves its transaction.
func decodeChange(frame []byte, epoch epochs) (*stored, error) {
	return peekChange(bytes.Clone(frame), epoch)
}

// peekChange is decodeChange without the copy: the value, the properties and the raw bytes of the change
// lie in frame, and are good for as long as that is.
func peekChange(frame []byte, epoch epochs) (*stored, error) {
	version := changeVersion
	if len(frame) > 0 && frame[0] == 1 {
		version = 1
	}
	r, err := unseal(frame, version)
	if err != nil {
		return nil, err
	}
	c := &stored{Change: Change{ID: r.id(epoch)}}
	c.Kind, c.State, c.Transition, c.Class = Kind(r.byte()), State(r.byte()), Transition(r.byte()), Class(r.byte())
	c.road, c.loose = Road(r.byte()), r.byte() == 1
	c.User = r.string()
	c.field, c.lane = uint32(r.uint()), uint32(r.uint())
	c.Computation, c.ComputedBy = r.string(), r.string()
	c.Column, c.Name = r.string(), r.string()
	c.Value, c.Props = nilIfEmpty(r.bytes()), nilIfEmpty(r.bytes())
	c.EventTime, c.Received = r.time(), r.time()
	c.MessageID = r.string()
	c.Attempts, c.NextAttempt = int(r.uint()), r.time()
	c.Reason, c.Sentence = r.string(), r.string()
	c.Answer = r.answer()
	c.Closed = r.time()
	c.Successor, c.prev = r.id(epoch), r.uint()
	c.raw = nilIfEmpty(r.bytes())
	if version > 1 {
		c.Alone = int(r.uint())
	}
	return c, r.done()
}

func nilIfEmpty(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}
