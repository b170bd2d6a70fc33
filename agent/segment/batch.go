package segment

import (
	"errors"
	"fmt"
	"time"

	"personasync/store/domain"
)

// Limits on one Tracking API batch.
const (
	// maxBatch is the most events that Segment's Tracking API accepts in one batch.
	maxBatch = 2500

	// maxMerged limits a batch's events in bytes once the shared members are merged in. 2,500 events with an
	// SDK's context of 1 KB make 2.5 MB. Half a megabyte shared by 2,500 tiny events would make a gigabyte.
	maxMerged = 8 << 20

	// mergeDepth limits how deep objects are merged; context.device.type is at depth 2. Each level reads both
	// objects again, so without a limit a small body could cost seconds.
	mergeDepth = 8
)

// Errors of ParseBatch. It also returns *NotJSON and ErrTooMany.
var (
	errNoBatch  = errors.New("the body is not an object with a batch array")
	ErrTooLarge = errors.New("the batch shares too large a context among too many events")
)

// Batch is the parsed body of /v1/batch, /v1/import or /v1/b.
type Batch struct {
	WriteKey string // "" if the body has none
	Items    []Item

	body   []byte
	sentAt domain.Span
}

// Item is one event of a batch. Raw is the event as it was sent and shares the body's memory. If the batch's
// context or integrations added members, Raw is a copy with them.
type Item struct {
	Raw  []byte
	Size int // in bytes, as it was sent
}

// ParseBatch parses a batch. Its context and integrations apply to every event in it, as the Tracking API
// documents. Objects are merged member by member, and an event's own value wins. ParseBatch does not validate
// the events; Read does.
func ParseBatch(body []byte) (*Batch, error) {
	s := scanner{b: body}
	if !s.document() {
		return nil, s.err()
	}
	e := readEnvelope(body)
	if e.batch.Len == 0 || body[e.batch.Off] != '[' {
		return nil, errNoBatch
	}
	s = scanner{b: body, i: int(e.batch.Off)}
	spans, err := s.elements(maxBatch)
	if err != nil {
		return nil, err
	}
	b := &Batch{WriteKey: e.writeKey, Items: make([]Item, len(spans)), body: body, sentAt: e.sentAt}
	for i, at := range spans {
		b.Items[i] = Item{Raw: cut(body, at), Size: int(at.Len)}
	}
	return b, b.share(e.shared())
}

// SentAt returns when the batch was sent, by the client's clock, or the zero time. unreadable means that the
// body has a sentAt that cannot be parsed. odd, which may be nil, is called for an unusual spelling.
func (b *Batch) SentAt(odd func(OddTime)) (t time.Time, unreadable bool) {
	t, spelling, source := readTime(b.body, b.sentAt, func(at domain.Span) []byte { return []byte(decodeString(cut(b.body, at))) })
	if spelling != "" && odd != nil {
		odd(OddTime{"sentAt", spelling, source == domain.TimeOwn})
	}
	if source != domain.TimeOwn {
		return time.Time{}, source == domain.TimeUnreadable
	}
	return t, false
}

// WriteKey returns the writeKey in the body of a single call, or "". The error is a *NotJSON.
func WriteKey(body []byte) (string, error) {
	s := scanner{b: body}
	if !s.document() {
		return "", s.err()
	}
	return readEnvelope(body).writeKey, nil
}

// tracking has the members of a Tracking API body that are not events.
type tracking struct {
	body                         []byte
	writeKey                     string
	batch, context, integrations domain.Span
	sentAt                       domain.Span
}

// readEnvelope reads the members of a body. Of duplicates the last counts.
func readEnvelope(body []byte) tracking {
	e := tracking{body: body}
	for m := walkAny(body); m.next(); {
		switch string(m.name) {
		case "batch":
			e.batch = m.value
		case "context":
			e.context = m.value
		case "integrations":
			e.integrations = m.value
		case "sentAt":
			e.sentAt = m.value
		case "writeKey":
			e.writeKey = ""
			if text := cut(body, m.value); text[0] == '"' {
				e.writeKey = decodeString(text)
			}
		}
	}
	return e
}

