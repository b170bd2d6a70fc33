package apply

import (
	"crypto/sha256"
	"strings"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// firstSight remembers an event by its message id, and reports whether it is new. A sender may use one message id
// for several users or computations, or for identify and track: those are several events. Older versions remembered
// the message id alone; for those, every event of the id is a repeat.
func firstSight(tx *state.Tx, u *state.User, f *state.Field, e *domain.Event) bool {
	older, own := sights(tx, u.ID, f.Key, e)
	return !remembered(tx, e, older) && remember(tx, e, own)
}

// sights returns the hashes by which firstSight knows an event: as older versions did, and as this one does.
func sights(tx *state.Tx, user, key string, e *domain.Event) (older, own []byte) {
	whole := sha256.Sum256([]byte(e.MessageID))
	what := strings.Join([]string{"seen", domain.CallNames[e.Call], key, user, e.MessageID}, "\x00")
	return whole[:16], state.Tombstone(tx.State.Salt, what)
}

// remembered looks a hash up. There is one bucket of hashes a day, so that they expire by the bucket. Only days that
// have one are read, because the retention may be years.
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

// DayKey is the key of the day that has t, in UTC.
func DayKey(t time.Time) []byte {
	return state.NumberKey(uint64(max(t.Unix(), 0)) / uint64(state.Day/time.Second))
}
