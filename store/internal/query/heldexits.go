package query

import (
	"bytes"
	"encoding/binary"
	"slices"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// HeldExits reads a page of the exits that the guard holds of some fields and a record up to until
// caused, and where to go on.
func (v *Reader) HeldExits(numbers []uint32, until uint64, from []byte) (page []domain.ID, next []byte, err error) {
	err = v.Look(func(tx engine.Tx) error {
		ids, c := state.EpochsIn(tx), tx.Bucket(state.BucketHeld).Cursor()
		k, frame := c.Seek(from)
		for n := 0; k != nil && binary.BigEndian.Uint64(k) <= until; k, frame = c.Next() {
			if n++; n > state.PageScan {
				next = bytes.Clone(k)
				return nil
			}
			ch, err := state.DecodeChange(frame, ids)
			if err == nil && slices.Contains(numbers, ch.Field) && ch.Reason == outbox.ReasonMassExit {
				page = append(page, ch.ID)
			}
		}
		return nil
	})
	return page, next, err
}
