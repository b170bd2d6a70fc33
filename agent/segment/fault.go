package segment

import (
	"strconv"

	"personasync/store/domain"
)

// Reason codes of unusable events, as stored in domain.Event.Fault. Users filter by them, so a code is never
// renamed.
const (
	FaultInvalidJSON  = "invalid_json"
	FaultNotAnObject  = "not_an_object"
	FaultInvalidUTF8  = "invalid_utf8"
	FaultTooDeep      = "too_deep"
	FaultUnknownClass = domain.UnknownClass
	FaultMissingKey   = "missing_key"
	FaultMissingName  = "missing_name"
	FaultBadValue     = "bad_value"
	FaultNameTooLong  = "name_too_long"
	FaultUnknownType  = "unknown_type"
	FaultAccountLevel = "account_level"
	FaultBadUserID    = "bad_user_id"
	FaultNoIdentifier = "no_identifier"
	FaultUndetermined = "undetermined"
	FaultNoValues     = "no_values"
	FaultTooManyVals  = "too_many_values"
	FaultUnverified   = "unverified_delete"

	// Events that Segment's Tracking API refuses. Segment documents only the code no_user_anon_id.
	FaultNoUserAnonID  = "no_user_anon_id"
	FaultNoEventName   = "no_event_name"
	FaultEventTooLarge = "event_too_large"
)

// Refuses reports whether Segment's Tracking API refuses a single event with this fault.
func Refuses(fault string) bool {
	switch fault {
	case FaultNotAnObject, FaultNoUserAnonID, FaultNoEventName, FaultEventTooLarge:
		return true
	}
	return false
}

// shown quotes an outside value for a sentence and shortens it to fit a line of a terminal.
func shown(v string) string {
	const most = 48
	if len(v) > most {
		return strconv.QuoteToASCII(v[:most]) + "…"
	}
	return strconv.QuoteToASCII(v)
}

// shownValue names the kind of the JSON value at a span that is not empty. It never shows the content, which may be
// personal.
func shownValue(text []byte, at domain.Span) string {
	switch text[at.Off] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a text"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}
