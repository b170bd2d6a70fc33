package payload

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"personasync/store/domain"
)

// maxEventAttributes is how many attributes of an event MoEngage keeps. It silently drops the rest.
const maxEventAttributes = 100

// appendEventAttributes appends the attributes object of an event. Our own attributes come first. A synthesised
// event has computation_key, computation_id, value and the column of a SQL trait's row. Every event has
// audience_key (trait_key for a trait), change_id and message_id, which identify repeats. An event sent as
// received then has Segment's properties, changed only where MoEngage would refuse or drop them:
//
//   - A property with one of our names is left out.
//   - A name that MoEngage refuses or cuts is replaced as domain.EventName says. If another property has that
//     name, "segment_2_" and so on is prefixed. No name occurs twice.
//   - A null is left out, because MoEngage would drop it anyway.
//   - An object becomes a string of its JSON, also within an array (see appendValue).
//   - Everything after the hundredth attribute, including ours, is left out. The computation's own key is never
//     left out, because it may be the only difference between an enter and an exit.
func appendEventAttributes(b []byte, c *domain.Change) ([]byte, error) {
	w := attributeWriter{b: append(b, '{')}
	if c.Props == nil {
		w.text("computation_key", c.Computation)
		w.text("computation_id", c.ComputedBy)
		if c.Column != "" {
			w.text("column", c.Column)
		}
		if err := w.value("value", c.Value); err != nil {
			return w.b, err
		}
	}
	w.text(keyAttribute(c.Class), c.Computation)
	w.text("change_id", c.ID.String())
	w.text("message_id", c.MessageID)
	if err := w.properties(c); err != nil {
		return w.b, err
	}
	return append(w.b, '}'), nil
}

// keyAttribute returns the name of the event attribute with the computation's key.
func keyAttribute(c domain.Class) string {
	if c == domain.ClassTrait {
		return "trait_key"
	}
	return "audience_key"
}

// attributeWriter appends members of an object and counts them.
type attributeWriter struct {
	b []byte
	n int
}

func (w *attributeWriter) comma() {
	if w.n > 0 {
		w.b = append(w.b, ',')
	}
	w.n++
}

// text adds a member with a string value, unless it is empty: MoEngage counts "" as a value.
func (w *attributeWriter) text(name, s string) {
	if s == "" {
		return
	}
	w.comma()
	w.b = appendString(w.b, name)
	w.b = append(w.b, ':')
	w.b = appendString(w.b, s)
}

// value adds a member with a JSON value, unless it is empty or null.
func (w *attributeWriter) value(name string, raw []byte) error {
	if len(raw) == 0 || IsNull(raw) {
		return nil
	}
	if !validJSON(raw) {
		return errUnencodable
	}
	w.comma()
	w.b = appendString(w.b, name)
	w.b = append(w.b, ':')
	w.b = appendValue(w.b, raw)
	return nil
}

// properties adds Segment's properties by the rules of appendEventAttributes.
func (w *attributeWriter) properties(c *domain.Change) error {
	raw := bytes.TrimSpace(c.Props)
	if len(raw) == 0 || IsNull(raw) {
		return nil
	}
	if raw[0] != '{' || !json.Valid(raw) {
		return errUnencodable
	}
	list := propertiesOf(raw, c)
	if most := maxEventAttributes - w.n; len(list) > most {
		own := slices.IndexFunc(list, func(p property) bool { return p.key == c.Computation })
		if own >= most {
			list[most-1] = list[own]
		}
		list = list[:most]
	}
	for _, p := range list {
		w.comma()
		w.b = appendString(w.b, p.name)
		w.b = append(w.b, ':')
		w.b = appendValue(w.b, p.value)
	}
	return nil
}

// property is one of Segment's properties with the name under which it is sent.
type property struct {
	key   string // Segment's name
	name  string
	value []byte
}

// propertiesOf returns the properties to send, each with a unique name. Of duplicate names the last counts, as
// in every JSON reader. Names that differ only in half a surrogate pair are distinct, although they decode
// alike.
func propertiesOf(raw []byte, c *domain.Change) (list []property) {
	last := make(map[string]int)
	for key, v := range members(raw) {
		name := ownName(key)
		if at, twice := last[name]; twice {
			list[at].value = v
			continue
		}
		last[name] = len(list)
		list = append(list, property{name, name, v})
	}
	list = slices.DeleteFunc(list, func(p property) bool {
		out := p.value[0] == 'n' || isOurs(p.name, c)
		if out || sentName(p.name) != p.name {
			delete(last, p.name)
		}
		return out
	})
	for i := range list {
		name, raw := sentName(list[i].name), wholeName(list[i].name)
		if name == list[i].name {
			continue
		}
		for n := 2; ; n++ {
			if _, taken := last[name]; !taken {
				break
			}
			name = domain.CutName(domain.RenamedPrefix + strconv.Itoa(n) + "_" + raw)
		}
		last[name], list[i].name = i, name
	}
	return list
}

// isOurs reports whether an event as received has an attribute of ours with this name.
func isOurs(name string, c *domain.Change) bool {
	switch name {
	case "change_id":
		return true
	case "message_id":
		return c.MessageID != ""
	}
	return c.Computation != "" && name == keyAttribute(c.Class)
}

// halfMark stands for half a surrogate pair in a name, before its four digits. This byte occurs in no text.
const halfMark = "\xff"

// ownName returns the text of a property's name. Half surrogate pairs stay distinguishable.
func ownName(quoted []byte) string {
	at := domain.LoneSurrogate(quoted)
	if at < 0 {
		return unquote(quoted)
	}
	rest := quoted[1 : len(quoted)-1]
	var name strings.Builder
	for at = domain.LoneSurrogate(rest); at >= 0; at = domain.LoneSurrogate(rest) {
		name.WriteString(unquote([]byte(`"` + string(rest[:at]) + `"`)))
		name.WriteString(halfMark + strings.ToLower(string(rest[at+2:at+6])))
		rest = rest[at+6:]
	}
	name.WriteString(unquote([]byte(`"` + string(rest) + `"`)))
	return name.String()
}

// wholeName converts a result of ownName to text, with U+FFFD for each half surrogate pair.
func wholeName(name string) string {
	first, rest, halved := strings.Cut(name, halfMark)
	for halved {
		first += "\uFFFD"
		var more string
		more, rest, halved = strings.Cut(rest[min(4, len(rest)):], halfMark)
		first += more
	}
	return first
}

// sentName returns the name under which a property is sent if no other property has it.
func sentName(name string) string { return domain.EventName(wholeName(name)) }
