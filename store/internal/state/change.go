package state

import (
	"encoding/binary"
	"errors"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
)

// PendingChange makes the change that a pending ticket stands for.
func (tx *Tx) PendingChange(u *User, f *Field, t *Ticket) *Stored {
	ch := tx.Pending(u, f, t)
	return &ch
}

// Pending is change for whoever is done with it at once: it takes no memory of its own.
func (tx *Tx) Pending(u *User, f *Field, t *Ticket) Stored {
	ch := Stored{
		Change: domain.Change{
			ID: t.ID, Kind: f.Kind(), User: u.ID, Transition: t.Transition, Name: t.Name, Value: t.Value,
			EventTime: time.Unix(0, t.Time).UTC(), Received: time.Unix(0, t.Received).UTC(), MessageID: t.Message, State: domain.StatePending,
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

// A queue entry is when it is due, whether an attempt at it failed, and the change itself; of a change
// that is parked or held, nothing.
func (tx *Tx) QueueValue(due uint32, ch *Stored) []byte {
	return tx.Frame(func(buf []byte) []byte {
		buf = binary.BigEndian.AppendUint32(buf, due)
		return ch.Encode(append(buf, record.BoolByte(ch.Attempts > 0)))
	})
}

func ParseQueueValue(v []byte) (due uint32, tried bool, frame []byte) {
	if len(v) < 5 {
		return 0, false, nil
	}
	return binary.BigEndian.Uint32(v), v[4] == 1, v[5:]
}

// Locate notes whose a change is, for whoever asks by its id.
func (tx *Tx) Locate(ch *Stored) {
	place, number := LocatedInQueue, ch.Lane
	if ch.InRow() {
		place, number = LocatedInRow, ch.Field
	}
	tx.Put(tx.Locator, IDKey(ch.ID), tx.Frame(func(buf []byte) []byte {
		return append(binary.BigEndian.AppendUint32(append(buf, place), number), ch.User...)
	}))
}

// Where the locator says that a pending change is. Numbers are on disk.
const (
	LocatedInRow   byte = 1 // followed by the field
	LocatedInQueue byte = 2 // followed by the lane
)

// ChangeAt returns the change of a ticket, wherever it is; nil when damage took it.
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

// Fetch reads a change from parked, held or history; nil when it is gone or damaged.
func (tx *Tx) Fetch(from engine.Bucket, key []byte) *Stored {
	return tx.Decode(from.Get(key))
}

// FetchQueued reads an event from its user's queue.
func (tx *Tx) FetchQueued(key []byte) *Stored {
	_, _, frame := ParseQueueValue(tx.Queue.Get(key))
	return tx.Decode(frame)
}

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
		tx.Log.Error("a damaged change is passed over: start the agent again, which then reads the files and saves what can be saved", "err", err)
		tx.Aside = true
		return nil
	}
	return ch
}

// Withdraw takes a change out of the parked or the held; the ledger follows.
func (tx *Tx) Withdraw(ch *Stored) {
	if ch.State == domain.StateParked {
		tx.Remove(tx.Parked, IDKey(ch.ID))
	} else {
		tx.Remove(tx.Held, IDKey(ch.ID))
		if f := tx.FieldOf(ch.Field); f != nil && f.Held > 0 {
			f.Held--
			tx.Touch(f)
		}
	}
	if ch.Kind == domain.KindReceived {
		tx.State.Ledger.Events.Parked--
		return
	}
	*tx.State.Ledger.Changes.Column(ch.State)--
}

// Close writes a change that waits nowhere any more to the end of the history, which is the head of
// its user's chain.
func (tx *Tx) Close(u *User, ch *Stored, s domain.State, at time.Time) {
	ch.State, ch.Closed = s, at
	ch.NextAttempt = time.Time{}
	ch.Prev = u.Index.History
	tx.State.Closed++
	u.Index.History = tx.State.Closed
	u.Dirty = true
	*tx.State.Ledger.Changes.Column(s)++
	tx.Put(tx.History, NumberKey(tx.State.Closed), tx.Frame(ch.Encode))
}

// Find returns a change by its id: parked, held, waiting with its user, or in the user's history.
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
