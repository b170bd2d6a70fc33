package valid

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"personasync/agent/config/wording"
	"personasync/store/domain"
)

// MoEngage's rules for names come from its pages "Data overview", "Data tracking policies" and "Event naming
// conventions" as of November 2026. MoEngage silently drops, cuts or blocks a bad name and still answers 200,
// so a bad name must not reach a request. The errors name the problem; the caller adds the remedy.

// reservedNames are attributes that MoEngage uses itself or sets only once.
var reservedNames = []string{
	"status", "user_id", "source", "INSTALL", "UPDATE",
	"publisher_name", "campaign_name", "u_l_a", "cr_t", "advertising_identifier",
}

// AttributeName returns why name is not a valid user attribute, or nil.
func AttributeName(name string) error {
	if domain.UpdatableAttribute(name) {
		return nil
	}
	if err := anyName(name); err != nil {
		return err
	}
	if slices.Contains(reservedNames, name) || strings.HasPrefix(name, "USER_ATTRIBUTE_") {
		return fmt.Errorf("%q is reserved by MoEngage", name)
	}
	return nil
}

// EventName returns why name is not a valid event name, or nil.
func EventName(name string) error { return anyName(name) }

func anyName(name string) error {
	switch n := utf8.RuneCountInString(name); {
	case strings.TrimSpace(name) == "":
		return errors.New("must not be empty")
	case name == "id" || name == "_id":
		return fmt.Errorf("%q is reserved by MoEngage", name)
	case strings.HasPrefix(strings.ToLower(name), "moe_"):
		return errors.New("MoEngage blocks names that begin with moe_")
	case n > domain.MaxName:
		return fmt.Errorf("MoEngage keeps %d characters of a name, and this one has %d", domain.MaxName, n)
	}
	return nil
}

// CohortName returns why name is not a valid cohort name, with a suggestion, or nil.
func CohortName(name string) error {
	switch n, sent := utf8.RuneCountInString(name), domain.CohortName(name); {
	case strings.Trim(name, ". ") == "":
		return errors.New("must have a letter or a digit")
	case n > domain.MaxName:
		return fmt.Errorf("MoEngage keeps %d characters of a name, and this one has %d", domain.MaxName, n)
	case sent != name:
		return fmt.Errorf("MoEngage refuses it as a cohort's name, which has none of %s, no period at its beginning and no blank around it: write %q", domain.CohortRefused, sent)
	}
	return nil
}

// OddInEvent returns the characters that MoEngage's naming page forbids in an event name. The page forbids
// blanks too, but MoEngage's examples and Segment's names have them.
func OddInEvent(name string) string {
	var odd []rune
	for _, r := range name {
		if (strings.ContainsRune("$.<+%>!`&*#|{?\"=}/:\\@'", r) || unicode.Is(unicode.So, r)) && !slices.Contains(odd, r) {
			odd = append(odd, r)
		}
	}
	return string(odd)
}

// Categories checks the ids of Segment's consent categories.
func Categories(ids []string) error {
	if len(ids) > domain.MaxCategories {
		return fmt.Errorf("has %d categories, and at most %d are kept of a user", len(ids), domain.MaxCategories)
	}
	for _, id := range ids {
		switch {
		case id == "" || strings.TrimSpace(id) != id || !domain.Nameable(id):
			return fmt.Errorf("%q is no category: write the id as Segment shows it in Privacy, Consent Management, without blanks around it", wording.Shorten(id))
		case len(id) > domain.MaxCategory:
			return fmt.Errorf("%q has %d bytes, and at most %d of a category's id are read", wording.Shorten(id), len(id), domain.MaxCategory)
		}
	}
	return nil
}

// ForwardTraits checks the traits to forward; "*" means all.
func ForwardTraits(names []string) error {
	for _, name := range names {
		if name == "*" {
			if len(names) > 1 {
				return errors.New(`"*" means all traits and stands alone`)
			}
			return nil
		}
		if err := AttributeName(name); err != nil {
			return fmt.Errorf("%q cannot be an attribute: %w", wording.Shorten(name), err)
		}
	}
	return nil
}
