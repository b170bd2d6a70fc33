package record

import (
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// Reading a parked event again
//
// An event that could not be used is parked with its record. An operator who has removed the cause, by a change
// of the configuration or by a newer version, has its bytes read again. What is read now is appended as a record
// of its own, so that applying it needs neither the configuration nor the clock of that moment.

// Reread is that record.
//
//	received, id of the parked event, frame of the event as it is read now
type Reread struct {
	Received time.Time // when the operator asked; the event keeps its own first receipt
	ID       domain.ID
	Event    *domain.Event
	Frame    []byte
}

func (a *Reread) Encode(buf []byte) []byte {
	start := len(buf)
	buf = wire.AppendTime(append(buf, recordAgain), a.Received)
	return wire.Seal(wire.AppendBytes(PutID(buf, a.ID), AppendEvent(nil, a.Event)), start)
}

func readAgain(r *wire.Reader, seq uint64) *Reread {
	a := &Reread{Received: r.Time(), ID: ReadID(r, nil), Frame: r.Bytes()}
	rec, err := DecodeRecord(seq, a.Frame)
	if a.Event = rec.Event; err != nil || a.Event == nil {
		r.Fail()
	}
	return a
}
