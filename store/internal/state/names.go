package state

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"personasync/store/domain"
)

// Audience reports whether f is a computation that has members.
func (f *Field) Audience() bool {
	return f.Column == "" && !f.forwarded() && f.Class != domain.ClassTrait && !f.Former()
}

// Over reports whether all that is known of a membership is that it ended before a time, and nothing is
// to be said about it any more.
func (e *Entry) Over(before int64) bool {
	for _, s := range e.Kept {
		if s != nil && (s.IsIn() || s.Time >= before) {
			return false
		}
	}
	return e.Newest() != nil && e.SettledOut()
}

// SettledOut reports whether MoEngage knows of no membership by this field, and nothing waits.
func (e *Entry) SettledOut() bool {
	return !e.Moving() && (e.LastSent.Kind == NeverSent || e.LastSent.Is(domain.JSONFalse))
}

// Spoken reports whether a computation, or a column of one, is called like a trait and speaks under its
// name. It says the trait better. Another's name that the trait would only be renamed to is a conflict.
func (r *Registry) Spoken(name string) bool {
	owner := r.owners[claim{domain.KindAttribute, domain.AttributeName(name)}]
	return owner != nil && !owner.forwarded() && cmp.Or(owner.SQLColumn(), owner.Key) == name
}

func SortedNames(m map[string]json.RawMessage) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// toldBy reports whether a policy tells MoEngage what f holds: the membership itself, or a channel of it.
func (f *Field) toldBy(p *domain.Policy) bool {
	switch f.Kind() {
	case domain.KindCohort:
		return p.Send.Has(domain.SendCohort)
	case domain.KindList:
		return p.Send.Has(domain.SendList)
	}
	return p.SendsAttributes()
}

// HeldOf counts what is held of a computation, on all targets.
func (tx *Tx) HeldOf(f *Field) uint64 { return SumHeld(tx.State.Registry.TargetFields(f)) }

func SumHeld(fields []*Field) (held uint64) {
	for _, x := range fields {
		held += x.Held
	}
	return held
}

// HeldColumns returns the columns of which something is held, by their computation.
func (r *Registry) HeldColumns() map[*Field][]*Field {
	columns := make(map[*Field][]*Field)
	for _, x := range r.Fields {
		if x.Held > 0 && x.SQLColumn() != "" && !x.forwarded() {
			f := r.Beside(x, "")
			columns[f] = append(columns[f], x)
		}
	}
	return columns
}

// One returns the only computation that key names.
func (r *Registry) One(key string) (*Field, error) {
	switch known := r.Computations(key); len(known) {
	case 0:
		return nil, domain.ErrNotFound
	case 1:
		return known[0], nil
	default:
		e := &AmbiguousError{Key: key}
		for _, f := range known {
			e.IDs = append(e.IDs, f.ID)
		}
		return nil, e
	}
}

// AmbiguousError says that a key names several computations.
type AmbiguousError struct {
	Key string
	IDs []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%s names several computations: give one of their ids instead", e.Key)
}

// ReadableBy reports whether a policy tells what f holds, so that it can be read back.
func (f *Field) ReadableBy(p *domain.Policy) bool {
	return f.Kind() != domain.KindCohort && f.toldBy(p)
}
