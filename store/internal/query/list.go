package query

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/state"
)

// DefaultLimit is how many lines a listing has unless told otherwise.
const DefaultLimit = 100

// ErrBadCursor says that a cursor was not one that a listing returned.
var ErrBadCursor = errors.New("this is not a cursor of a listing: begin again without it")

// Changes lists changes. Pending ones come as they are due, parked and held ones by id, closed ones
// the newest first. next is the cursor of the page behind this one, "" when there is none.
func (v *Reader) Changes(f domain.OutboxFilter) (page []domain.ChangeInfo, next string, err error) {
	l, err := NewListing(f)
	for err == nil && !l.Done() {
		err = l.Read(v)
	}
	if err != nil {
		return nil, "", err
	}
	page, next = l.Page()
	return page, next, nil
}

// cursor says behind what a listing goes on: a key of the bucket walked, and for the changes of one
// user how many of them were shown.
type cursor struct {
	key   []byte
	shown uint32
}

func (c cursor) String() string {
	return hex.EncodeToString(binary.BigEndian.AppendUint32(slices.Clone(c.key), c.shown))
}

func parseCursor(s string) (c cursor, err error) {
	if s == "" {
		return c, nil
	}
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) < 5 {
		return c, ErrBadCursor
	}
	end := len(raw) - 4
	return cursor{raw[:end], binary.BigEndian.Uint32(raw[end:])}, nil
}

// Listing is a page of Changes in the making, over as many short reads as it takes: a filter that
// hardly anything passes looks at everything there is. The view may be another one for each read, so
// that who opens the files for it need not keep them.
type Listing struct {
	Filter domain.OutboxFilter
	Fields map[uint32]bool // whose changes are wanted; nil: everything
	at     cursor
	Lines  []line
	done   bool // no line follows those read
}

// NewListing begins the page that f asks for, or answers ErrBadCursor.
func NewListing(f domain.OutboxFilter) (l *Listing, err error) {
	f.State = cmp.Or(f.State, domain.StatePending)
	if f.Limit <= 0 {
		f.Limit = DefaultLimit
	}
	l = &Listing{Filter: f}
	l.at, err = parseCursor(f.Cursor)
	return l, err
}

// Done reports whether the page is there.
func (l *Listing) Done() bool { return l.done || l.full() }

// Read goes on with the page, for one read transaction over a bounded number of changes.
func (l *Listing) Read(v *Reader) error { return v.Read(l.slice) }

// Page is what Changes returns.
func (l *Listing) Page() (page []domain.ChangeInfo, next string) {
	for _, line := range l.Lines[:min(len(l.Lines), l.Filter.Limit)] {
		page = append(page, line.info)
	}
	if l.full() {
		next = l.Lines[l.Filter.Limit-1].at.String()
	}
	return page, next
}

// line is one change with the cursor behind it.
type line struct {
	info domain.ChangeInfo
	at   cursor
}

// slice adds what one transaction may look at.
func (l *Listing) slice(tx *state.Tx) error {
	switch {
	case l.Filter.User != "":
		l.ofUser(tx)
	case l.Filter.State == domain.StatePending:
		l.pending(tx)
	case l.Filter.State == domain.StateParked:
		l.kept(tx, tx.Parked)
	case l.Filter.State == domain.StateHeld:
		l.kept(tx, tx.Held)
	default:
		l.closed(tx)
	}
	return nil
}

func (l *Listing) full() bool { return len(l.Lines) > l.Filter.Limit }

func (l *Listing) add(ch *state.Stored, at cursor) {
	if ch.State == l.Filter.State && (l.Fields == nil || ch.Kind != domain.KindReceived && l.Fields[ch.Field]) && l.Filter.Matches(&ch.Change) {
		info := ch.Describe()
		info.Value = bytes.Clone(info.Value)
		l.Lines = append(l.Lines, line{info, at})
	}
}

// pending walks the due index, user by user, as they are due.
func (l *Listing) pending(tx *state.Tx) {
	from, _ := cutDue(l.at.key)
	n := 0
	for k := range ahead(tx, dueOrder(tx, from)) {
		if n >= state.PageScan || l.full() {
			return
		}
		at := cursor{key: bytes.Clone(k)}
		if bytes.Equal(k, from) {
			if at = l.at; at.shown == shownAll {
				continue
			}
		}
		looked, done := l.pendingOf(tx, at, state.PageScan-n)
		if n += looked; !done {
			return
		}
		l.at = cursor{bytes.Clone(k), shownAll}
	}
	l.done = true
}

