package domain

import (
	"slices"
	"strings"
)

// ConsentEvent is the name that Segment reserves for the track call by which a user gives or changes consent. It comes
// from a source and names no computation.
const ConsentEvent = "Segment Consent Preference Updated"

// Limits of a statement. A category beyond them counts as refused, and the configuration cannot ask for one that is
// longer.
const (
	MaxCategories = 64  // that one user has given
	MaxCategory   = 128 // bytes of a category's id
)

// Preferences is one statement about a user's consent: the categories that were given, sorted. Every other one is
// refused.
type Preferences struct{ Given []string }

// Covers reports whether every category asked for was given. Nil preferences cover only a policy that asks for none.
func (p *Preferences) Covers(asked []string) bool {
	for _, category := range asked {
		if p == nil {
			return false
		}
		if _, given := slices.BinarySearch(p.Given, category); !given {
			return false
		}
	}
	return true
}

// IsConsentUpdate reports whether the event is about nothing but consent.
func (e *Event) IsConsentUpdate() bool {
	return e.Call == CallTrack && e.Class == ClassNone && e.Name == ConsentEvent && e.Consent != nil
}

// Consent is the kept state of a user's consent.
type Consent struct {
	Preferences
	Time    int64  // event time of the newest statement, in ns; an older one is stale
	Since   int64  // event time of the statement that last changed Given
	Seq     uint64 // inbox record that last changed Given
	Updated bool   // ConsentEvent last changed Given, and not an event of a computation
}

// Update compares a statement with the kept one, and keeps it unless it is stale or a duplicate. Of two statements of one
// time a category is given if both give it, so that the order of arrival does not matter.
func (c *Consent) Update(statement *Preferences, at int64, seq uint64, updated bool) Comparison {
	given := statement.Given
	if at == c.Time {
		given = slices.DeleteFunc(slices.Clone(given), func(category string) bool {
			_, both := slices.BinarySearch(c.Given, category)
			return !both
		})
	}
	same := slices.Equal(given, c.Given) && c.Seq != 0
	switch {
	case at < c.Time && c.Seq != 0:
		return CompareStale
	case same && at == c.Time:
		return CompareDuplicate
	case same:
		c.Time = at
		return CompareUnchanged
	}
	*c = Consent{Preferences: Preferences{Given: given}, Time: at, Since: at, Seq: seq, Updated: updated}
	return CompareChanged
}

// ConsentSentence says why something of a user is withheld.
func ConsentSentence(asked []string) string {
	return "the user has not given consent to " + strings.Join(asked, ", ")
}

// AsksConsent reports whether any computation is sent only with consent.
func (r *Rules) AsksConsent() bool {
	return len(r.Defaults.Consent) > 0 || slices.ContainsFunc(r.Sections, func(s Section) bool { return len(s.Policy.Consent) > 0 })
}
