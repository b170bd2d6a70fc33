package syncer

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"personasync/store/domain"
)

// Limits beyond which MoEngage answers 200 and then cuts or drops (its page "Data tracking policies"). Such a
// change is sent anyway, because a part of it is better than nothing. Limits on names belong to the workspace,
// and other writers use an unknown part of them. Each rule and name is logged once.
const (
	maxValueLength    = 512  // characters of a string
	maxArrayLength    = 50   // elements
	maxAttributeNames = 256  // custom user attributes of a workspace
	maxEventNames     = 512  // of a workspace
	maxCohorts        = 1000 // active segments of a workspace, of all kinds
)

// Codes of payload warnings. The failure table explains them.
const (
	cautionValue      = "value_too_long"
	cautionURL        = "url_too_long"
	cautionBroken     = "text_broken"
	cautionArray      = "array_too_long"
	cautionMixed      = "array_mixed"
	cautionRenamed    = "name_reserved"
	cautionName       = "name_cut"
	cautionAttributes = "attribute_limit"
	cautionEvents     = "event_name_limit"
	cautionCohorts    = "cohort_limit"
	cautionProperties = "event_attributes"
)

// mostCautions limits the remembered warnings, because names come from outside.
const mostCautions = 4096

// caution is one payload warning.
type caution struct{ code, name string }

// cautions remembers the logged warnings, and the names sent since the start. Sender.mu protects it.
type cautions struct {
	said       map[caution]bool
	attributes map[string]bool
	events     map[string]bool
	cohorts    map[string]bool
	news       []caution // new warnings of the current lease
}

func newCautions() cautions {
	return cautions{said: map[caution]bool{}, attributes: map[string]bool{}, events: map[string]bool{}, cohorts: map[string]bool{}}
}

// look returns the new warnings of a lease.
func (cs *cautions) look(f *domain.Lease) (news []caution) {
	cs.news = nil
	for i := range f.Deliveries {
		d := &f.Deliveries[i]
		for j := range d.Attributes {
			cs.lookAtAttribute(&d.Attributes[j])
		}
		if d.Event != nil {
			cs.lookAtEvent(d.Event)
		}
	}
	return cs.news
}

func (cs *cautions) lookAtAttribute(c *domain.Change) {
	if c.Kind == domain.KindCohort {
		cs.say(fresh(cs.cohorts, domain.CohortName(c.Name), maxCohorts, cautionCohorts), c.Name)
		return
	}
	name := domain.AttributeName(c.Name)
	cs.say(judgeName(c.Name, name), c.Name)
	cs.say(judgeValue(c.Value), name)
	cs.say(fresh(cs.attributes, name, maxAttributeNames, cautionAttributes), name)
}

func (cs *cautions) lookAtEvent(c *domain.Change) {
	name := domain.EventName(c.Name)
	cs.say(judgeName(c.Name, name), c.Name)
	cs.say(fresh(cs.events, name, maxEventNames, cautionEvents), name)
	cs.say(judgeValue(c.Value), name)
	cs.lookAtProperties(c)
}

// lookAtProperties checks an event's own properties. Nearly all are too short for any rule.
func (cs *cautions) lookAtProperties(c *domain.Change) {
	raw := bytes.TrimSpace(c.Props)
	if len(raw) == 0 || raw[0] != '{' || !validJSON(raw) {
		return // there are none, or the change will be parked
	}
	n := 3 // our own attributes
	for key, value := range members(raw) {
		n++
		name := unquote(key)
		cs.say(judgeName(name, domain.EventName(name)), name)
		cs.say(judgeValue(value), name)
	}
	if n > maxEventAttributes {
		cs.say(cautionProperties, c.Name)
	}
}

func (cs *cautions) say(code, name string) {
	if code == "" || len(cs.said) >= mostCautions {
		return
	}
	c := caution{code, domain.CutName(name)}
	if !cs.said[c] {
		cs.said[c] = true
		cs.news = append(cs.news, c)
	}
}

// fresh records a name and returns code if the name exceeds the limit.
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

// judgeName returns the warning for a name that is sent as another, or "".
func judgeName(name, sent string) string {
	switch {
	case sent == name:
		return ""
	case strings.HasPrefix(name, sent):
		return cautionName
	}
	return cautionRenamed
}

// judgeValue returns the warning for a value that MoEngage does not store completely, or "".
func judgeValue(raw []byte) string {
	raw = bytes.TrimSpace(raw)
	if domain.LoneSurrogate(raw) >= 0 {
		return cautionBroken
	}
	if len(raw) <= maxValueLength && (len(raw) == 0 || raw[0] != '[') {
		return "" // the common case: too short for any rule
	}
	switch raw[0] {
	case '[':
		if validJSON(raw) { // otherwise the change will be parked
			return judgeArray(raw)
		}
	case '"':
		return judgeText(unquote(raw))
	case '{':
		return cautionValue // an object is sent as a string
	}
	return ""
}

func judgeText(s string) string {
	switch {
	case utf8.RuneCountInString(s) <= maxValueLength:
		return ""
	case strings.HasPrefix(s, "http://"), strings.HasPrefix(s, "https://"):
		return cautionURL
	}
	return cautionValue
}

// judgeArray checks an array as it is sent: without nulls, and with objects and arrays as texts.
func judgeArray(raw []byte) string {
	n, sorts := 0, map[byte]bool{}
	for v := range elements(raw) {
		switch v[0] {
		case 'n':
			continue
		case '"', '{', '[':
			sorts['"'] = true
			if len(v) > maxValueLength && (v[0] != '"' || judgeText(unquote(v)) != "") {
				return cautionValue
			}
		case 't', 'f':
			sorts['t'] = true
		default:
			sorts['0'] = true
		}
		n++
	}
	switch {
	case n > maxArrayLength:
		return cautionArray
	case len(sorts) > 1:
		return cautionMixed
	}
	return ""
}

// caution logs the new warnings of a lease. It logs rules and names, never values or users.
func (s *Sender) caution(f *domain.Lease) {
	s.mu.Lock()
	news := s.cautions.look(f)
	s.mu.Unlock()
	for _, c := range news {
		s.log.Warn("moengage does not store this unchanged; see `personasync outbox explain-code CODE`", keyCode, c.code, keyName, c.name)
	}
}
