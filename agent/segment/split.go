package segment

import (
	"errors"
	"fmt"

	"personasync/store"
)

// MaxArray is the most events that one webhook body may hold. Segment sends at most 4,000; without a
// limit 8 MB of "1,1,1,…" would be four million events.
const MaxArray = 20_000

// ErrTooMany says that a body holds more events than one request may bring.
var ErrTooMany = errors.New("too many events in one request")

// Split cuts a webhook body into its events: the body itself, or the elements of an array, each taken
// out of a {"json":…} around it (Webhook Extensible wraps so; read from its source). Items share the
// body's memory. It looks no further than the text being JSON: what an element is, Read finds out, so
// that one bad element spoils no other.
//
// The error is a *NotJSON or ErrTooMany.
func Split(body []byte) (items [][]byte, array bool, err error) {
	s := scanner{b: body, open: make([]byte, 0, 32)}
	if s.peek() != '[' {
		start := s.i
		if !s.value() {
			return nil, false, s.err()
		}
		item := body[start:s.i:s.i]
		if !s.end() {
			return nil, false, s.err()
		}
		return [][]byte{item}, false, nil
	}
	spans, err := s.elements(MaxArray)
	if err != nil {
		return nil, true, err
	}
	if !s.end() {
		return nil, true, s.err()
	}
	items = make([][]byte, len(spans))
	for i, at := range spans {
		items[i] = cut(body, unwrap(body, at, s.open))
	}
	return items, true, nil
}

// FirstElement returns the first element of a body that Split found to be an array, as it stands there,
// wrapping included: the bytes that Segment signs. Nil when there is none.
func FirstElement(body []byte) []byte {
	s := scanner{b: body}
	if s.peek() != '[' {
		return nil
	}
	s.push('[')
	if s.peek() == ']' {
		return nil
	}
	start := s.i
	if !s.value() {
		return nil
	}
	return body[start:s.i:s.i]
}

// elements reads an array, standing on its bracket, and returns where its elements are.
func (s *scanner) elements(most int) ([]store.Span, error) {
	s.push('[')
	if s.peek() == ']' {
		s.pop()
		return nil, nil
	}
	var spans []store.Span
	for more := true; more; {
		s.space()
		start := s.i
		if !s.value() {
			return nil, s.err()
		}
		if len(spans) == most {
			return nil, fmt.Errorf("%w: at most %d are taken", ErrTooMany, most)
		}
		spans = append(spans, spanOf(start, s.i))
		var ok bool
		if more, ok = s.next(); !ok {
			return nil, s.err()
		}
	}
	return spans, nil
}

// unwrap looks for an object whose only member is json, and returns what that is.
func unwrap(body []byte, at store.Span, room []byte) store.Span {
	if body[at.Off] != '{' {
		return at
	}
	m := walk(body, at, room)
	if !m.next() || string(m.name) != "json" {
		return at
	}
	inner := m.value
	if m.peek() != '}' {
		return at
	}
	return inner
}
