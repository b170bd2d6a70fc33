package segment

import (
	"errors"
	"fmt"
	"time"

	"personasync/store"
)

// Limits on one Tracking API batch.
const (
	// MaxBatch is how many events Segment's Tracking API takes in one batch.
	MaxBatch = 2500

	// maxMerged bounds what a batch's events may grow to by what they share. 2,500 events with an SDK's
	// context of 1 KB make 2.5 MB; half a megabyte shared by 2,500 tiny events would make a gigabyte.
	maxMerged = 8 << 20

	// mergeDepth is how deep objects are merged: context.device.type is at 2. Every level reads both
	// objects again, so without a limit a small body could cost seconds.
	mergeDepth = 8
)

// Errors of ParseBatch beside *NotJSON and ErrTooMany.
var (
	ErrNoBatch  = errors.New("the body is not an object with a batch array")
	ErrTooLarge = errors.New("the batch shares too large a context among too many events")
)

// Batch is the body of /v1/batch, /v1/import or /v1/b, taken apart.
type Batch struct {
	WriteKey string // "" when the body has none
	Items    []Item

	body   []byte
	sentAt store.Span
}

// Item is one event of a batch. Raw is as it was sent, sharing the body's memory, unless the batch's own
// context or integrations added something to it.
type Item struct {
	Raw  []byte
	Size int // as it was sent
}

// ParseBatch reads a batch. Its context and integrations hold for every event in it, as the Tracking API
// documents; where an event has the same member, the event's stands, and objects are merged member by
// member. What an item is, Read finds out.
func ParseBatch(body []byte) (*Batch, error) {
	s := scanner{b: body}
	if !s.document() {
		return nil, s.err()
	}
	e := readEnvelope(body)
	if e.batch.Len == 0 || body[e.batch.Off] != '[' {
		return nil, ErrNoBatch
	}
	s = scanner{b: body, i: int(e.batch.Off)}
	spans, err := s.elements(MaxBatch)
	if err != nil {
		return nil, err
	}
	b := &Batch{WriteKey: e.writeKey, Items: make([]Item, len(spans)), body: body, sentAt: e.sentAt}
	for i, at := range spans {
		b.Items[i] = Item{Raw: cut(body, at), Size: int(at.Len)}
	}
	return b, b.share(e.shared())
}

// SentAt returns when the batch was sent, by the client's clock: the zero time where the body does not
// say, or says it in a way that cannot be read. odd is told of an odd one; it may be nil.
func (b *Batch) SentAt(odd func(OddTime)) (t time.Time, unreadable bool) {
	t, spelling, source := readTime(b.body, b.sentAt, func(at store.Span) []byte { return []byte(decodeString(cut(b.body, at))) })
	if spelling != "" && odd != nil {
		odd(OddTime{"sentAt", spelling, source == store.TimeOwn})
	}
	if source != store.TimeOwn {
		return time.Time{}, source == store.TimeUnreadable
	}
	return t, false
}

// WriteKey returns the writeKey in the body of a single call, "" when it has none. The error is a *NotJSON.
func WriteKey(body []byte) (string, error) {
	s := scanner{b: body}
	if !s.document() {
		return "", s.err()
	}
	return readEnvelope(body).writeKey, nil
}

// tracking is what a Tracking API body holds beside its events.
type tracking struct {
	body                         []byte
	writeKey                     string
	batch, context, integrations store.Span
	sentAt                       store.Span
}

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

// walkAny walks the object that text is; anything else has no members.
func walkAny(text []byte) members {
	s := scanner{b: text}
	if s.peek() != '{' {
		return members{failed: true}
	}
	return walk(text, store.Span{Off: uint32(s.i)}, nil)
}

// shared is the object of what every event gets, nil when that is nothing.
func (e *tracking) shared() []byte {
	var out []byte
	for _, part := range [...]struct {
		label string
		at    store.Span
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

// appendComma begins an object, or separates its next member.
func appendComma(out []byte) []byte {
	if len(out) == 0 {
		return append(out, '{')
	}
	return append(out, ',')
}

// share merges the shared object into every item that it can be merged into. An item over the limit is
// refused for its size whatever it says, and stays as it is.
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

// merge returns the object own with the members of extra that it lacks, and whether there were any.
// Where both have an object under the same name, these are merged in turn. A null of own stands, except
// for the whole context or integrations (depth 0): an SDK that writes null there has nothing to say.
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

func mergeValue(own, extra []byte, depth int) (value []byte, changed bool) {
	switch {
	case depth == 0 && own[0] == 'n':
		return extra, true
	case own[0] == '{' && extra[0] == '{' && depth < mergeDepth:
		return merge(own, extra, depth+1)
	}
	return own, false
}

// listed is an object's members: names in the order of their first appearance, each with its last value.
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
