package state

import (
	"bytes"

	"personasync/store/domain"
)

// What bounds a user's page: the entries of history, and the memberships whose event is looked up.
const (
	HistoryShown = 50
)

// Expected is what MoEngage should hold: what it was last told, and where that is uncertain, what it
// was to be told. It is not known for a long value that was dropped since.
func (e *Entry) Expected(p *domain.Policy) (value []byte, known bool) {
	if e.LastSent.Kind == NeverSent {
		return nil, false
	}
	if s := e.Said(p); s != nil {
		value = s.Value
		if bytes.Equal(value, domain.JSONNull) && p.OnNull == domain.NullEmpty {
			value = domain.JSONEmpty
		}
		if e.LastSent.Is(value) || e.LastSent.Kind == UncertainlySent {
			return value, true
		}
	}
	return e.LastSent.Value, e.LastSent.Kind == valueSent
}

// Said is the Assertion that leaves as the attribute.
func (e *Entry) Said(p *domain.Policy) *domain.Assertion {
	if p.Send.Has(domain.SendAttribute) {
		return e.Newest()
	}
	return e.Known(KeptIdentify)
}
