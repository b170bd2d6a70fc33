package query

import (
	"bytes"
	"encoding/binary"
	"slices"

	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// UserRow is what the rows know of a user and a computation.
type UserRow struct {
	Key  []byte
	In   bool
	Told bool   // MoEngage was told something, or may have been, by any target
	Time int64  // of the newest assertion, ns
	Old  bool   // a state that is kept is from before the time asked about
	Some bool   // a state that is kept is in, if not the newest
	Left uint64 // the record that ended the membership, as the guard counted it
}

// UserRows reads a page of those that the rows know of a computation, in the order of their keys,
// and where to go on: nil at the end. targetFields are the numbers of its own field and of its targets.
func (v *Reader) UserRows(targetFields []uint32, before int64, from []byte) (page []UserRow, next []byte, err error) {
	err = v.Look(func(tx engine.Tx) error {
		var m rowScan
		ids := state.EpochsIn(tx)
		c := tx.Bucket(state.BucketRows).Cursor()
		k, frame := c.Seek(from)
		for n := 0; k != nil; k, frame = c.Next() {
			n++
			end := len(k) - 2
			if end < 3 {
				continue
			}
			if !bytes.Equal(k[:end], m.key) { // the rows of a user stand together
				page = m.appendTo(page, before)
				if m = (rowScan{key: k[:end]}); n > state.PageScan {
					next = bytes.Clone(k)
					return nil
				}
			}
			m.read(k, frame, targetFields, ids)
		}
		page = m.appendTo(page, before)
		return nil
	})
	return page, next, err
}

// rowScan is what the rows of one user say of a computation and its targets.
type rowScan struct {
	key  []byte
	own  *state.Entry
	told bool
}

func (m *rowScan) read(k, frame []byte, targetFields []uint32, epoch record.Epochs) {
	number := binary.BigEndian.Uint16(k[len(k)-2:])
	if !slices.ContainsFunc(targetFields, func(n uint32) bool { return uint16(n/state.BlockSize) == number }) {
		return
	}
	row, err := state.DecodeBlock(k, frame, epoch)
	if err != nil {
		return // set aside when next written; doctor counts it
	}
	for i, n := range targetFields {
		if uint16(n/state.BlockSize) != number {
			continue
		}
		e := row.Find(uint8(n % state.BlockSize))
		m.told = m.told || e != nil && e.LastSent.Kind != state.NeverSent
		if i == 0 {
			m.own = e
		}
	}
}

func (m *rowScan) appendTo(page []UserRow, before int64) []UserRow {
	if m.own == nil || m.own.Newest() == nil {
		return page
	}
	a := newUserRow(m.own, bytes.Clone(m.key), before)
	a.Told = m.told
	return append(page, a)
}

func newUserRow(e *state.Entry, key []byte, before int64) UserRow {
	a := UserRow{Key: key, In: e.Newest().IsIn(), Time: e.Newest().Time, Left: e.Left}
	for _, s := range e.Kept {
		a.Old = a.Old || s != nil && s.Time < before
		a.Some = a.Some || s.IsIn()
	}
	return a
}
