package state

import (
	"encoding/binary"

	"personasync/store/internal/record"
)

// Arrival is a start on files that are not where they last ran, or not as that left them, until the state has it.
type Arrival struct {
	Home  []byte
	First uint64 // the first record number that this run gives
	Epoch uint32 // from there on; 0: the one that is
}

// MoveIn notes where the state runs.
func MoveIn(tx *Tx, a *Arrival) {
	meta := tx.Bucket(BucketMeta)
	tx.State.Home = a.Home
	tx.Put(meta, MetaHome, a.Home)
	if a.Epoch == 0 {
		return
	}
	if last := len(tx.State.Epochs) - 1; last > 0 && tx.State.Epochs[last].First == a.First {
		tx.State.Epochs = tx.State.Epochs[:last] // it gave no number
	}
	tx.State.Epochs = append(tx.State.Epochs[:len(tx.State.Epochs):len(tx.State.Epochs)], record.EpochFrom{First: a.First, Epoch: a.Epoch})
	tx.Put(meta, MetaEpochs, encode(tx.State.Epochs))
}

func encode(e record.Epochs) (v []byte) {
	for _, one := range e[1:] {
		v = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(v, one.First), one.Epoch)
	}
	return v
}
