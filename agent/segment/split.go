package segment

import (
	"errors"
	"fmt"

	"personasync/store/domain"
)

// MaxArray is the most events in one webhook body. Segment sends at most 4,000. Without a limit 8 MB of
// "1,1,1,…" would be four million events.
const MaxArray = 20_000

// ErrTooMany means that a body has more events than one request may have.
var ErrTooMany = errors.New("too many events in one request")

// Split cuts a webhook body into events: the body itself, or the elements of an array. It unwraps elements of
// the form {"json":…}, which Webhook Extensible sends (read in its source). Items share the body's memory.
//
// Split only checks that the body is JSON. Read validates each event, so that one bad element does not affect
// others. The error is a *NotJSON or ErrTooMany.
func Split(body []byte) (items [][]byte, array bool, err error) {
	s := scanner{b: body}
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
		items[i] = cut(body, unwrap(body, at))
	}
	return items, true, nil
}

// FirstElement returns the first element of an array body as it was sent, with its wrapping, or nil. Segment
// signs these bytes.
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

// elements reads an array and locates its elements. The scanner must be at the opening bracket.
func (s *scanner) elements(most int) ([]domain.Span, error) {
	s.push('[')
	if s.peek() == ']' {
		s.pop()
		return nil, nil
	}
	var spans []domain.Span
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

// unwrap returns the value of json if that is the object's only member, and otherwise at.
func unwrap(body []byte, at domain.Span) domain.Span {
	if body[at.Off] != '{' {
		return at
	}
	m := walk(body, at)
	if !m.next() || string(m.name) != "json" {
		return at
	}
	inner := m.value
	if m.peek() != '}' {
		return at
	}
	return inner
}