// shownAll is the cursor behind all changes under a key.
const shownAll = ^uint32(0)

// cutDue parts the key of a cursor among the pending into that of the due index and, once it has come to the
// user's queue, the place behind which to go on there.
func cutDue(key []byte) (due, place []byte) {
	if len(key) < 9 {
		return key, nil
	}
	_, place, _ = state.UserOf(key[9:])
	return key[:len(key)-len(place)], place
}

// pendingOf adds what one user has waiting under a key of the due index: attributes by field, and then the
// queue. It looks at no more than most of that, and says how much it was, and whether there is nothing more.
func (l *Listing) pendingOf(tx *state.Tx, at cursor, most int) (looked int, done bool) {
	key, place := cutDue(at.key)
	lane, second, user := state.DueParts(key)
	id, _, ok := state.UserOf(user)
	if !ok {
		return 1, true
	}
	u, first := tx.User(id), state.LaneDefault
	lanes := u.Index.Under(state.DuePlace{Endpoint: domain.Endpoint(key[0]), Lane: lane, Second: second})
	if slices.Equal(lanes, []uint32{lane}) {
		first = lane
	}
	due := func(ch *state.Stored) bool {
		return ch.Endpoint == domain.Endpoint(key[0]) && slices.Contains(lanes, ch.Lane)
	}
	if len(place) == 0 {
		if l.ticketsDue(tx, u, at, due); l.full() {
			return 1, false
		}
		place = binary.BigEndian.AppendUint32(nil, first)
	}
	c := tx.Queue.Cursor()
	c.Within(u.Key)
	behind := slices.Concat(u.Key, place)
	k, v := c.Seek(behind)
	if bytes.Equal(k, behind) {
		k, v = c.Next()
	}
	for looked = 1; bytes.HasPrefix(k, u.Key); k, v = c.Next() {
		ch, state := queuedAt(tx, u, k, v)
		if state != domain.StatePending || first == lane && binary.BigEndian.Uint32(k[len(u.Key):]) != lane {
			break
		}
		l.at = cursor{key: slices.Concat(key, k[len(u.Key):])}
		if ch != nil && due(ch) {
			l.add(ch, l.at)
		}
		if looked++; looked > most || l.full() {
			return looked, false
		}
	}
	return looked, true
}

// ticketsDue adds the attributes of a user that are due under the key of a cursor, and were not shown yet.
func (l *Listing) ticketsDue(tx *state.Tx, u *state.User, at cursor, due func(*state.Stored) bool) {
	shown := uint32(0)
	for _, ch := range tickets(tx, u) {
		if ch.State != domain.StatePending || !due(ch) {
			continue
		}
		if shown++; shown <= at.shown {
			continue
		}
		if l.add(ch, cursor{at.key, shown}); l.full() {
			return
		}
	}
}

// kept walks the parked or the held, by id.
func (l *Listing) kept(tx *state.Tx, bucket engine.Bucket) {
	c := bucket.Cursor()
	k, frame := c.Seek(l.at.key)
	if len(l.at.key) > 0 && bytes.Equal(k, l.at.key) {
		k, frame = c.Next()
	}
	for n, size := 0, 0; k != nil && n < state.PageScan && size < state.PageBytes && !l.full(); k, frame = c.Next() {
		n, size = n+1, size+len(frame)
		l.at = cursor{bytes.Clone(k), shownAll}
		if ch, err := state.PeekChange(frame, tx.State.Epochs); err == nil {
			l.add(ch, l.at)
		}
	}
	l.done = k == nil
}

// closed walks the history, the newest first.
func (l *Listing) closed(tx *state.Tx) {
	c := tx.History.Cursor()
	var k, frame []byte
	if after, _ := c.Seek(l.at.key); len(l.at.key) > 0 && after != nil {
		k, frame = c.Prev()
	} else {
		k, frame = c.Last()
	}
	for n := 0; k != nil && n < state.PageScan && !l.full(); k, frame = c.Prev() {
		n++
		l.at = cursor{bytes.Clone(k), shownAll}
		if ch, err := state.PeekChange(frame, tx.State.Epochs); err == nil {
			l.add(ch, l.at)
		}
	}
	l.done = k == nil
}
