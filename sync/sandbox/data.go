package sandbox

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
	"unicode/utf8"

	"personasync/sync/sandbox/internal/rawjson"
)

// acceptData serves the three endpoints for customers and events. It can still refuse bad elements and exceeded
// limits. Later problems are silent, as with MoEngage.
func (s *Sandbox) acceptData(c *call) ([]byte, *refusal) {
	if r := s.refuseElements(c); r != nil {
		return nil, r
	}
	if r := s.meterData(c); r != nil {
		return nil, r
	}
	s.queue = append(s.queue, c)
	s.catchUp(c.At)
	return acceptedBody(c.ID), nil
}

// catchUp applies calls accepted at least Options.Delay ago, in order of arrival. Everything that reads the
// state calls it first.
func (s *Sandbox) catchUp(now time.Time) {
	done := 0
	for ; done < len(s.queue) && now.Sub(s.queue[done].At) >= s.options.Delay; done++ {
		c := s.queue[done]
		for i := range c.elements {
			s.apply(c, &c.elements[i])
		}
	}
	s.queue = slices.Delete(s.queue, 0, done)
	s.bury(now)
}

// refuseElements returns the refusal of the first bad element in strict validation. In lenient validation ("all
// bulk requests return a 200") bad elements are dropped and recorded, and do not count against limits.
func (s *Sandbox) refuseElements(c *call) *refusal {
	for _, e := range c.elements {
		if e.refusal != nil && s.options.Strict {
			return e.refusal
		}
	}
	return nil
}

// meterData charges users and events to the minute's limits, both or neither.
func (s *Sandbox) meterData(c *call) *refusal {
	switch {
	case s.users.wait(c.At, c.Users) > 0:
		r := overLimit("customers")
		return &r
	case s.events.wait(c.At, c.Events) > 0:
		r := overLimit("events")
		return &r
	}
	s.users.spend(c.At, c.Users)
	s.events.spend(c.At, c.Events)
	return nil
}

func (s *Sandbox) apply(c *call, e *element) {
	switch {
	case e.refusal != nil:
		s.violate(c, BadElement, e.user, e.refusal.message)
	case e.wrongCase != "":
		s.violate(c, WrongCaseType, e.user, e.wrongCase)
	case blockedID(e.user):
		s.violate(c, BlockedID, e.user, "")
	case e.kind == customer:
		s.applyCustomer(c, e)
	case e.kind == event:
		for action := range rawjson.Items(e.actions) {
			s.applyAction(c, e, action)
		}
	}
	// A device is only counted: it never creates a user.
}

func (s *Sandbox) nextWrite(c *call) Write {
	s.state.arrivals++
	return Write{Arrival: s.state.arrivals, Request: c.Number}
}

func (s *Sandbox) applyCustomer(c *call, e *element) {
	p := s.state.users[e.user]
	isNew := p == nil
	if isNew && e.existingOnly {
		s.violate(c, ExistingOnly, e.user, "")
		return
	}
	if isNew {
		p = s.state.ensure(e.user)
	}
	w := s.nextWrite(c)
	unset := readUnsettings(e.unset)
	for name, value := range rawjson.Members(e.attributes) {
		switch string(name) {
		case addToArray, removeFromArray:
			continue // after the plain values
		}
		kept, ok := s.attributeName(c, e.user, name, isNew)
		if !ok || unsets(unset, kept) {
			continue
		}
		if raw, ok := s.value(c, e.user, kept, value); ok {
			p.set(kept, shareValue(raw), w)
		}
	}
	s.applyArrays(c, p, rawjson.Member(e.attributes, addToArray), true, w)
	s.applyArrays(c, p, rawjson.Member(e.attributes, removeFromArray), false, w)
	s.checkUnsettings(c, e.user, unset)
	if len(unset) > 0 {
		p.unset(unset)
	}
}

func (s *Sandbox) applyArrays(c *call, p *profile, fields []byte, add bool, w Write) {
	for name, values := range rawjson.Members(fields) {
		kept, ok := s.attributeName(c, p.id, name, false)
		if !ok {
			continue
		}
		if !rawjson.Is(values, '[') {
			s.violate(c, ArrayValue, p.id, kept)
			continue
		}
		array := "[]"
		if a := p.find(kept); a != nil {
			array = a.value
		}
		changed := changeArray(array, values, add)
		if _, ok := s.value(c, p.id, kept, []byte(changed)); ok {
			p.set(kept, changed, w)
		}
	}
}

func (s *Sandbox) checkUnsettings(c *call, user string, unset []unsetting) {
	for _, u := range unset {
		if u.how == "equals" && s.state.custom[u.name] == "" && !standardNames[u.name] {
			s.violate(c, UnknownUnset, user, u.name)
		}
	}
}

