package apply

import (
	"errors"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Removable finds a computation, or a forwarded trait, by its name on a command line.
func Removable(r *state.Registry, key string) (*state.Field, error) {
	f, err := r.One(key)
	if known := r.ByName[state.FieldName{Column: key}]; errors.Is(err, domain.ErrNotFound) && len(known) > 0 {
		return known[0], nil
	}
	return f, err
}

// applyRemoval removes a computation unless it has members, held changes, or events since the order.
func applyRemoval(tx *state.Tx, f *state.Field, o *record.Order) {
	r := tx.State.Registry
	family := r.Family(f)
	for _, x := range family {
		if x.Members > 0 || x.Held > 0 {
			return
		}
	}
	if f.Former() || !f.LastEvent.Equal(o.Time) {
		return
	}
	for _, x := range family {
		r.Unname(x)
		x.Flags |= state.GoneMark
		r.Enter(x)
		tx.Touch(x)
	}
	r.SettleOwners(&tx.State.Rules)
	outbox.ReleaseConflicts(tx) // the name is free for another
}
