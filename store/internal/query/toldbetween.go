package query

import (
	"bytes"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// ToldBetween is a search of the history for the users of whom MoEngage accepted a change between two times. The history
// goes back as far as retention.delivered.
type ToldBetween struct {
	Fields       []uint32 // the changes of these fields count
	Since, Until time.Time

	Oldest time.Time // when the oldest change of the history was closed; zero if it is empty
	at     []byte    // key of the last entry that was read
	done   bool
}

// Done reports whether the search has come to its end.
func (s *ToldBetween) Done() bool { return s.done }

// Read continues the search in one read transaction over a limited number of changes. It returns a user once for each
// change.
func (s *ToldBetween) Read(v *Reader) (users []string, err error) {
	err = v.Read(func(tx *state.Tx) error {
		c := tx.History.Cursor()
		if first, frame := c.First(); first != nil {
			if ch, err := state.PeekChange(frame, tx.State.Epochs); err == nil {
				s.Oldest = ch.Closed
			}
		}
		k, frame := c.Last()
		if s.at != nil {
			if found, _ := c.Seek(s.at); found != nil {
				k, frame = c.Prev()
			}
		}
		for n := 0; k != nil && n < state.PageScan; k, frame = c.Prev() {
			n++
			s.at = bytes.Clone(k)
			ch, err := state.PeekChange(frame, tx.State.Epochs)
			if err == nil && ch.State == domain.StateDelivered && slices.Contains(s.Fields, ch.Field) && !ch.Closed.Before(s.Since) && ch.Closed.Before(s.Until) {
				users = append(users, ch.User)
			}
		}
		s.done = k == nil
		return nil
	})
	return users, err
}
