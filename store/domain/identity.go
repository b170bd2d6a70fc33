package domain

import (
	"cmp"
	"strings"
	"unicode"
	"unicode/utf8"
)

type identityVerdict uint8

const (
	identityUsable identityVerdict = iota
	IdentityParked
	IdentityIgnored
)

// IdentifyUser returns the user of an event under a policy. A parked verdict carries its reason as the
// identifier's fault.
func IdentifyUser(e *Event, p *Policy) (Identifier, identityVerdict) {
	who, policy, reason := e.User, IdentityUse, ""
	switch {
	case who.ID != "":
	case e.Anonymous.ID != "":
		who, policy, reason = e.Anonymous, p.Anonymous, "anonymous"
	case e.Email.ID != "":
		who, policy, reason = e.Email, p.EmailOnly, "email_only"
	default:
		return Identifier{Fault: "no_identifier"}, IdentityParked
	}
	switch {
	case policy == IdentityIgnore:
		return who, IdentityIgnored
	case policy != IdentityUse:
		return Identifier{ID: who.ID, Fault: reason}, IdentityParked
	case who.Fault != "":
		return who, IdentityParked
	case len(who.ID) > MaxUserID:
		return Identifier{Fault: "id_too_long"}, IdentityParked
	default:
		return who, identityUsable
	}
}

var identitySentences = map[string]string{
	"anonymous":       `the event has no userId: set anonymous = "use_anonymous_id" to send under its anonymousId, or "ignore"`,
	"email_only":      `the event has no userId, only an e-mail address: set email_only = "use_email" to send under it, or "ignore"`,
	"no_identifier":   "the event names nobody: no userId, no anonymousId, no e-mail address",
	"id_blocked":      "this id is a placeholder, such as null or undefined, and no user",
	"id_too_short":    "MoEngage needs an id of two characters or more",
	"id_too_long":     "the id is longer than 512 bytes",
	"id_invalid_utf8": "the id is not valid UTF-8",
}

// IdentitySentence says in a sentence why an identifier cannot be used; "" of an unknown reason.
func IdentitySentence(reason string) string {
	return cmp.Or(identitySentences[reason], "MoEngage does not take this id: "+reason)
}

// CleanID returns what a text means as the id of a user. Blanks alone name nobody. An e-mail address has no
// blanks around it. Any other id is taken letter for letter: blanks are part of it, as they are to Segment.
func CleanID(text string) string {
	inner := strings.TrimFunc(text, IsBlank)
	if inner == "" || strings.Contains(inner, "@") {
		return inner
	}
	return text
}

// IsBlank reports whether a character shows nothing: white space, a mark of the direction of writing, and the like.
func IsBlank(c rune) bool {
	return c <= ' ' && unicode.IsSpace(c) || c > '~' && (unicode.IsSpace(c) || unicode.Is(unicode.Cf, c))
}

// Nameable reports whether a person can name an id in a command: it is UTF-8 without control characters.
func Nameable(id string) bool {
	for i := range len(id) {
		if c := id[i]; c < ' ' || c >= 0x7f {
			return nameable(id)
		}
	}
	return true // printable ASCII, as nearly every id is
}

func nameable(id string) bool {
	return utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
}
