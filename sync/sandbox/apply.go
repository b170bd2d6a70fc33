package sandbox

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"

	"personasync/sync/sandbox/internal/rawjson"
)

// applier applies the elements of one accepted request to the state. It reports what the rules drop or cut, which
// MoEngage does silently.
type applier struct {
	state   *state
	objects bool      // the workspace has the object data type
	at      time.Time // of the request's receipt
	request uint64    // its number
	report  reporter
}

func (a *applier) apply(e *element) {
	switch {
	case e.refusal != nil:
		a.report(BadElement, e.user, e.refusal.message)
	case e.wrongCase != "":
		a.report(WrongCaseType, e.user, e.wrongCase)
	case blockedID(e.user):
		a.report(BlockedID, e.user, "")
	case e.kind == customer:
		a.applyCustomer(e)
	case e.kind == event:
		for action := range rawjson.Items(e.actions) {
			a.applyAction(e, action)
		}
	}
	// A device is only counted: it never creates a user.
}

func (a *applier) nextWrite() Write {
	a.state.arrivals++
	return Write{Arrival: a.state.arrivals, Request: a.request}
}

func (a *applier) applyCustomer(e *element) {
	p := a.state.users[e.user]
	isNew := p == nil
	if isNew && e.existingOnly {
		a.report(ExistingOnly, e.user, "")
		return
	}
	if isNew {
		p = a.state.ensure(e.user)
	}
	w := a.nextWrite()
	unset := readUnsettings(e.unset)
	for name, value := range rawjson.Members(e.attributes) {
		switch string(name) {
		case addToArray, removeFromArray:
			continue // after the plain values
		}
		kept, ok := a.attributeName(e.user, name, isNew)
		if !ok || unsets(unset, kept) {
			continue
		}
		if raw, ok := a.value(e.user, kept, value); ok {
			p.set(kept, shareValue(raw), w)
		}
	}
	a.applyArrays(p, rawjson.Member(e.attributes, addToArray), true, w)
	a.applyArrays(p, rawjson.Member(e.attributes, removeFromArray), false, w)
	a.checkUnsettings(e.user, unset)
	if len(unset) > 0 {
		p.unset(unset)
	}
}

func (a *applier) applyArrays(p *profile, fields []byte, add bool, w Write) {
	for name, values := range rawjson.Members(fields) {
		kept, ok := a.attributeName(p.id, name, false)
		if !ok {
			continue
		}
		if !rawjson.Is(values, '[') {
			a.report(ArrayValue, p.id, kept)
			continue
		}
		array := "[]"
		if old := p.find(kept); old != nil {
			array = old.value
		}
		changed := changeArray(array, values, add)
		if _, ok := a.value(p.id, kept, []byte(changed)); ok {
			p.set(kept, changed, w)
		}
	}
}

func (a *applier) checkUnsettings(user string, unset []unsetting) {
	for _, u := range unset {
		if u.how == "equals" && a.state.custom[u.name] == "" && !standardNames[u.name] {
			a.report(UnknownUnset, user, u.name)
		}
	}
}

// attributeName returns the stored name of a user attribute, or false if the attribute is dropped.
func (a *applier) attributeName(user string, raw []byte, isNew bool) (string, bool) {
	if kept, ok := a.state.custom[string(raw)]; ok { // the common case
		return kept, true
	}
	name := string(raw)
	switch {
	case standardNames[name]:
		return name, true
	case createOnlyNames[name]:
		if !isNew {
			a.report(CreateOnly, user, name)
		}
		return name, isNew
	case reservedNames[name], systemPrefixed(name):
		a.report(ReservedName, user, name)
		return "", false
	}
	name = a.cutName(user, name)
	kept, ok := shareName(a.state.custom, []byte(name), maxAttributeNames)
	if !ok {
		a.report(AttributeLimit, user, name)
	}
	return kept, ok
}

func (a *applier) cutName(user, name string) string {
	if utf8.RuneCountInString(name) <= maxNameLength {
		return name
	}
	a.report(NameLength, user, name)
	return firstRunes(name, maxNameLength)
}

