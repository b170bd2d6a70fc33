package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"iter"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// userRow is what the rows know of a user and a computation.
type userRow struct {
	key  []byte
	in   bool
	told bool   // MoEngage was told something, or may have been, by whatever channel
	time int64  // of the newest word, ns
	old  bool   // a state that is kept is from before the time asked about
	some bool   // a state that is kept is in, if not the newest
	left uint64 // the record that ended the membership under the guard's eyes
}

// userRows reads a page of those that the rows know of a computation, in the order of their keys,
// and where to go on: nil at the end. targetFields are the numbers of its own field and of its targets.
func (v *reader) userRows(voices []uint32, before int64, from []byte) (page []userRow, next []byte, err error) {
	err = v.look(func(tx *bolt.Tx) error {
		var m rowScan
		ids := epochsIn(tx)
		c := tx.Bucket(bucketRows).Cursor()
		k, frame := c.Seek(from)
		for n := 0; k != nil; k, frame = c.Next() {
			n++
			end := len(k) - 2
			if end < 3 {
				continue
			}
			if !bytes.Equal(k[:end], m.key) { // the rows of a user stand together
				page = m.appendTo(page, before)
				if m = (rowScan{key: k[:end]}); n > pageScan {
					next = bytes.Clone(k)
					return nil
				}
			}
			m.read(k, frame, voices, ids)
		}
		page = m.appendTo(page, before)
		return nil
	})
	return page, next, err
}

// rowScan is what the rows of one user say of a computation and its targets.
type rowScan struct {
	key  []byte
	own  *entry
	told bool
}

func (m *rowScan) read(k, frame []byte, voices []uint32, epoch epochs) {
	number := binary.BigEndian.Uint16(k[len(k)-2:])
	if !slices.ContainsFunc(voices, func(n uint32) bool { return uint16(n/blockSize) == number }) {
		return
	}
	row, err := decodeBlock(k, frame, epoch)
	if err != nil {
		return // set aside when next written; doctor counts it
	}
	for i, n := range voices {
		if uint16(n/blockSize) != number {
			continue
		}
		e := row.find(uint8(n % blockSize))
		m.told = m.told || e != nil && e.lastSent.kind != neverSent
		if i == 0 {
			m.own = e
		}
	}
}

func (m *rowScan) appendTo(page []userRow, before int64) []userRow {
	if m.own == nil || m.own.newest() == nil {
		return page
	}
	a := m.own.acquaint(bytes.Clone(m.key), before)
	a.told = m.told
	return append(page, a)
}

func (e *entry) acquaint(key []byte, before int64) userRow {
	a := userRow{key: key, in: e.newest().IsIn(), time: e.newest().Time, left: e.left}
	for _, s := range e.kept {
		a.old = a.old || s != nil && s.Time < before
		a.some = a.some || s.IsIn()
	}
	return a
}

// everybody visits all that the rows know of the computation.
func (c *membershipJob) everybody(ctx context.Context, progress func(done, total int64), visit func(*userRow) error) error {
	for a, err := range c.known(ctx, 0) {
		if err == nil {
			err = visit(a)
		}
		if err != nil {
			return err
		}
		if progress != nil {
			progress(int64(min(c.done.Again+c.done.Exits, c.members)), int64(c.members))
		}
	}
	return nil
}

// known walks all that the rows know of the computation.
func (c *membershipJob) known(ctx context.Context, before int64) iter.Seq2[*userRow, error] {
	return func(yield func(*userRow, error) bool) {
		if c.o.field == fieldNone {
			return
		}
		voices := []uint32{c.o.field} // or a column
		if c.o.field == c.targetFields[0] {
			voices = c.targetFields
		}
		for from, more := []byte(nil), true; more; {
			page, next, err := c.s.r.userRows(voices, before, from)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range page {
				if !yield(&page[i], nil) {
					return
				}
			}
			from, more = next, next != nil
		}
	}
}
