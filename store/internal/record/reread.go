package record

import (
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// Reread is a parked event in a new reading. An operator removed the cause, by a change of the configuration or a
// newer version, and the event's bytes are read again. The new reading is a record of its own, so that applying it
// needs neither the configuration nor the clock of that moment.
//
//	received, id of the parked event, frame of the event as it is read now
type Reread struct {
	Received time.Time // when the operator asked; the event keeps its first receipt
	ID       domain.ID
	Event    *domain.Event
	Frame    []byte
}

// Encode appends the frame of the record.
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
