package record

import (
	"personasync/store/domain"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// RestoreJump is the least jump in the record numbers that only a restore makes.
const RestoreJump = wal.RestoreJump

// Epochs are the epochs of record numbers, the oldest first.
//
// Change ids are made of record numbers. Files that are copied back, or a machine that returns to a snapshot, assign
// the same numbers again to other records, and their changes would have the ids of earlier ones. So the state
// remembers where it last ran and how that run ended. From the first number that a start on other files may assign,
// ids have another epoch. Earlier numbers keep theirs, with the changes that are pending or may have left. A restore
// has no file to compare, and moves the numbers on instead.
type Epochs []EpochFrom

// EpochFrom is an epoch and the first record number that has it.
type EpochFrom struct {
	First uint64 // the first record number that has it
	Epoch uint32
}

// Of returns the epoch of a record's changes, 0 if there is none.
func (e Epochs) Of(seq uint64) uint32 {
	for i := len(e) - 1; i >= 0; i-- {
		if seq >= e[i].First {
			return e[i].Epoch
		}
	}
	return 0
}

// PutID appends an id without its epoch, which follows from the number.
func PutID(b []byte, id domain.ID) []byte {
	return wire.AppendUint(wire.AppendUint(b, id.Seq), uint64(id.Slot))
}

// ReadID reads what PutID wrote.
func ReadID(r *wire.Reader, epoch Epochs) domain.ID {
	seq, slot := r.Uint(), r.Uint()
	if seq == 0 {
		return domain.ID{}
	}
	return domain.ID{Epoch: epoch.Of(seq), Seq: seq, Slot: uint16(slot)}
}

// PutTrace appends a trace: its id, and whether it is sampled.
func PutTrace(b []byte, t *domain.Trace) []byte {
	return append(append(b, t.ID[:]...), BoolByte(t.Sampled))
}

// ReadTrace reads what PutTrace wrote.
func ReadTrace(r *wire.Reader) *domain.Trace {
	t := new(domain.Trace)
	copy(t.ID[:], r.Take(uint64(len(t.ID))))
	t.Sampled = r.Byte() == 1
	return t
}
