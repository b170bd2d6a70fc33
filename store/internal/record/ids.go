package record

import (
	"personasync/store/domain"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// Change ids are made of record numbers, and files that are copied back, or a machine that goes back to a snapshot,
// give the same numbers a second time: to other records, whose changes nobody downstream could tell from those
// of before. So the state remembers where it last ran, the run how it left the state, and from the first number that a start on other files
// may give, ids bear another epoch. Those of before keep theirs, with what waits and may have left among them;
// records that wait to be applied are the same ones, and make the same ids.
//
// A restore, which has no file to compare, moves the numbers on instead: see restore.go.

// RestoreJump is the least jump in the record numbers that only a restore makes.
const RestoreJump = wal.RestoreJump

// Epochs are the epochs of record numbers, the oldest first.
type Epochs []EpochFrom

type EpochFrom struct {
	First uint64 // the first record number that has it
	Epoch uint32
}

// Of returns the epoch of the changes that a record makes; 0 without any.
func (e Epochs) Of(seq uint64) uint32 {
	for i := len(e) - 1; i >= 0; i-- {
		if seq >= e[i].First {
			return e[i].Epoch
		}
	}
	return 0
}

// PutID writes an id without its epoch, which follows from the number.
func PutID(b []byte, id domain.ID) []byte {
	return wire.AppendUint(wire.AppendUint(b, id.Seq), uint64(id.Slot))
}

// ReadID reads what putID wrote.
func ReadID(r *wire.Reader, epoch Epochs) domain.ID {
	seq, slot := r.Uint(), r.Uint()
	if seq == 0 {
		return domain.ID{}
	}
	return domain.ID{Epoch: epoch.Of(seq), Seq: seq, Slot: uint16(slot)}
}
