package query

import (
	"bytes"
	"encoding/binary"

	"personasync/store/internal/state"
)

// ExMembers reads a page of rows and returns the users with an exit to forget, and where to go on: nil at
// the end.
func (v *Reader) ExMembers(from []byte, before int64) (users []string, next []byte, err error) {
	err = v.Read(func(tx *state.Tx) error {
		c := tx.Rows.Cursor()
		k, frame := c.Seek(from)
		for n := 0; k != nil; k, frame = c.Next() {
			if n++; n > state.PageScan {
				next = bytes.Clone(k)
				return nil
			}
			id, rest, ok := state.UserOf(k)
			if !ok || len(rest) != 2 || binary.BigEndian.Uint16(rest) >= state.BlockConsent || len(users) > 0 && users[len(users)-1] == id {
				continue
			}
			row, err := state.DecodeBlock(k, frame, tx.State.Epochs)
			if err != nil {
				continue // set aside when next written; doctor counts it
			}
			for _, e := range row.Entries {
				if f := tx.FieldOf(row.Field(e)); f != nil && f.Audience() && e.Over(before) {
					users = append(users, id)
					break
				}
			}
		}
		return nil
	})
	return users, next, err
}
