package apply

import (
	"crypto/sha256"
	"strings"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// firstSight remembers an event by its message id, and reports whether it is new. A sender may give one message
// id to what it says of several users or computations, or of one by identify and track: they are several events.
//
// Older versions remembered the message id alone. What they remember is a repeat, whatever it is of.
func firstSight(tx *state.Tx, u *state.User, f *state.Field, e *domain.Event) bool {
	older := sha256.Sum256([]byte(e.MessageID))
	if remembered(tx, e, older[:16]) {
		return false
	}
	what := strings.Join([]string{"seen", domain.CallNames[e.Call], f.Key, u.ID, e.MessageID}, "\x00")
	return remember(tx, e, Tombstone(tx.State.Salt, what))
}

// remembered looks a hash up. Hashes are kept in one bucket a day, so that forgetting them drops a bucket. Only
// the days that have a bucket are looked at: retention may be given in years.
func remembered(tx *state.Tx, e *domain.Event, id []byte) bool {
	days := tx.Bucket(state.BucketMessages)
	c := days.Cursor()
	for k, _ := c.Seek(DayKey(e.Earliest().Add(-tx.State.Rules.MessageIDs))); k != nil; k, _ = c.Next() {
		if days.Inner(k).Get(id) != nil {
			return true
		}
	}
	return false
}

// remember keeps a hash, and reports whether it is new.
func remember(tx *state.Tx, e *domain.Event, id []byte) bool {
	if remembered(tx, e, id) {
		return false
	}
	ids, err := tx.Bucket(state.BucketMessages).MakeInner(DayKey(e.Received))
	if err != nil {
		tx.Err = err
		return true
	}
	tx.Put(ids, id, []byte{})
	return true
}

// DayKey names the bucket of the day that t is in.
func DayKey(t time.Time) []byte {
	return state.NumberKey(uint64(max(t.Unix(), 0)) / uint64(state.Day/time.Second))
}
