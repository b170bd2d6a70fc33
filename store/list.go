package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

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
func (v *View) Changes(f OutboxFilter) (page []ChangeInfo, next string, err error) {
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
	filter OutboxFilter
	at     cursor
	page   []line
	done   bool // there is nothing behind what was read
}

// NewListing begins the page that f asks for, or answers ErrBadCursor.
func NewListing(f OutboxFilter) (l *Listing, err error) {
	if f.State == 0 {
		f.State = StatePending
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
func (l *Listing) Read(v *View) error { return v.read(l.slice) }

// Page is what Changes returns.
func (l *Listing) Page() (page []ChangeInfo, next string) {
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
	info ChangeInfo
	at   cursor
}

// slice adds what one transaction may look at.
func (l *Listing) slice(b *batch) error {
	switch {
	case l.filter.User != "":
		l.ofUser(b)
		l.done = true
	case l.filter.State == StatePending:
		l.pending(b)
	case l.filter.State == StateParked:
		l.kept(b, b.parked)
	case l.filter.State == StateHeld:
		l.kept(b, b.held)
	default:
		l.closed(b)
	}
	return nil
}

func (l *Listing) full() bool { return len(l.page) > l.filter.Limit }

func (l *Listing) add(ch *stored, at cursor) {
	f := &l.filter
	if ch.State == f.State && (f.Computation == "" || f.Computation == ch.Computation || f.Computation == ch.ComputedBy) {
		info := ch.Describe()
		info.Value = bytes.Clone(info.Value)
		l.page = append(l.page, line{info, at})
	}
}

// pending walks the due index, user by user.
func (l *Listing) pending(b *batch) {
	c := b.due.Cursor()
	k, _ := c.Seek(l.at.key)
	if l.at.shown == shownAll && bytes.Equal(k, l.at.key) {
		k, _ = c.Next()
	}
	for n := 0; k != nil && n < pageScan && !l.full(); k, _ = c.Next() {
		n++
		skip := uint32(0)
		if bytes.Equal(k, l.at.key) {
			skip = l.at.shown
		}
		l.pendingOf(b, bytes.Clone(k), skip)
		l.at = cursor{bytes.Clone(k), shownAll}
	}
	l.done = k == nil
}

// shownAll is the cursor behind all changes under a key.
const shownAll = ^uint32(0)

// pendingOf adds what one user has waiting under a key of the due index: all of it if it is a retry,
// else what waits in that lane.
func (l *Listing) pendingOf(b *batch, key []byte, skip uint32) {
	lane, _, user := dueParts(key)
	id, _, ok := userOf(user)
	if !ok {
		return
	}
	shown := uint32(0)
	b.eachPending(b.user(id), func(ch *stored) bool {
		if ch.road != Road(key[0]) || ch.lane != lane && lane != laneRetry {
			return true
		}
		if shown++; shown > skip {
			l.add(ch, cursor{key, shown})
		}
		return !l.full()
	})
}

// eachPending walks what a user has waiting: attributes by field, then the queue by lane and id.
func (b *batch) eachPending(u *user, visit func(*stored) bool) {
	for _, ch := range b.tickets(u) {
		if ch.State == StatePending && !visit(ch) {
			return
		}
	}
	c := b.queue.Cursor()
	for k, v := c.Seek(u.key); bytes.HasPrefix(k, u.key); k, v = c.Next() {
		_, _, frame := parseQueueValue(v)
		if frame == nil {
			continue // parked or held: only points there
		}
		if ch, err := decodeChange(frame, b.st.epoch); err == nil && !visit(ch) {
			return
		}
	}
}

// tickets returns a user's attribute changes that wait, are parked or are held, by field.
func (b *batch) tickets(u *user) (list []*stored) {
	for _, n := range b.blockNumbers(u) {
		row := b.block(u, n)
		for _, e := range row.entries {
			f := b.fieldOf(row.field(e))
			if f == nil {
				continue
			}
			for _, t := range []*ticket{&e.flying, &e.waiting} {
				if t.id.IsZero() {
					continue
				}
				if ch := b.changeAt(u, f, t); ch != nil {
					list = append(list, ch)
				}
			}
		}
	}
	return list
}

// waiting returns everything open of a user, by id.
func (b *batch) waiting(u *user) []*stored {
	list := b.tickets(u)
	b.eachPending(u, func(ch *stored) bool {
		if ch.Kind != KindAttribute || ch.loose {
			list = append(list, ch)
		}
		return true
	})
	for lane, kept := range map[uint32]*bolt.Bucket{laneParked: b.parked, laneHeld: b.held} {
		prefix := binary.BigEndian.AppendUint32(slices.Clone(u.key), lane)
		for _, key := range keysWithPrefix(b.queue, prefix) {
			if ch := b.fetch(kept, key[len(prefix):]); ch != nil {
				list = append(list, ch)
			}
		}
	}
	slices.SortFunc(list, func(x, y *stored) int { return bytes.Compare(idKey(x.ID), idKey(y.ID)) })
	return list
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
		if ch, err := peekChange(frame, b.st.epoch); err == nil {
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
		if ch, err := peekChange(frame, b.st.epoch); err == nil {
			l.add(ch, l.at)
		}
	}
	l.done = k == nil
}

// ofUser lists the changes of one user, who has few enough to be read at once.
func (l *Listing) ofUser(b *batch) {
	u, shown := b.user(l.filter.User), uint32(0)
	add := func(ch *stored) {
		if shown++; shown > l.at.shown || len(l.at.key) == 0 {
			l.add(ch, cursor{[]byte{1}, shown})
		}
	}
	if l.filter.State <= StateParked {
		for _, ch := range b.waiting(u) {
			add(ch)
		}
		return
	}
	for n := u.head.history; n != 0 && !l.full(); {
		ch := b.fetch(b.history, numberKey(n))
		if ch == nil {
			return
		}
		add(ch)
		n = ch.prev
	}
}

// Stats groups what waits, is held or is parked, by state, kind, computation and reason.
func (v *View) Stats() ([]StatLine, error) {
	var all []StatLine
	for cursor, first := "", true; first || cursor != ""; first = false {
		lines, next, err := v.StatsPage(cursor)
		if err != nil {
			return nil, err
		}
		all, cursor = MergeStats(all, lines), next
	}
	return all, nil
}

// StatsPage is Stats of a part of what there is, for readers that must not look for long at a time;
// MergeStats puts the parts together. next is the cursor of the next part, "" at the end.
func (v *View) StatsPage(after string) (lines []StatLine, next string, err error) {
	s := StatePending
	if state, rest, found := strings.Cut(after, ":"); found {
		if s, found = ParseState(state); !found {
			return nil, "", ErrBadCursor
		}
		after = rest
	}
	l := &Listing{filter: OutboxFilter{State: s, Limit: 2 * pageScan}}
	if l.at, err = parseCursor(after); err != nil {
		return nil, "", err
	}
	if err := v.read(l.slice); err != nil {
		return nil, "", err
	}
	for _, line := range l.page {
		i := &line.info
		lines = append(lines, StatLine{State: i.State, Kind: i.Kind, Computation: i.Computation, Reason: i.Reason, Cause: cmp.Or(i.Cause, i.Reason),
			Count: 1, First: i.ReceivedAt, Last: i.ReceivedAt, Samples: []string{i.ID}})
	}
	if l.full() { // within one user
		l.at, l.done = l.page[len(l.page)-1].at, false
	}
	switch {
	case !l.done:
		next = s.String() + ":" + l.at.String()
	case s < StateParked:
		next = (s + 1).String() + ":"
	}
	return MergeStats(nil, lines), next, nil
}

// statSamples is how many ids a line of the statistics names.
const statSamples = 3

// statCauses bounds how many causes of one reason are told apart: what is beyond shares one.
const statCauses = 50

// otherCauses is the cause of what is beyond.
func otherCauses(reason string) string { return reason + ": other words" }

// MergeStats adds up lines of one kind, in the order that a listing shows.
func MergeStats(a, b []StatLine) []StatLine {
	type reason struct{ state, kind, computation, reason string }
	type cause struct {
		reason
		words string
	}
	place, causes := make(map[cause]int), make(map[reason]int)
	lines := make([]StatLine, 0, len(a)+1)
	for _, line := range slices.Concat(a, b) {
		of := reason{line.State, line.Kind, line.Computation, line.Reason}
		c := cause{of, line.Cause}
		at, met := place[c]
		if !met && causes[of] >= statCauses {
			line.Cause = otherCauses(line.Reason)
			c.words = line.Cause
			at, met = place[c]
		}
		if !met {
			causes[of]++
			place[c] = len(lines)
			line.Samples = slices.Clone(line.Samples)
			lines = append(lines, line)
			continue
		}
		same := &lines[at]
		same.Count += line.Count
		same.First, same.Last = min(same.First, line.First), max(same.Last, line.Last)
		same.Samples = append(same.Samples, line.Samples[:min(len(line.Samples), statSamples-min(statSamples, len(same.Samples)))]...)
	}
	slices.SortFunc(lines, func(a, b StatLine) int {
		return cmp.Or(strings.Compare(a.State, b.State), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Computation, b.Computation), strings.Compare(a.Reason, b.Reason), strings.Compare(a.Cause, b.Cause))
	})
	return lines
}
