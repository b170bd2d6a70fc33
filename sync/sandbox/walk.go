package sandbox

import (
	"bytes"
	"encoding/json"
	"iter"
	"unicode/utf8"
)

// The functions of this file walk over JSON that [wellFormed] has approved, so they need not check it
// again. What they yield aliases the document. They exist because bulk bodies are most of the work:
// they find the values, and leave them raw.

// wellFormed reports whether b is one JSON value in UTF-8. encoding/json alone would let broken UTF-8 pass.
func wellFormed(b []byte) bool { return utf8.Valid(b) && json.Valid(b) }

// members yields the names, unquoted, and the values of an object. Anything else has none.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		if !is(object, '{') {
			return
		}
		for i := blank(object, 1); object[i] != '}'; {
			end := valueEnd(object, i)
			name := unquote(object[i:end])
			i = blank(object, blank(object, end)+1) // over the colon
			end = valueEnd(object, i)
			if !yield(name, object[i:end]) {
				return
			}
			i = next(object, end)
		}
	}
}

// items yields the elements of an array. Anything else has none.
func items(array []byte) iter.Seq[[]byte] {
	return func(yield func(item []byte) bool) {
		if !is(array, '[') {
			return
		}
		for i := blank(array, 1); array[i] != ']'; {
			end := valueEnd(array, i)
			if !yield(array[i:end]) {
				return
			}
			i = next(array, end)
		}
	}
}

// member returns the value of an object's member, the last one if it is repeated, or nil.
func member(object []byte, name string) []byte {
	var found []byte
	for n, value := range members(object) {
		if string(n) == name {
			found = value
		}
	}
	return found
}

// is reports whether a value begins with a character: { [ " or n for null.
func is(raw []byte, first byte) bool { return len(raw) > 0 && raw[0] == first }

// text returns a string's value, and "" for what is not a string.
func text(raw []byte) string {
	if !is(raw, '"') {
		return ""
	}
	return string(unquote(raw))
}

// unquote returns the characters of a string literal, aliasing it where nothing was escaped.
func unquote(raw []byte) []byte {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	_ = json.Unmarshal(raw, &s) // cannot fail: raw is a valid literal
	return []byte(s)
}

// next steps from the end of a value over a comma, to the next value or to the closing bracket.
func next(b []byte, i int) int {
	i = blank(b, i)
	if b[i] == ',' {
		i = blank(b, i+1)
	}
	return i
}

func blank(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r' {
		i++
	}
	return i
}

// valueEnd returns the index after the value that begins at i.
func valueEnd(b []byte, i int) int {
	switch b[i] {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		return compositeEnd(b, i)
	}
	for i < len(b) {
		switch b[i] {
		case ',', ']', '}', ' ', '\n', '\t', '\r':
			return i
		}
		i++
	}
	return i
}

func stringEnd(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// compositeEnd counts brackets of both kinds together, which is enough for what is well formed.
func compositeEnd(b []byte, i int) int {
	for depth := 0; ; {
		switch b[i] {
		case '"':
			i = stringEnd(b, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		i++
		if depth == 0 {
			return i
		}
	}
}
