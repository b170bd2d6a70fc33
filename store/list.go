package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"
)

// DefaultLimit is how many lines a listing has unless told otherwise.
const DefaultLimit = 100

// pageScan bounds how many changes, or users, one read transaction of a listing looks at, so that no
// writer waits for a reader.
const pageScan = 2000

// pageBytes bounds how many bytes of changes that is: a parked one may hold an event of the largest size.
const pageBytes = 4 << 20

// ErrBadCursor says that a cursor was not one that a listing returned.
var ErrBadCursor = errors.New("this is not a cursor of a listing: begin again without it")

// Changes lists changes. Pending ones come as they are due, parked and held ones by id, closed ones
// the newest first. next is the cursor of the page behind this one, "" when there is none.
func (v *reader) Changes(f domain.OutboxFilter) (page []domain.ChangeInfo, next string, err error) {
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
	filter domain.OutboxFilter
	fields map[uint32]bool // whose changes are wanted; nil: everything
	at     cursor
	page   []line
	done   bool // there is nothing behind what was read
}

// NewListing begins the page that f asks for, or answers ErrBadCursor.
func NewListing(f domain.OutboxFilter) (l *Listing, err error) {
	if f.State == 0 {
		f.State = domain.StatePending
	}
	if f.Limit <= 0 {
		f.Limit = DefaultLimit
	}
	l = &Listing{filter: f}
	l.at, err = parseCursor(f.Cursor)
	return l, err
}

// Done reports whether the page is there.
func (l *Listing) Done() bool { return l.done || l.full() }

// Read goes on with the page, for one read transaction over a bounded number of changes.
func (l *Listing) Read(v *reader) error { return v.read(l.slice) }

// Page is what Changes returns.
func (l *Listing) Page() (page []domain.ChangeInfo, next string) {
	for _, line := range l.page[:min(len(l.page), l.filter.Limit)] {
		page = append(page, line.info)
	}
	if l.full() {
		next = l.page[l.filter.Limit-1].at.String()
	}
	return page, next
}

// line is one change with the cursor behind it.
type line struct {
	info domain.ChangeInfo
	at   cursor
}

// slice adds what one transaction may look at.
func (l *Listing) slice(b *batch) error {
	switch {
	case l.filter.User != "":
		l.ofUser(b)
	case l.filter.State == domain.StatePending:
		l.pending(b)
	case l.filter.State == domain.StateParked:
		l.kept(b, b.parked)
	case l.filter.State == domain.StateHeld:
		l.kept(b, b.held)
	default:
		l.closed(b)
	}
	return nil
}

func (l *Listing) full() bool { return len(l.page) > l.filter.Limit }

func (l *Listing) add(ch *stored, at cursor) {
	f := &l.filter
	if ch.State == f.State && (l.fields == nil || ch.Kind != domain.KindReceived && l.fields[ch.field]) && (f.Computation == "" || f.Computation == ch.Computation || f.Computation == ch.ComputedBy) {
		info := ch.Describe()
		info.Value = bytes.Clone(info.Value)
		l.page = append(l.page, line{info, at})
	}
}

// pending walks the due index, user by user, as they are due.
func (l *Listing) pending(b *batch) {
	from, _ := cutDue(l.at.key)
	n := 0
	for k := range b.inDueOrder(from) {
		if n >= pageScan || l.full() {
			return
		}
		at := cursor{key: bytes.Clone(k)}
		if bytes.Equal(k, from) {
			if at = l.at; at.shown == shownAll {
				continue
			}
		}
		looked, done := l.pendingOf(b, at, pageScan-n)
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
	_, place, _ = userOf(key[9:])
	return key[:len(key)-len(place)], place
}

// pendingOf adds what one user has waiting under a key of the due index: attributes by field, and then the
// queue. It looks at no more than most of that, and says how much it was, and whether there is nothing more.
func (l *Listing) pendingOf(b *batch, at cursor, most int) (looked int, done bool) {
	key, place := cutDue(at.key)
	lane, second, user := dueParts(key)
	id, _, ok := userOf(user)
	if !ok {
		return 1, true
	}
	u, first := b.user(id), laneDefault
	lanes := u.head.under(stand{domain.Endpoint(key[0]), lane, second})
	if slices.Equal(lanes, []uint32{lane}) {
		first = lane
	}
	due := func(ch *stored) bool {
		return ch.endpoint == domain.Endpoint(key[0]) && slices.Contains(lanes, ch.lane)
	}
	if len(place) == 0 {
		if l.ticketsDue(b, u, at, due); l.full() {
			return 1, false
		}
		place = binary.BigEndian.AppendUint32(nil, first)
	}
	c := b.queue.Cursor()
	behind := slices.Concat(u.key, place)
	k, v := c.Seek(behind)
	if bytes.Equal(k, behind) {
		k, v = c.Next()
	}
	for looked = 1; bytes.HasPrefix(k, u.key); k, v = c.Next() {
		ch, state := b.queuedAt(u, k, v)
		if state != domain.StatePending || first == lane && binary.BigEndian.Uint32(k[len(u.key):]) != lane {
			break
		}
		l.at = cursor{key: slices.Concat(key, k[len(u.key):])}
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
func (l *Listing) ticketsDue(b *batch, u *user, at cursor, due func(*stored) bool) {
	shown := uint32(0)
	for _, ch := range b.tickets(u) {
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
func (l *Listing) kept(b *batch, bucket *bolt.Bucket) {
	c := bucket.Cursor()
	k, frame := c.Seek(l.at.key)
	if len(l.at.key) > 0 && bytes.Equal(k, l.at.key) {
		k, frame = c.Next()
	}
	for n, size := 0, 0; k != nil && n < pageScan && size < pageBytes && !l.full(); k, frame = c.Next() {
		n, size = n+1, size+len(frame)
		l.at = cursor{bytes.Clone(k), shownAll}
		if ch, err := peekChange(frame, b.st.epochs); err == nil {
			l.add(ch, l.at)
		}
	}
	l.done = k == nil
}

// closed walks the history, the newest first.
func (l *Listing) closed(b *batch) {
	c := b.history.Cursor()
	var k, frame []byte
	if after, _ := c.Seek(l.at.key); len(l.at.key) > 0 && after != nil {
		k, frame = c.Prev()
	} else {
		k, frame = c.Last()
	}
	for n := 0; k != nil && n < pageScan && !l.full(); k, frame = c.Prev() {
		n++
		l.at = cursor{bytes.Clone(k), shownAll}
		if ch, err := peekChange(frame, b.st.epochs); err == nil {
			l.add(ch, l.at)
		}
	}
	l.done = k == nil
}
