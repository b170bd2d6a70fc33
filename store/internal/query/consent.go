package query

import (
	"cmp"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// showConsent fills the page with the user's consent and the withheld changes, and returns the number of the record by
// which the consent came to be. It leaves out a user of whom neither is known.
func showConsent(tx *state.Tx, u *state.User, info *domain.UserInfo) (by uint64) {
	c, shown := state.ConsentOf(tx, u), domain.ConsentInfo{Given: []string{}, Withheld: []domain.WithheldInfo{}}
	if c != nil {
		by = c.Seq
		shown.Given = append(shown.Given, c.Given...)
		shown.Since, shown.Newest = domain.Timestamp(time.Unix(0, c.Since)), domain.Timestamp(time.Unix(0, c.Time))
		if shown.By = "an event of a computation"; c.Updated {
			shown.By = domain.ConsentEvent
		}
	}
	for _, n := range state.BlockNumbers(tx, u) {
		row := tx.Block(u, n)
		for _, e := range row.Entries {
			f := tx.FieldOf(row.Field(e))
			if f == nil || !e.Withheld || f.Gone() {
				continue
			}
			p := state.PolicyOf(tx, f)
			if p.HoldsOut(u.ID) {
				continue // no consent would change that
			}
			one := domain.WithheldInfo{Computation: f.Key, Asks: p.Consent}
			if !f.Class.HasMembers() {
				one.Trait = cmp.Or(f.Column, f.Key)
			}
			shown.Withheld = append(shown.Withheld, one)
		}
	}
	if c != nil || len(shown.Withheld) > 0 {
		info.Consent = &shown
	}
	return by
}

// withheldOf returns how many members, or of a trait how many values, are withheld.
func withheldOf(f *state.Field, columns []*state.Field) (n uint64) {
	n = f.Withheld
	for _, x := range columns {
		n += x.Withheld
	}
	return n
}
