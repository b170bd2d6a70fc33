package apply

import (
	"bytes"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// PruneJournal deletes the oldest chunks of the journal: those received longer ago than keep, and those beyond most bytes.
// Without a keep all go; most 0 is no limit. A chunk that is ahead of the clock is as old as the one after it.
func PruneJournal(tx *state.Tx, now time.Time, keep time.Duration, most uint64) (more bool) {
	bucket := tx.Bucket(state.BucketJournal)
	if bucket == nil {
		return false
	}
	type chunk struct {
		key     []byte
		size    int // of key and value
		entries []state.JournalEntry
	}
	var gone, ahead []chunk
	bytesLeft, seen := tx.State.Journal.Bytes, 0
	c := bucket.Cursor()
	for k, frame := c.First(); k != nil; k, frame = c.Next() {
		if more = seen >= state.PruneSlice; more {
			break
		}
		entries, err := state.JournalChunk(k, frame)
		if err != nil {
			tx.Log.Error("a corrupt chunk of the journal is passed over", "err", err)
		}
		seen += 1 + len(entries)
		age := now.Sub(newestOf(entries))
		this := chunk{bytes.Clone(k), len(k) + len(frame), entries}
		switch {
		case keep <= 0, age >= keep && len(entries) > 0, most > 0 && bytesLeft > most:
			gone = append(append(gone, ahead...), this)
			ahead = nil
		case age < -outbox.AheadOfClock, len(entries) == 0:
			ahead = append(ahead, this)
		default:
			k = nil
		}
		if bytesLeft -= min(bytesLeft, uint64(this.size)); k == nil {
			break
		}
	}
	for _, g := range gone {
		state.RemoveChunk(tx, g.key, g.size)
	}
	users := func(yield func(string) bool) {
		for _, g := range gone {
			for i := range g.entries {
				if e := &g.entries[i]; !e.Erased && !e.Outcome() && !yield(e.User) {
					return
				}
			}
		}
	}
	tx.WantUsers(users)
	state.WantJournal(tx, users)
	for user := range users {
		endJournal(tx, tx.User(user))
	}
	return more
}

// newestOf returns the newest time of a chunk, the zero time of a corrupt one.
func newestOf(entries []state.JournalEntry) (at time.Time) {
	for i := range entries {
		at = domain.Later(at, entries[i].At)
	}
	return at
}

// endJournal ends the chain of a user without any transition left. The outcomes that are left belong to none.
func endJournal(tx *state.Tx, u *state.User) {
	r := state.ReadJournal(tx)
	for e := r.At(u.Index.Journal); e != nil; e = r.At(e.Prev) {
		if !e.Outcome() {
			return
		}
	}
	if u.Index.Journal != 0 {
		u.Index.Journal, u.Dirty = 0, true
	}
}
