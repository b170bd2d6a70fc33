package syncer

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"personasync/store"
)

// What MoEngage answers 200 to and then cuts or drops (its page "Data tracking policies"). Such a change
// is sent all the same, because what MoEngage keeps of it is worth more than nothing, and because the
// limits on names are the workspace's, of which others use a part that nobody here knows. But it is
// said, once for each rule and name.
const (
	maxValueLength    = 512 // characters of a string
	maxArrayLength    = 50  // elements
	maxAttributeNames = 256 // custom user attributes of a workspace
	maxEventNames     = 512 // of a workspace
)

// Codes of the cautions; the failure table says what they mean.
const (
	cautionValue      = "value_too_long"
	cautionURL        = "url_too_long"
	cautionArray      = "array_too_long"
	cautionAttributes = "attribute_limit"
	cautionEvents     = "event_name_limit"
	cautionProperties = "event_attributes"
)

// mostCautions bounds what is remembered to have been said; names come from outside.
const mostCautions = 4096

// caution is one thing to say.
type caution struct{ code, name string }

// cautions remembers what was said, and the names that left since the start. Sender.mu guards it.
type cautions struct {
	said       map[caution]bool
	attributes map[string]bool
	events     map[string]bool
}

func newCautions() cautions {
	return cautions{said: map[caution]bool{}, attributes: map[string]bool{}, events: map[string]bool{}}
}

// look returns what is new about a flight.
func (cs *cautions) look(f *store.Flight) (news []caution) {
	say := func(code, name string) {
		c := caution{code, name}
		if code == "" || cs.said[c] || len(cs.said) >= mostCautions {
			return
		}
		cs.said[c] = true
		news = append(news, c)
	}
	for i := range f.Deliveries {
		d := &f.Deliveries[i]
		for j := range d.Attributes {
			c := &d.Attributes[j]
			if c.Kind == store.KindCohort {
				continue
			}
			name := AttributeName(c.Name)
			say(judgeValue(c.Value), name)
			say(fresh(cs.attributes, name, maxAttributeNames, cautionAttributes), name)
		}
		if c := d.Event; c != nil {
			say(fresh(cs.events, c.Name, maxEventNames, cautionEvents), c.Name)
			say(judgeProperties(c.Props), c.Name)
		}
	}
	return news
}

// fresh notes a name, and returns the code if it is one beyond the limit.
func fresh(names map[string]bool, name string, limit int, code string) string {
	switch {
	case names[name]:
		return ""
	case len(names) >= limit:
		return code
	}
	names[name] = true
	return ""
}

// judgeValue says what MoEngage will not keep of an attribute's value; "" if it keeps it.
func judgeValue(raw []byte) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) <= maxValueLength && (len(raw) == 0 || raw[0] != '[') {
		return "" // the common case: too short for any of it
	}
	switch raw[0] {
	case '[':
		if !validJSON(raw) {
			return "" // parked as such
		}
		n := 0
		for range elements(raw) {
			n++
		}
		if n > maxArrayLength {
			return cautionArray
		}
	case '"':
		s := unquote(raw)
		switch {
		case utf8.RuneCountInString(s) <= maxValueLength:
		case strings.HasPrefix(s, "http://"), strings.HasPrefix(s, "https://"):
			return cautionURL
		default:
			return cautionValue
		}
	case '{':
		return cautionValue // an object leaves as a string
	}
	return ""
}

// judgeProperties says what of an event's own properties is left out; ours come first.
func judgeProperties(raw []byte) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) < 5*maxEventAttributes || raw[0] != '{' || !validJSON(raw) { // "a":1,
		return ""
	}
	n := 3 // ours
	for range members(raw) {
		n++
	}
	if n > maxEventAttributes {
		return cautionProperties
	}
	return ""
}

// caution says what is new about a flight: rules and names, never values nor users.
func (s *Sender) caution(f *store.Flight) {
	s.mu.Lock()
	news := s.cautions.look(f)
	s.mu.Unlock()
	for _, c := range news {
		s.log.Warn("moengage does not keep this as it is; outbox explain-code says more", keyCode, c.code, keyName, c.name)
	}
}
