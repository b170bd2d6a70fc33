package syncer

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"unicode/utf8"

	"personasync/store/domain"
)

// errUnencodable means that a change contains invalid JSON. It is parked, because one such element makes
// MoEngage refuse the whole request.
var errUnencodable = errors.New("the value is not valid JSON")

// encoder appends elements of a /v1/transition request. It does not use reflection, because a backlog is sent
// at tens of thousands of users a second. The zero value is usable. It has no state.
type encoder struct {
	endpoint           domain.Endpoint
	updateExistingOnly bool
	realTimeAction     bool
}

// appendAttributes appends the customer element of one user:
//
//	{"type":"customer","customer_id":"u","update_existing_only":true,"attributes":{"a":1,
//	 "addValueToArrayField":{"segment_audiences":["vip"]}},
//	 "unset_attributes":[{"type":"equals","attr":"b","case_sensitive":true}]}
//
// Names are those of domain.AttributeName. A change to null becomes an entry of unset_attributes. That is early
// access at MoEngage, which ignores the list where it is not enabled. On an error b ends with an incomplete
// element, which the caller must cut off.
func (e encoder) appendAttributes(b []byte, user string, changes []domain.Change) ([]byte, error) {
	if !utf8.ValidString(user) {
		return b, errUnencodable
	}
	b = append(b, `{"type":"customer","customer_id":`...)
	b = appendString(b, user)
	if e.updateExistingOnly {
		b = append(b, `,"update_existing_only":true`...)
	}
	b = append(b, `,"attributes":{`...)
	first, unsets, entries := true, 0, 0
	for i := range changes {
		switch {
		case changes[i].Kind == domain.KindList:
			entries++
			continue
		case isNull(changes[i].Value):
			unsets++
			continue
		}
		if !validJSON(changes[i].Value) {
			return b, errUnencodable
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendString(b, domain.AttributeName(changes[i].Name))
		b = append(b, ':')
		b = appendValue(b, changes[i].Value)
	}
	if entries > 0 {
		b = appendLists(b, changes, !first)
	}
	b = append(b, '}')
	if unsets > 0 {
		b = appendUnsets(b, changes)
	}
	return append(b, '}'), nil
}

// appendLists appends the changes of list attributes to the other attributes. MoEngage refuses an element that
// adds to and removes from one list (ArrayFieldError); the outbox never produces one.
func appendLists(b []byte, changes []domain.Change, comma bool) []byte {
	for _, direction := range [...]struct {
		field      string
		transition domain.Transition
	}{{"addValueToArrayField", domain.TransitionEnter}, {"removeValueFromArrayField", domain.TransitionExit}} {
		keys := make(map[string][]string)
		for i := range changes {
			if c := &changes[i]; c.Kind == domain.KindList && c.Transition == direction.transition {
				name := domain.AttributeName(c.Name)
				keys[name] = append(keys[name], c.Computation)
			}
		}
		if len(keys) == 0 {
			continue
		}
		if comma {
			b = append(b, ',')
		}
		comma = true
		b = append(b, '"')
		b = append(b, direction.field...)
		b = append(b, `":`...)
		b = appendKeys(b, keys)
	}
	return b
}

// appendKeys appends an object of string lists.
func appendKeys(b []byte, keys map[string][]string) []byte {
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(keys)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), `:[`...)
		for j, key := range keys[name] {
			if j > 0 {
				b = append(b, ',')
			}
			b = appendString(b, key)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendUnsets lists the attributes to remove. It uses only the form "equals": the others (prefix, suffix,
// contains) could remove attributes that are not ours.
func appendUnsets(b []byte, changes []domain.Change) []byte {
	b = append(b, `,"unset_attributes":[`...)
	first := true
	for i := range changes {
		if !isNull(changes[i].Value) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, `{"type":"equals","attr":`...)
		b = appendString(b, domain.AttributeName(changes[i].Name))
		b = append(b, `,"case_sensitive":true}`...)
	}
	return append(b, ']')
}

// appendEvent appends the event element of one user, with exactly one action:
//
//	{"type":"event","customer_id":"u","actions":[{"action":"Audience Entered","real_time_action":"true",
//	 "attributes":{…},"platform":"unknown","current_time":"2026-08-01T12:34:56.789Z"}]}
//
// The time has milliseconds, so that an enter and an exit within a second keep their order. The platform is
// "unknown" because a wrong one breaks campaigns that filter by platform.
func (e encoder) appendEvent(b []byte, user string, c *domain.Change) ([]byte, error) {
	if !utf8.ValidString(user) {
		return b, errUnencodable
	}
	b = append(b, `{"type":"event","customer_id":`...)
	b = appendString(b, user)
	b = append(b, `,"actions":[{"action":`...)
	b = appendString(b, domain.EventName(c.Name))
	if e.realTimeAction {
		b = append(b, `,"real_time_action":"true"`...)
	}
	b = append(b, `,"attributes":`...)
	b, err := appendEventAttributes(b, c)
	if err != nil {
		return b, err
	}
	b = append(b, `,"platform":"unknown"`...)
	if !c.EventTime.IsZero() {
		b = append(b, `,"current_time":"`...)
		b = c.EventTime.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
		b = append(b, '"')
	}
	return append(b, `}]}`...), nil
}

// validJSON reports whether raw is one JSON value. It recognises memberships, the most common values, without a
// parser.
func validJSON(raw []byte) bool {
	switch string(raw) {
	case "true", "false":
		return true
	}
	return json.Valid(raw)
}

// isNull reports whether raw is null. An empty raw is not null, because it is not JSON.
func isNull(raw []byte) bool {
	if len(raw) < 4 {
		return false
	}
	return string(raw) == "null" || string(bytes.TrimSpace(raw)) == "null"
}

// appendValue appends a JSON value in the form that MoEngage accepts. Scalars are unchanged, so numbers keep
// their digits. An object becomes a string of its JSON, because MoEngage ignores objects unless a workspace has
// enabled them. An array loses its nulls, and its objects and arrays become strings too. Half surrogate pairs
// become U+FFFD, with a payload warning, because parsers refuse them or disagree about them. raw must be valid
// JSON and not null.
func appendValue(b, raw []byte) []byte {
	raw = domain.WellFormed(bytes.TrimSpace(raw))
	switch raw[0] {
	case '{':
		return appendString(b, string(raw))
	case '[':
		return appendArray(b, raw)
	}
	return appendRaw(b, raw)
}

func appendArray(b, raw []byte) []byte {
	b = append(b, '[')
	first := true
	for v := range elements(raw) {
		if v[0] == 'n' {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		if v[0] == '{' || v[0] == '[' {
			b = appendString(b, string(v))
			continue
		}
		b = appendRaw(b, v)
	}
	return append(b, ']')
}

// appendRaw copies JSON text. It replaces invalid UTF-8 in strings, which encoding/json accepts and other
// parsers refuse.
func appendRaw(b, raw []byte) []byte {
	if utf8.Valid(raw) {
		return append(b, raw...)
	}
	return append(b, bytes.ToValidUTF8(raw, []byte("\uFFFD"))...)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, s[start:i]...)
				b = append(b, "\uFFFD"...)
				start = i + 1
			}
			i += size
			continue
		}
		b = append(b, s[start:i]...)
		b = appendEscape(b, c)
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