// walkAny walks an object. Any other value has no members.
func walkAny(text []byte) members {
	s := scanner{b: text}
	if s.peek() != '{' {
		return members{failed: true}
	}
	return walk(text, domain.Span{Off: uint32(s.i)})
}

// shared returns the object that is merged into every event, or nil if it is empty.
func (e *tracking) shared() []byte {
	var out []byte
	for _, part := range [...]struct {
		label string
		at    domain.Span
	}{{`"context":`, e.context}, {`"integrations":`, e.integrations}} {
		if part.at.Len <= 2 || e.body[part.at.Off] != '{' {
			continue
		}
		out = appendComma(out)
		out = append(out, part.label...)
		out = append(out, cut(e.body, part.at)...)
	}
	if out == nil {
		return nil
	}
	return append(out, '}')
}

// appendComma begins an object or separates its next member.
func appendComma(out []byte) []byte {
	if len(out) == 0 {
		return append(out, '{')
	}
	return append(out, ',')
}

// share merges the shared object into every item that allows it. An item over the size limit is refused anyway,
// so it is left as it is.
func (b *Batch) share(shared []byte) error {
	if shared == nil {
		return nil
	}
	if len(shared) > MaxEventBytes {
		return fmt.Errorf("%w: it alone has more than the %d bytes of one event", ErrTooLarge, MaxEventBytes)
	}
	grown := 0
	for i := range b.Items {
		item := &b.Items[i]
		if item.Raw[0] != '{' || item.Size > MaxEventBytes {
			continue
		}
		merged, changed := merge(item.Raw, shared, 0)
		if !changed {
			continue
		}
		item.Raw = merged
		if grown += len(merged); grown > maxMerged {
			return fmt.Errorf("%w: together they would have more than %d bytes", ErrTooLarge, maxMerged)
		}
	}
	return nil
}

// merge adds the members of extra that own lacks and reports whether there were any. Objects under the same
// name are merged in turn. A null in own wins, except as the whole context or integrations (depth 0): an SDK
// that writes null there means that it has none.
func merge(own, extra []byte, depth int) (merged []byte, changed bool) {
	mine, more := list(own), list(extra)
	out := make([]byte, 0, len(own)+len(extra))
	for _, name := range mine.names {
		value := mine.values[name]
		if other, ok := more.values[name]; ok {
			var grew bool
			if value, grew = mergeValue(value, other, depth); grew {
				changed = true
			}
		}
		out = append(append(append(appendComma(out), mine.labels[name]...), ':'), value...)
	}
	for _, name := range more.names {
		if _, ok := mine.values[name]; !ok {
			out = append(append(append(appendComma(out), more.labels[name]...), ':'), more.values[name]...)
			changed = true
		}
	}
	if len(out) == 0 {
		out = append(out, '{')
	}
	return append(out, '}'), changed
}

// mergeValue merges two values of one name, own first.
func mergeValue(own, extra []byte, depth int) (value []byte, changed bool) {
	switch {
	case depth == 0 && own[0] == 'n':
		return extra, true
	case own[0] == '{' && extra[0] == '{' && depth < mergeDepth:
		return merge(own, extra, depth+1)
	}
	return own, false
}

// listed has an object's members: names in order of first appearance, each with its last value.
type listed struct {
	names  []string
	labels map[string][]byte
	values map[string][]byte
}

func list(object []byte) listed {
	l := listed{labels: map[string][]byte{}, values: map[string][]byte{}}
	for m := walkAny(object); m.next(); {
		name := string(m.name)
		if _, ok := l.values[name]; !ok {
			l.names = append(l.names, name)
		}
		l.labels[name] = cut(object, m.label)
		l.values[name] = cut(object, m.value)
	}
	return l
}
