package apply

import (
	"cmp"
	"iter"
	"slices"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Want has what applying these records reads of their users and events read at once; see engine.Bucket. It foresees no
// more than most records need: the rest is read when it is.
func Want(tx *state.Tx, records iter.Seq[*record.Record]) {
	var users, seen [][]byte // gathered only where the engine wants to know
	first := ""              // day that is looked into
	tx.WantUsers(func(yield func(string) bool) {
		for rec := range records {
			id := ""
			switch e := rec.Event; {
			case rec.Order != nil:
				for _, w := range rec.Order.Targets {
					if !yield(w.User) {
						return
					}
				}
			case e != nil && e.Call == domain.CallDelete:
				id = cmp.Or(e.User.ID, e.Anonymous.ID)
			case e != nil:
				key, computation := e.Key, e.ComputationID
				if f, _ := tx.State.Registry.Find(e); f != nil {
					key, computation = f.Key, f.ID
				}
				p := tx.State.Rules.For(key, computation)
				who, _ := domain.IdentifyUser(e, &p)
				if id = who.ID; e.PassThrough || e.ClockShift != 0 {
					older, own := sights(tx, id, key, e)
					seen = append(seen, older, own)
					if day := string(DayKey(e.Earliest().Add(-tx.State.Rules.MessageIDs))); first == "" || day < first {
						first = day
					}
				}
			}
			if id == "" {
				continue
			}
			if tx.State.Ledger.Tombstones > 0 {
				users = append(users, state.Tombstone(tx.State.Salt, id))
			}
			if !yield(id) {
				return
			}
		}
	})
	if len(users) > 0 {
		state.Want(tx.Bucket(state.BucketTombstones), slices.Values(users))
	}
	if len(seen) == 0 {
		return
	}
	days := tx.Bucket(state.BucketMessages)
	c := days.Cursor()
	for k, _ := c.Seek([]byte(first)); k != nil; k, _ = c.Next() {
		state.Want(days.Inner(k), slices.Values(seen))
	}
}
