package apply

import (
	"slices"

	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// ForgetExitsOf forgets the exits of a user from before a time, on every channel, and counts them. What is
// decided about an audience that has something held, and about a window of the guard, needs to know who left.
func ForgetExitsOf(tx *state.Tx, u *state.User, before int64) (n uint64) {
	for _, number := range BlockNumbers(tx, u) {
		row := tx.Block(u, number)
		for _, e := range slices.Clone(row.Entries) { // a channel's may be added on the way
			f := tx.FieldOf(row.Field(e))
			if f == nil || !f.Audience() || !e.Over(before) || outbox.MayUndo(&f.Watch, e.Left, before) || state.HeldOf(tx, f) > 0 || !targetsOut(tx, u, f) {
				continue
			}
			for _, x := range tx.State.Registry.TargetFields(f) {
				*tx.Entry(u, x.Number) = state.Entry{Column: uint8(x.Number % state.BlockSize)}
				tx.Write(u, x.Number)
			}
			n++
		}
	}
	return n
}

// targetsOut reports whether MoEngage knows of no membership of f by any channel.
func targetsOut(tx *state.Tx, u *state.User, f *state.Field) bool {
	for _, x := range tx.State.Registry.TargetFields(f)[1:] {
		if !tx.Entry(u, x.Number).SettledOut() {
			return false
		}
	}
	return true
}
