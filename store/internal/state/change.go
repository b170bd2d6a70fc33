package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
)

// PendingChange returns the change that a pending ticket stands for.
func (tx *Tx) PendingChange(u *User, f *Field, t *Ticket) *Stored {
	ch := tx.Pending(u, f, t)
	return &ch
}

// Pending is PendingChange without an allocation, for a caller that does not keep it.
func (tx *Tx) Pending(u *User, f *Field, t *Ticket) Stored {
	ch := Stored{
		Change: domain.Change{
			ID: t.ID, Kind: f.Kind(), User: u.ID, Transition: t.Transition, Name: t.Name, Value: t.Value,
			EventTime: time.Unix(0, t.Time).UTC(), Received: time.Unix(0, t.Received).UTC(), MessageID: t.Message, Trace: t.Trace, State: domain.StatePending,
		},
		Lane: t.Lane, Endpoint: f.Endpoint(),
	}
	ch.About(f)
	if t.Failures != nil {
		ch.Attempts, ch.Alone, ch.NextAttempt = t.Failures.Attempts, t.Failures.Alone, t.Failures.Next
		ch.Reason, ch.Sentence, ch.Answer = t.Failures.Reason, t.Failures.Sentence, t.Failures.Answer
	}
	return ch
}

// QueueValue returns the value of an entry of the queue: the due second, whether an attempt failed, and the change.
// The entry of a parked or held change has no value.
func (tx *Tx) QueueValue(due uint32, ch *Stored) []byte {
	return tx.Frame(func(buf []byte) []byte {
		buf = binary.BigEndian.AppendUint32(buf, due)
		return ch.Encode(append(buf, record.BoolByte(ch.Attempts > 0)))
	})
}

// ParseQueueValue splits a value of the queue. frame is nil for a parked or held change.
func ParseQueueValue(v []byte) (due uint32, tried bool, frame []byte) {
	if len(v) < 5 {
		return 0, false, nil
	}
	return binary.BigEndian.Uint32(v), v[4] == 1, v[5:]
}

// Locate writes the user and the place of a change, so that it is found by its id.
func (tx *Tx) Locate(ch *Stored) {
	place, number := LocatedInQueue, ch.Lane
	if ch.InRow() {
		place, number = LocatedInRow, ch.Field
	}
	tx.key = appendIDKey(tx.key[:0], ch.ID)
	tx.Put(tx.Locator, tx.key, tx.Frame(func(buf []byte) []byte {
		return append(binary.BigEndian.AppendUint32(append(buf, place), number), ch.User...)
	}))
}

// The place of a pending change by the locator. Numbers are on disk.
const (
	LocatedInRow   byte = 1 // followed by the field
	LocatedInQueue byte = 2 // followed by the lane
)

// ChangeAt returns the change of a ticket, wherever it is kept, nil when it is lost.
func (tx *Tx) ChangeAt(u *User, f *Field, t *Ticket) *Stored {
	switch t.Place {
	case PlaceParked:
		return tx.Fetch(tx.Parked, IDKey(t.ID))
	case PlaceHeld:
		return tx.Fetch(tx.Held, IDKey(t.ID))
	default:
		return tx.PendingChange(u, f, t)
	}
}

// Fetch reads a change from the parked, the held or the history, nil when there is none or it is corrupt.
func (tx *Tx) Fetch(from engine.Bucket, key []byte) *Stored {
	return tx.Decode(from.Get(key))
}

// FetchQueued reads a change from its user's queue, nil when there is none or it is corrupt.
func (tx *Tx) FetchQueued(key []byte) *Stored {
	_, _, frame := ParseQueueValue(tx.Queue.Get(key))
	return tx.Decode(frame)
}

// Decode reads a change, nil from an empty or corrupt frame. A newer version fails the transaction.
func (tx *Tx) Decode(frame []byte) *Stored {
	if frame == nil {
		return nil
	}
	ch, err := DecodeChange(frame, tx.State.Epochs)
	if errors.Is(err, wire.ErrNewer) {
		tx.meetNewer("a change")
		return nil
	}
	if err != nil {
		tx.Log.Error("a corrupt change was skipped: restart the agent, which then checks the files and salvages the rest", "err", err)
		tx.Aside = true
		return nil
	}
	if ch.State == domain.StateHeld && domain.IsSelection(ch.Reason) {
		p := tx.SelectionOf(ch)
		ch.Sentence = p.HeldSentence(ch.Reason, ch.User) // as the share, or the pause, is now
	}
	return ch
}

// SelectionOf returns the policy whose rollout and pause decide about a held change. A forwarded trait, which belongs to no
// computation, keeps in its change the one that forwards it.
func (tx *Tx) SelectionOf(ch *Stored) domain.Policy {
	key, id := ch.Computation, ch.ComputedBy
	if f := tx.FieldOf(ch.Field); f != nil && !f.forwarded() {
		key, id = f.Key, f.ID // which an adoption may have changed
	}
	return tx.State.Rules.For(key, id)
}

