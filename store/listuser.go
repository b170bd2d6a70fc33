package store

import (
	"bytes"
	"encoding/binary"
	"slices"

	"personasync/store/domain"
)

// The changes of one user, who may have very many: they are read in slices, too.

// tickets returns a user's attribute changes that wait, are parked or are held, by field.
func (b *batch) tickets(u *user) (list []*stored) {
	for _, n := range b.blockNumbers(u) {
		row := b.block(u, n)
		for _, e := range row.entries {
			f := b.fieldOf(row.field(e))
			if f == nil {
				continue
			}
			for _, t := range []*ticket{&e.inFlight, &e.waiting} {
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

// waiting returns what is open of a user, by id: what is kept in the rows, and of the queue as much as makes
// most; more says that there is more.
func (b *batch) waiting(u *user, most int) (list []*stored, more bool) {
	list = b.tickets(u)
	for _, s := range [...]domain.State{domain.StateHeld, domain.StateParked, domain.StatePending} {
		c := b.queue.Cursor()
		for k, v := c.Seek(queueStart(s, u)); bytes.HasPrefix(k, u.key); k, v = c.Next() {
			ch, place := b.queuedAt(u, k, v)
			if place != s {
				break
			}
			if more = len(list) >= most; more {
				break
			}
			if ch != nil {
				list = append(list, ch)
			}
		}
	}
	slices.SortFunc(list, byID)
	return list, more
}

// ofUser lists the changes of one user: of what waits, is parked or is held, attributes first, by id, and
// then what is in the user's queue, which may be very much.
func (l *Listing) ofUser(b *batch) {
	u := b.user(l.filter.User)
	if l.filter.State > domain.StateParked {
		l.closedOf(b, u)
		return
	}
	if len(l.at.key) <= len(inRows) {
		if l.ticketsOf(b, u); l.full() {
			return
		}
		l.at = cursor{key: queueStart(l.filter.State, u)}
	}
	l.queueOf(b, u)
}

// inRows is the key of a cursor that has not come to the user's queue yet.
var inRows = []byte{1}

func (l *Listing) ticketsOf(b *batch, u *user) {
	list := b.tickets(u)
	slices.SortFunc(list, byID)
	for i, ch := range list {
		if uint32(i) < l.at.shown {
			continue
		}
		if l.add(ch, cursor{inRows, uint32(i) + 1}); l.full() {
			return
		}
	}
}

func byID(x, y *stored) int { return x.ID.Compare(y.ID) }

// queueStart is where a user's queue begins with what is in a state.
func queueStart(s domain.State, u *user) []byte {
	lane := laneDefault
	switch s {
	case domain.StateParked:
		lane = laneParked
	case domain.StateHeld:
		lane = laneHeld
	}
	return binary.BigEndian.AppendUint32(slices.Clone(u.key), lane)
}

// queueOf goes on in the user's queue.
func (l *Listing) queueOf(b *batch, u *user) {
	c := b.queue.Cursor()
	k, v := c.Seek(l.at.key)
	if l.at.shown == shownAll && bytes.Equal(k, l.at.key) {
		k, v = c.Next()
	}
	n, size := 0, 0
	for ; bytes.HasPrefix(k, u.key) && n < pageScan && size < pageBytes && !l.full(); k, v = c.Next() {
		ch, place := b.queuedAt(u, k, v)
		if place != l.filter.State {
			k = nil // what follows is in another state
			break
		}
		n, l.at = n+1, cursor{bytes.Clone(k), shownAll}
		if ch != nil {
			size += len(ch.raw) + len(ch.Value) + len(ch.Props)
			l.add(ch, l.at)
		}
	}
	l.done = !bytes.HasPrefix(k, u.key)
}

// queuedAt reads an entry of a user's queue, and in which state what stands there is. Of a damaged one there
// is no change.
func (b *batch) queuedAt(u *user, k, v []byte) (*stored, domain.State) {
	switch lane, id := binary.BigEndian.Uint32(k[len(u.key):]), k[len(u.key)+4:]; lane {
	case laneParked:
		return b.fetch(b.parked, id), domain.StateParked
	case laneHeld:
		return b.fetch(b.held, id), domain.StateHeld
	}
	_, _, frame := parseQueueValue(v)
	return b.decode(frame), domain.StatePending
}

// closedOf walks the user's history, the newest first.
func (l *Listing) closedOf(b *batch, u *user) {
	n := u.head.history
	if len(l.at.key) > 0 {
		n = number(l.at.key)
	}
	for i := 0; n != 0 && i < pageScan && !l.full(); i++ {
		ch := b.fetch(b.history, numberKey(n))
		if ch == nil {
			n = 0 // what was before is past its retention
			break
		}
		n = ch.prev
		l.at = cursor{numberKey(n), shownAll}
		l.add(ch, l.at)
	}
	l.done = n == 0
}
