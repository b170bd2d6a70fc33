package payload

import (
	"errors"
	"maps"
	"slices"
	"unicode/utf8"

	"personasync/store/domain"
)

// errUnencodable means that a change contains invalid JSON. It is parked, because one such element makes
// MoEngage refuse the whole request.
var errUnencodable = errors.New("the value is not valid JSON")

// Encoder appends elements of a /v1/transition request. The zero value is usable. It has no state.
type Encoder struct {
	UpdateExistingOnly bool // MoEngage skips attributes of unknown users
	RealTimeAction     bool // adds "real_time_action":"true" to events
}

// AppendAttributes appends the customer element of one user:
//
//	{"type":"customer","customer_id":"u","update_existing_only":true,"attributes":{"a":1,
//	 "addValueToArrayField":{"segment_audiences":["vip"]}},
//	 "unset_attributes":[{"type":"equals","attr":"b","case_sensitive":true}]}
//
// Names are those of domain.AttributeName. A change to null becomes an entry of unset_attributes. That is early
// access at MoEngage, which ignores the list where it is not enabled. On an error b ends with an incomplete
// element, which the caller must cut off.
func (e Encoder) AppendAttributes(b []byte, user string, changes []domain.Change) ([]byte, error) {
	if !utf8.ValidString(user) {
		return b, errUnencodable
	}
	b = append(b, `{"type":"customer","customer_id":`...)
	b = appendString(b, user)
	if e.UpdateExistingOnly {
		b = append(b, `,"update_existing_only":true`...)
	}
	b = append(b, `,"attributes":{`...)
	first, unsets, entries := true, 0, 0
	for i := range changes {
		switch {
		case changes[i].Kind == domain.KindList:
			entries++
			continue
		case IsNull(changes[i].Value):
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
		if !IsNull(changes[i].Value) {
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

// AppendEvent appends the event element of one user, with exactly one action:
//
//	{"type":"event","customer_id":"u","actions":[{"action":"Audience Entered","real_time_action":"true",
//	 "attributes":{…},"platform":"unknown","current_time":"2026-08-01T12:34:56.789Z"}]}
//
// The time has milliseconds, so that an enter and an exit within a second keep their order. The platform is
// "unknown" because a wrong one breaks campaigns that filter by platform.
func (e Encoder) AppendEvent(b []byte, user string, c *domain.Change) ([]byte, error) {
	if !utf8.ValidString(user) {
		return b, errUnencodable
	}
	b = append(b, `{"type":"event","customer_id":`...)
	b = appendString(b, user)
	b = append(b, `,"actions":[{"action":`...)
	b = appendString(b, domain.EventName(c.Name))
	if e.RealTimeAction {
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

// AppendDelete appends the body of a request to /v1/customer/delete:
//
//	{"identity_type":"customer_id","identity_value":"u"}
//
// MoEngage's OpenAPI file also has a component with a list of identifiers, which the endpoint does not refer to.
func AppendDelete(b []byte, user string) ([]byte, error) {
	if !utf8.ValidString(user) {
		return b, errUnencodable
	}
	b = append(b, `{"identity_type":"customer_id","identity_value":`...)
	return append(appendString(b, user), '}'), nil
}
