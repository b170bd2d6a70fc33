package apply

import (
	"slices"

	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// ForgetExitsOf removes a user's exits from before a time, on every target, and returns how many. It keeps those of
// an audience with held changes or an open window of the guard, which need to know the users that left.
func ForgetExitsOf(tx *state.Tx, u *state.User, before int64) (n uint64) {
	for _, number := range state.BlockNumbers(tx, u) {
		row := tx.Block(u, number)
		for _, e := range slices.Clone(row.Entries) { // a target's entry may be added in the loop
			f := tx.FieldOf(row.Field(e))
			if f == nil || !f.Audience() || !e.Over(before) || outbox.MayUndo(&f.Exits, e.Left, before) || state.HeldOf(tx, f) > 0 || !targetsOut(tx, u, f) {
				continue
			}
			outbox.UncountLeft(tx, f, e)
			for _, x := range tx.State.Registry.TargetFields(f) {
				*tx.Entry(u, x.Number) = state.Entry{Column: uint8(x.Number % state.BlockSize)}
				tx.Write(u, x.Number)
			}
			n++
		}
	}
	return n
}

// targetsOut reports whether MoEngage knows of no membership of f by any target.
func targetsOut(tx *state.Tx, u *state.User, f *state.Field) bool {
	return !slices.ContainsFunc(tx.State.Registry.TargetFields(f)[1:], func(x *state.Field) bool { return !tx.Entry(u, x.Number).SettledOut() })
}
