package segment

import (
	"fmt"
	"strconv"

	"personasync/store"
)

// Reason codes of events that cannot be used, as they stand in store.Event.Fault. Codes are an
// interface: people filter by them, so none is ever renamed.
const (
	FaultInvalidJSON  = "invalid_json"
	FaultNotAnObject  = "not_an_object"
	FaultInvalidUTF8  = "invalid_utf8"
	FaultTooDeep      = "too_deep"
	FaultUnknownClass = store.UnknownClass
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

	// What Segment's Tracking API refuses. Only no_user_anon_id is a code Segment documents.
	FaultNoUserAnonID  = "no_user_anon_id"
	FaultNoEventName   = "no_event_name"
	FaultEventTooLarge = "event_too_large"
)

// Refuses reports whether Segment's Tracking API answers a single event with this fault by refusing
// it, instead of taking it.
func Refuses(fault string) bool {
	switch fault {
	case FaultNotAnObject, FaultNoUserAnonID, FaultNoEventName, FaultEventTooLarge:
		return true
	}
	return false
}

// A reader keeps the first fault it meets: checks run from the most basic to the most particular, and
// the first is the one to mend first.
func (r *reader) fault(code, sentence string) {
	if r.event.Fault != "" {
		return
	}
	r.event.Fault, r.event.Sentence = code, sentence
}

func (r *reader) faultf(code, format string, args ...any) {
	if r.event.Fault == "" {
		r.fault(code, fmt.Sprintf(format, args...))
	}
}

// shown quotes a value from outside for a sentence, shortened to what a line of a terminal holds.
func shown(v string) string {
	const most = 48
	if len(v) > most {
		return strconv.QuoteToASCII(v[:most]) + "…"
	}
	return strconv.QuoteToASCII(v)
}

// shownValue describes a JSON value by its kind, never by its content: that may be personal.
func shownValue(text []byte, at store.Span) string {
	if at.Len == 0 {
		return "nothing"
	}
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
