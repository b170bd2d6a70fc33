package state

import (
	"encoding/binary"

	"personasync/store/internal/record"
)

// Arrival is a start on files that are not where they last ran, or not as that run left them. The writer keeps it
// until a transaction has written it.
type Arrival struct {
	Home  []byte
	First uint64 // the first record number that this run assigns
	Epoch uint32 // of ids from there on; 0: as before
}

// MoveIn writes where the state runs now, and the epoch of the ids from here on.
func MoveIn(tx *Tx, a *Arrival) {
	meta := tx.Bucket(BucketMeta)
	tx.State.Home = a.Home
	tx.Put(meta, MetaHome, a.Home)
	if a.Epoch == 0 {
		return
	}
	if last := len(tx.State.Epochs) - 1; last > 0 && tx.State.Epochs[last].First == a.First {
		tx.State.Epochs = tx.State.Epochs[:last] // that run assigned no number
	}
	tx.State.Epochs = append(tx.State.Epochs[:len(tx.State.Epochs):len(tx.State.Epochs)], record.EpochFrom{First: a.First, Epoch: a.Epoch})
	tx.Put(meta, MetaEpochs, encode(tx.State.Epochs))
}

// encode writes the epochs after the first, which the file has by itself.
func encode(e record.Epochs) (v []byte) {
	for _, one := range e[1:] {
		v = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(v, one.First), one.Epoch)
	}
	return v
}
