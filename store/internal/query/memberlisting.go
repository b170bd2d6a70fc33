package query

import (
	"bytes"
	"encoding/binary"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Members lists the members of one computation; after is the user behind whom to go on, "" for the
// first page. An unknown key is ErrNotFound; an ambiguous one is an *AmbiguousError.
func (v *Reader) Members(key, after string, limit int) (page []domain.MemberInfo, more bool, err error) {
	l := NewMemberListing(key, after, limit)
	for err == nil && !l.Done() {
		err = l.Read(v)
	}
	if err != nil {
		return nil, false, err
	}
	page, more = l.Page()
	return page, more, nil
}

// MemberListing is a page of Members in the making, as Listing is one of Changes.
type MemberListing struct {
	key   string
	from  []byte // row to go on with
	limit int
	page  []domain.MemberInfo
	done  bool
}

// NewMemberListing begins the page that Members would return.
func NewMemberListing(key, after string, limit int) *MemberListing {
	if limit <= 0 {
		limit = DefaultLimit
	}
	l := &MemberListing{key: key, limit: limit}
	if after != "" {
		l.from = state.RowKey(state.UserKey(after), state.BlockIndex)
	}
	return l
}

// Done reports whether the page is there.
func (l *MemberListing) Done() bool { return l.done || len(l.page) > l.limit }

// Page is what Members returns.
func (l *MemberListing) Page() (page []domain.MemberInfo, more bool) {
	return l.page[:min(len(l.page), l.limit)], len(l.page) > l.limit
}

// Read goes on with the page, for one read transaction over a bounded number of rows.
func (l *MemberListing) Read(v *Reader) error {
	return v.Look(func(tx engine.Tx) error {
		st, err := state.LoadState(tx)
		if err != nil {
			return err
		}
		f, err := st.Registry.One(l.key)
		if err != nil {
			return err
		}
		c := tx.Bucket(state.BucketRows).Cursor()
		k, frame := c.Seek(l.from)
		for n := 0; k != nil && n < state.PageScan && !l.Done(); k, frame = c.Next() {
			n++
			if m, ok := memberOf(k, frame, f, st.Epochs); ok {
				l.page = append(l.page, m)
			}
		}
		l.from, l.done = bytes.Clone(k), k == nil
		return nil
	})
}

// memberOf reads a member of f from a row, if it is a row of f's block and its user is one.
func memberOf(k, frame []byte, f *state.Field, epoch record.Epochs) (m domain.MemberInfo, ok bool) {
	id, rest, ok := state.UserOf(k)
	if !ok || len(rest) != 2 || binary.BigEndian.Uint16(rest) != uint16(f.Number/state.BlockSize) {
		return m, false
	}
	row, err := state.DecodeBlock(k, frame, epoch)
	if err != nil {
		return m, false // set aside when next written; doctor counts it
	}
	e := row.Find(uint8(f.Number % state.BlockSize))
	if e == nil || f.Class == domain.ClassTrait || !e.Newest().IsIn() {
		return m, false
	}
	return domain.MemberInfo{User: id, Since: domain.Timestamp(time.Unix(0, e.Newest().Since))}, true
}
