package record

import (
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// actionVerb is a decision of an operator on single changes.
type actionVerb byte

// What an operator wants of changes. Numbers are on disk.
const (
	ActionRetry actionVerb = 1
	ActionDrop  actionVerb = 2
)

// Action is the record that sends parked changes again, or drops changes. It goes through the inbox, like everything
// that can make or close a change.
//
//	received, verb, changes x (id)
type Action struct {
	Received time.Time
	Verb     actionVerb
	IDs      []domain.ID
}

// MaxActionIDs is how many changes one record may have.
const MaxActionIDs = 10_000

// Encode appends the frame of the record.
func (h *Action) Encode(buf []byte) []byte {
	start := len(buf)
	buf = append(wire.AppendTime(append(buf, recordAction), h.Received), byte(h.Verb))
	buf = wire.AppendUint(buf, uint64(len(h.IDs)))
	for _, id := range h.IDs {
		buf = PutID(buf, id)
	}
	return wire.Seal(buf, start)
}

func readAction(r *wire.Reader, epoch Epochs) *Action {
	h := &Action{Received: r.Time(), Verb: actionVerb(r.Byte())}
	n := r.Uint()
	if n > uint64(r.Len()) || n > MaxActionIDs {
		r.Fail()
		return h
	}
	for range n {
		h.IDs = append(h.IDs, ReadID(r, epoch))
	}
	return h
}