// attributeName returns the stored name of a user attribute, or false if the attribute is dropped.
func (s *Sandbox) attributeName(c *call, user string, raw []byte, isNew bool) (string, bool) {
	if kept, ok := s.state.custom[string(raw)]; ok { // the common case
		return kept, true
	}
	name := string(raw)
	switch {
	case standardNames[name]:
		return name, true
	case createOnlyNames[name]:
		if !isNew {
			s.violate(c, CreateOnly, user, name)
		}
		return name, isNew
	case reservedNames[name], systemPrefixed(name):
		s.violate(c, ReservedName, user, name)
		return "", false
	}
	name = s.cutName(c, user, name)
	kept, ok := shareName(s.state.custom, []byte(name), maxAttributeNames)
	if !ok {
		s.violate(c, AttributeLimit, user, name)
	}
	return kept, ok
}

func (s *Sandbox) cutName(c *call, user, name string) string {
	if utf8.RuneCountInString(name) <= maxNameLength {
		return name
	}
	s.violate(c, NameLength, user, name)
	return firstRunes(name, maxNameLength)
}

// value returns the stored form of an attribute's value, or false if it is dropped.
func (s *Sandbox) value(c *call, user, name string, raw []byte) ([]byte, bool) {
	objects := s.options.Objects || name == "platforms" // MoEngage's own list of objects
	kept, rule := judgeValue(raw, objects)
	if rule != "" {
		s.violate(c, rule, user, name)
	}
	return kept, kept != nil
}

func (s *Sandbox) eventValue(c *call, user string, name, raw []byte) ([]byte, bool) {
	kept, rule := judgeValue(raw, s.options.Objects)
	if rule != "" {
		s.violate(c, rule, user, string(name))
	}
	return kept, kept != nil
}

// applyAction stores one action of an event element and creates the user if needed.
func (s *Sandbox) applyAction(c *call, e *element, raw []byte) {
	received := Event{Received: c.At, Time: c.At}
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
			received.Time = s.eventTime(c, e.user, value)
		}
	}
	if received.Time.After(c.At) {
		s.violate(c, FutureEvent, e.user, received.Action)
		return
	}
	action, ok := s.eventName(c, e.user, received.Action)
	if !ok {
		return
	}
	received.Action = action
	received.Attributes = s.eventAttributes(c, e.user, attributes)
	received.Write = s.nextWrite(c)
	s.state.addEvent(s.state.ensure(e.user), received)
}

func (s *Sandbox) eventTime(c *call, user string, raw []byte) time.Time {
	at, ok := eventTime(raw)
	if !ok {
		s.violate(c, BadTime, user, string(raw))
		return c.At
	}
	return at
}

func (s *Sandbox) eventName(c *call, user, action string) (string, bool) {
	if kept, ok := s.state.eventNames[action]; ok {
		return kept, true
	}
	if systemPrefixed(action) {
		s.violate(c, ReservedName, user, action)
		return "", false
	}
	kept, ok := shareName(s.state.eventNames, []byte(s.cutName(c, user, action)), maxEventNames)
	if !ok {
		s.violate(c, EventNameLimit, user, action)
	}
	return kept, ok
}

// eventAttributes returns a copy of an event's attributes without those that the rules drop. Usually none are,
// and the bytes are kept as received.
func (s *Sandbox) eventAttributes(c *call, user string, raw []byte) json.RawMessage {
	if !rawjson.Is(raw, '{') {
		return nil
	}
	var room [16]eventAttribute
	kept, changed := room[:0], false
	seen := 0
	for name, value := range rawjson.Members(raw) {
		if seen++; seen > maxEventAttributes {
			s.violate(c, EventAttributes, user, "")
			changed = true
			break
		}
		a, ok := s.eventAttribute(c, user, name, value)
		if ok {
			kept = append(kept, a)
		}
		changed = changed || !ok || len(a.name) != len(name) || len(a.value) != len(value)
	}
	if changed {
		return joinAttributes(kept)
	}
	return bytes.Clone(raw)
}

type eventAttribute struct{ name, value []byte }

func (s *Sandbox) eventAttribute(c *call, user string, name, value []byte) (_ eventAttribute, ok bool) {
	if len(name) == 0 || bytes.HasPrefix(name, []byte("moe_")) {
		s.violate(c, ReservedName, user, string(name))
		return eventAttribute{}, false
	}
	if len(name) > maxNameLength {
		name = []byte(s.cutName(c, user, string(name)))
	}
	value, ok = s.eventValue(c, user, name, value)
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

func acceptedBody(requestID string) []byte {
	return []byte(`{"status":"success","message":"Your request has been accepted and will be processed soon.","request_id":"` + requestID + `"}`)
}
