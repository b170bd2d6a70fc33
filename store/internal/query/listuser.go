package query

import (
	"bytes"
	"encoding/binary"
	"slices"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// tickets returns a user's attribute changes that wait, are parked or are held, by field.
func tickets(tx *state.Tx, u *state.User) (list []*state.Stored) {
	for _, n := range state.BlockNumbers(tx, u) {
		row := tx.Block(u, n)
		for _, e := range row.Entries {
			f := tx.FieldOf(row.Field(e))
			if f == nil {
				continue
			}
			for _, t := range []*state.Ticket{&e.InFlight, &e.Waiting} {
				if t.ID.IsZero() {
					continue
				}
				if ch := tx.ChangeAt(u, f, t); ch != nil {
					list = append(list, ch)
				}
			}
		}
	}
	return list
}

// waiting returns the open changes of a user, by id: those in the rows, and of the queue as many as make most. more
// reports that there are more.
func waiting(tx *state.Tx, u *state.User, most int) (list []*state.Stored, more bool) {
	list = tickets(tx, u)
	for _, s := range [...]domain.State{domain.StateHeld, domain.StateParked, domain.StatePending} {
		c := tx.Queue.Cursor()
		for k, v := c.Seek(queueStart(s, u)); bytes.HasPrefix(k, u.Key); k, v = c.Next() {
			ch, place := queuedAt(tx, u, k, v)
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

// ofUser lists the changes of one user. Of the pending, parked or held ones, attributes come first, by id. The user's
// queue comes after them, because it may be very long.
func (l *Listing) ofUser(tx *state.Tx) {
	u := tx.User(l.Filter.User)
	if l.Filter.State > domain.StateParked {
		l.closedOf(tx, u)
		return
	}
	if len(l.at.key) <= len(inRows) {
		if l.ticketsOf(tx, u); l.full() {
			return
		}
		l.at = cursor{key: queueStart(l.Filter.State, u)}
	}
	l.queueOf(tx, u)
}

// inRows is the key of a cursor that has not come to the user's queue yet.
var inRows = []byte{1}

func (l *Listing) ticketsOf(tx *state.Tx, u *state.User) {
	list := tickets(tx, u)
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

func byID(x, y *state.Stored) int { return x.ID.Compare(y.ID) }

// queueStart is where the changes in a state begin in a user's queue.
func queueStart(s domain.State, u *state.User) []byte {
	lane := state.LaneDefault
	switch s {
	case domain.StateParked:
		lane = state.LaneParked
	case domain.StateHeld:
		lane = state.LaneHeld
	}
	return binary.BigEndian.AppendUint32(slices.Clone(u.Key), lane)
}

// queueOf goes on in the user's queue.
func (l *Listing) queueOf(tx *state.Tx, u *state.User) {
	c := tx.Queue.Cursor()
	k, v := c.Seek(l.at.key)
	if l.at.shown == shownAll && bytes.Equal(k, l.at.key) {
		k, v = c.Next()
	}
	n, size := 0, 0
	for ; bytes.HasPrefix(k, u.Key) && n < state.PageScan && size < state.PageBytes && !l.full(); k, v = c.Next() {
		ch, place := queuedAt(tx, u, k, v)
		if place != l.Filter.State {
			k = nil // what follows is in another state
			break
		}
		n, l.at = n+1, cursor{bytes.Clone(k), shownAll}
		if ch != nil {
			size += len(ch.Raw) + len(ch.Value) + len(ch.Props)
			l.add(ch, l.at)
		}
	}
	l.done = !bytes.HasPrefix(k, u.Key)
}

// queuedAt reads an entry of a user's queue, and in which state what stands there is. Of a damaged one there
// is no change.
func queuedAt(tx *state.Tx, u *state.User, k, v []byte) (*state.Stored, domain.State) {
	switch lane, id := binary.BigEndian.Uint32(k[len(u.Key):]), k[len(u.Key)+4:]; lane {
	case state.LaneParked:
		return tx.Fetch(tx.Parked, id), domain.StateParked
	case state.LaneHeld:
		return tx.Fetch(tx.Held, id), domain.StateHeld
	}
	_, _, frame := state.ParseQueueValue(v)
	return tx.Decode(frame), domain.StatePending
}

// closedOf walks the user's history, the newest first.
func (l *Listing) closedOf(tx *state.Tx, u *state.User) {
	n := u.Index.History
	if len(l.at.key) > 0 {
		n = state.Number(l.at.key)
	}
	for i := 0; n != 0 && i < state.PageScan && !l.full(); i++ {
		ch := tx.Fetch(tx.History, state.NumberKey(n))
		if ch == nil {
			n = 0 // older ones are past their retention
			break
		}
		n = ch.Prev
		l.at = cursor{state.NumberKey(n), shownAll}
		l.add(ch, l.at)
	}
	l.done = n == 0
}
