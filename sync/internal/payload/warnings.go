package payload

import (
	"bytes"
	"strings"
	"sync"
	"unicode/utf8"

	"personasync/store/domain"
)

// MaxValueLength is how many characters of a string MoEngage stores.
const MaxValueLength = 512

// Further limits beyond which MoEngage answers 200 and then cuts or drops (its page "Data tracking policies"). Such
// a change is sent anyway, because a part of it is better than nothing. Limits on names belong to the workspace,
// and other writers use an unknown part of them.
const (
	maxArrayLength    = 50   // elements
	maxAttributeNames = 256  // custom user attributes of a workspace
	maxEventNames     = 512  // of a workspace
	maxCohorts        = 1000 // active segments of a workspace, of all kinds
)

// Codes of payload warnings. The failure table explains each of them.
const (
	ValueTooLong    = "value_too_long"
	URLTooLong      = "url_too_long"
	TextBroken      = "text_broken"
	ArrayTooLong    = "array_too_long"
	ArrayMixed      = "array_mixed"
	NameReserved    = "name_reserved"
	NameCut         = "name_cut"
	AttributeLimit  = "attribute_limit"
	EventNameLimit  = "event_name_limit"
	CohortLimit     = "cohort_limit"
	EventAttributes = "event_attributes"
)

// maxWarnings limits the remembered warnings, because names come from outside.
const maxWarnings = 4096

// Warning says that MoEngage does not store something unchanged: the code of the rule and the name concerned. It
// has no value and no user id, so that it can be logged.
type Warning struct{ Code, Name string }

// Warnings finds the payload warnings of leases and returns each of them once. It also counts the workspace's
// names that were sent since the start. It is safe for concurrent use.
type Warnings struct {
	mu         sync.Mutex // protects the fields below
	returned   map[Warning]bool
	attributes map[string]bool
	events     map[string]bool
	cohorts    map[string]bool
	news       []Warning // of the current lease
}

// NewWarnings returns an empty set.
func NewWarnings() *Warnings {
	return &Warnings{returned: map[Warning]bool{}, attributes: map[string]bool{}, events: map[string]bool{}, cohorts: map[string]bool{}}
}

// Check returns the warnings of a lease that were not returned before.
func (ws *Warnings) Check(f *domain.Lease) []Warning {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.news = nil
	for i := range f.Users {
		d := &f.Users[i]
		for j := range d.Attributes {
			ws.checkAttribute(&d.Attributes[j])
		}
		if d.Event != nil && d.Event.Kind != domain.KindDelete {
			ws.checkEvent(d.Event)
		}
	}
	return ws.news
}

func (ws *Warnings) checkAttribute(c *domain.Change) {
	if c.Kind == domain.KindCohort {
		ws.add(fresh(ws.cohorts, domain.CohortName(c.Name), maxCohorts, CohortLimit), c.Name)
		return
	}
	name := domain.AttributeName(c.Name)
	ws.add(judgeName(c.Name, name), c.Name)
	ws.add(judgeValue(c.Value), name)
	ws.add(fresh(ws.attributes, name, maxAttributeNames, AttributeLimit), name)
}

func (ws *Warnings) checkEvent(c *domain.Change) {
	name := domain.EventName(c.Name)
	ws.add(judgeName(c.Name, name), c.Name)
	ws.add(fresh(ws.events, name, maxEventNames, EventNameLimit), name)
	ws.add(judgeValue(c.Value), name)
	ws.checkProperties(c)
}

// checkProperties checks an event's own properties. Nearly all are too short for any rule.
func (ws *Warnings) checkProperties(c *domain.Change) {
	raw := bytes.TrimSpace(c.Props)
	if len(raw) == 0 || raw[0] != '{' || !validJSON(raw) {
		return // there are none, or the change will be parked
	}
	n := 3 // our own attributes
	for key, value := range members(raw) {
		n++
		name := unquote(key)
		ws.add(judgeName(name, domain.EventName(name)), name)
		ws.add(judgeValue(value), name)
	}
	if n > maxEventAttributes {
		ws.add(EventAttributes, c.Name)
	}
}

func (ws *Warnings) add(code, name string) {
	if code == "" || len(ws.returned) >= maxWarnings {
		return
	}
	c := Warning{code, domain.CutName(name)}
	if !ws.returned[c] {
		ws.returned[c] = true
		ws.news = append(ws.news, c)
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
		return NameCut
	}
	return NameReserved
}

// judgeValue returns the warning for a value that MoEngage does not store completely, or "".
func judgeValue(raw []byte) string {
	raw = bytes.TrimSpace(raw)
	if domain.LoneSurrogate(raw) >= 0 {
		return TextBroken
	}
	if len(raw) <= MaxValueLength && (len(raw) == 0 || raw[0] != '[') {
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
		return ValueTooLong // an object is sent as a string
	}
	return ""
}

func judgeText(s string) string {
	switch {
	case utf8.RuneCountInString(s) <= MaxValueLength:
		return ""
	case strings.HasPrefix(s, "http://"), strings.HasPrefix(s, "https://"):
		return URLTooLong
	}
	return ValueTooLong
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
			if len(v) > MaxValueLength && (v[0] != '"' || judgeText(unquote(v)) != "") {
				return ValueTooLong
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
		return ArrayTooLong
	case len(sorts) > 1:
		return ArrayMixed
	}
	return ""
}