// Withdraw removes a change from the parked or the held, and from the ledger's count of them.
func (tx *Tx) Withdraw(ch *Stored) {
	if ch.State == domain.StateParked {
		tx.Remove(tx.Parked, IDKey(ch.ID))
	} else {
		tx.Remove(tx.Held, IDKey(ch.ID))
		if f := tx.FieldOf(ch.Field); f != nil && f.Held > 0 {
			f.Held--
			if n := f.HeldFor(ch.Reason); n != nil {
				*n -= min(*n, 1)
			}
			tx.Touch(f)
		}
	}
	if ch.Kind == domain.KindReceived {
		tx.State.Ledger.Events.Parked--
		return
	}
	*tx.State.Ledger.Changes.Column(ch.State)--
}

// Close writes a change that reached its end to the history, where it becomes the newest of its user's chain.
func (tx *Tx) Close(u *User, ch *Stored, s domain.State, at time.Time) {
	ch.State, ch.Closed = s, at
	ch.NextAttempt = time.Time{}
	ch.Prev = u.Index.History
	tx.State.Closed++
	u.Index.History = tx.State.Closed
	u.Dirty = true
	*tx.State.Ledger.Changes.Column(s)++
	tx.Put(tx.History, NumberKey(tx.State.Closed), tx.Frame(ch.Encode))
	if journals(tx, tx.FieldOf(ch.Field)) {
		AppendJournal(tx, u, &JournalEntry{
			Transition: ch.Transition, Seq: ch.ID.Seq, At: at, Field: ch.Field,
			JournalOutcome: JournalOutcome{State: s, Kind: ch.Kind, Slot: ch.ID.Slot, Reason: ch.Reason},
		})
	}
}

// Find returns a change by its id, nil when there is none. It looks among the parked and the held, then at the place
// that the locator names, then in the user's history.
func Find(tx *Tx, id domain.ID) *Stored {
	for _, kept := range []engine.Bucket{tx.Parked, tx.Held} {
		if ch := tx.Fetch(kept, IDKey(id)); ch != nil {
			return ch
		}
	}
	at := tx.Locator.Get(IDKey(id))
	if len(at) < 5 {
		return nil
	}
	u, number := tx.User(string(at[5:])), binary.BigEndian.Uint32(at[1:])
	if at[0] == LocatedInQueue {
		if ch := tx.FetchQueued(QueueKey(u.Key, number, id)); ch != nil {
			return ch
		}
	} else if f := tx.FieldOf(number); f != nil {
		for e, i := tx.Entry(u, number), 0; i < 2; i++ {
			if t := [2]*Ticket{&e.Waiting, &e.InFlight}[i]; t.ID == id && t.Pending() {
				return tx.PendingChange(u, f, t)
			}
		}
	}
	for n := u.Index.History; n != 0; {
		ch := tx.Fetch(tx.History, NumberKey(n))
		if ch == nil || ch.ID == id {
			return ch
		}
		n = ch.Prev
	}
	return nil
}

// Version 1 of a change did not count the attempts without other users. One with a trace has ChangeVersion, any other
// plainChange, so that an older program reads it.
const (
	plainChange   byte = 2
	ChangeVersion byte = 3
)

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

// encode appends the frame of a change.
func (c *Stored) Encode(buf []byte) []byte {
	start := len(buf)
	buf = append(buf, plainChange)
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
	buf = wire.AppendUint(buf, uint64(c.Alone))
	if c.Trace != nil {
		buf[start] = ChangeVersion
		buf = record.PutTrace(buf, c.Trace)
	}
	return wire.Seal(buf, start)
}

// DecodeChange reads a change of any version. It copies everything, because the change outlives its transaction.
func DecodeChange(frame []byte, epoch record.Epochs) (*Stored, error) {
	return PeekChange(bytes.Clone(frame), epoch)
}

// PeekChange is DecodeChange without the copy: the value, the properties and the raw bytes are slices of frame, and
// valid as long as frame is.
func PeekChange(frame []byte, epoch record.Epochs) (*Stored, error) {
	version := ChangeVersion
	if len(frame) > 0 && (frame[0] == 1 || frame[0] == plainChange) {
		version = frame[0]
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
	if version == ChangeVersion {
		c.Trace = record.ReadTrace(&r)
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

// PolicyOf returns the policy by which a field is sent. A forwarded trait belongs to no computation, so that it is sent
// by the defaults, in no rollout and never paused: the computation that forwards it decided when it came.
func PolicyOf(tx *Tx, f *Field) domain.Policy {
	p := tx.State.Rules.For(f.Key, f.ID)
	if f.forwarded() {
		p.Send, p.Rollout = domain.SendAttribute, nil
	}
	return p
}
