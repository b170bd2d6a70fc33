package apply

import (
	"cmp"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// overflows reports whether applying e, of computation f, would exceed the bound on fields.
func overflows(tx *state.Tx, f *state.Field, e *domain.Event) bool {
	const shortest = len(`"":0,`) // a trait
	r := tx.State.Registry
	known := r.Size()
	if known+1+len(e.Columns)+int(e.Object.Len)/shortest <= state.MaxFields && len(r.Fields) < state.ManyFields*state.MaxFields {
		return false
	}
	fresh, key, id := 0, e.Key, e.ComputationID
	if f != nil {
		key, id = f.Key, f.ID
	} else {
		fresh++
	}
	for _, col := range e.Columns {
		if col.Name != e.Key && (f == nil || r.Beside(f, state.ColumnName(col.Name)) == nil) {
			fresh++
		}
	}
	p := tx.State.Rules.For(key, id)
	for _, name := range state.SortedNames(p.ForwardedTraits(key, e)) {
		if len(r.ByName[state.FieldName{Column: name}]) == 0 && !r.CoversTrait(name) {
			fresh++
		}
	}
	return fresh > 0 && (known+fresh > state.MaxFields || len(r.Fields) >= state.ManyFields*state.MaxFields)
}

// resolve returns the computation of an event: f as Find returned it, with its space and id completed from the
// event, or a new one.
func resolve(tx *state.Tx, f *state.Field, e *domain.Event) *state.Field {
	if f == nil {
		return tx.NewField(&state.Field{Space: e.Space, Key: e.Key, ID: e.ComputationID, Class: e.Class})
	}
	space, id := cmp.Or(f.Space, e.Space), cmp.Or(f.ID, e.ComputationID)
	if space != f.Space || id != f.ID {
		for _, x := range tx.State.Registry.Family(f) {
			rename(tx, x, space, id)
		}
		tx.State.Registry.SettleOwners(&tx.State.Rules)
	}
	return f
}

func rename(tx *state.Tx, f *state.Field, space, id string) {
	r := tx.State.Registry
	r.Unname(f)
	f.Space, f.ID = space, id
	r.Enter(f)
	tx.Touch(f)
}

// column finds or adds the field of one column of computation f.
func column(tx *state.Tx, f *state.Field, name string) *state.Field {
	return state.FieldBeside(tx, f, state.ColumnName(name), domain.ClassTrait)
}

// forward finds or adds the field of a forwarded trait.
func forward(tx *state.Tx, name string) *state.Field {
	if known := tx.State.Registry.ByName[state.FieldName{Column: name}]; len(known) > 0 {
		return known[0]
	}
	return tx.NewField(&state.Field{Column: name, Class: domain.ClassTrait})
}