// value returns the stored form of an attribute's value, or false if it is dropped.
func (a *applier) value(user, name string, raw []byte) ([]byte, bool) {
	objects := a.objects || name == "platforms" // MoEngage's own list of objects
	kept, rule := judgeValue(raw, objects)
	if rule != "" {
		a.report(rule, user, name)
	}
	return kept, kept != nil
}

func (a *applier) eventValue(user string, name, raw []byte) ([]byte, bool) {
	kept, rule := judgeValue(raw, a.objects)
	if rule != "" {
		a.report(rule, user, string(name))
	}
	return kept, kept != nil
}

// applyAction stores one action of an event element and creates the user if needed.
func (a *applier) applyAction(e *element, raw []byte) {
	received := Event{Received: a.at, Time: a.at}
	var attributes []byte
	for name, value := range rawjson.Members(raw) {
		switch string(name) {
		case "action":
			received.Action = rawjson.Text(value)
		case "attributes":
			attributes = value
		case "platform":
			received.Platform = rawjson.Text(value)
		case "real_time_action":
			received.RealTime = rawjson.Text(value) == "true"
		case "current_time":
			received.Time = a.eventTime(e.user, value)
		}
	}
	if received.Time.After(a.at) {
		a.report(FutureEvent, e.user, received.Action)
		return
	}
	action, ok := a.eventName(e.user, received.Action)
	if !ok {
		return
	}
	received.Action = action
	received.Attributes = a.eventAttributes(e.user, attributes)
	received.Write = a.nextWrite()
	a.state.addEvent(a.state.ensure(e.user), received)
}

func (a *applier) eventTime(user string, raw []byte) time.Time {
	at, ok := eventTime(raw)
	if !ok {
		a.report(BadTime, user, string(raw))
		return a.at
	}
	return at
}

func (a *applier) eventName(user, action string) (string, bool) {
	if kept, ok := a.state.eventNames[action]; ok {
		return kept, true
	}
	if systemPrefixed(action) {
		a.report(ReservedName, user, action)
		return "", false
	}
	kept, ok := shareName(a.state.eventNames, []byte(a.cutName(user, action)), maxEventNames)
	if !ok {
		a.report(EventNameLimit, user, action)
	}
	return kept, ok
}

// eventAttributes returns a copy of an event's attributes without those that the rules drop. Usually none are,
// and the bytes are kept as received.
func (a *applier) eventAttributes(user string, raw []byte) json.RawMessage {
	if !rawjson.Is(raw, '{') {
		return nil
	}
	var room [16]eventAttribute
	kept, changed := room[:0], false
	seen := 0
	for name, value := range rawjson.Members(raw) {
		if seen++; seen > maxEventAttributes {
			a.report(EventAttributes, user, "")
			changed = true
			break
		}
		one, ok := a.eventAttribute(user, name, value)
		if ok {
			kept = append(kept, one)
		}
		changed = changed || !ok || len(one.name) != len(name) || len(one.value) != len(value)
	}
	if changed {
		return joinAttributes(kept)
	}
	return bytes.Clone(raw)
}

type eventAttribute struct{ name, value []byte }

func (a *applier) eventAttribute(user string, name, value []byte) (_ eventAttribute, ok bool) {
	if len(name) == 0 || bytes.HasPrefix(name, []byte("moe_")) {
		a.report(ReservedName, user, string(name))
		return eventAttribute{}, false
	}
	if len(name) > maxNameLength {
		name = []byte(a.cutName(user, string(name)))
	}
	value, ok = a.eventValue(user, name, value)
	return eventAttribute{name, value}, ok
}

func joinAttributes(all []eventAttribute) json.RawMessage {
	out := []byte{'{'}
	for i, a := range all {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, rawjson.Quote(string(a.name))...)
		out = append(out, ':')
		out = append(out, a.value...)
	}
	return append(out, '}')
}
