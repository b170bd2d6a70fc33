package rawjson

import (
	"bytes"
	"encoding/json"
	"iter"
	"unicode/utf8"
)

// WellFormed reports whether b is one JSON value in UTF-8. encoding/json alone accepts invalid UTF-8.
func WellFormed(b []byte) bool { return utf8.Valid(b) && json.Valid(b) }

// Members yields the unquoted names and the values of an object. Any other value has none.
func Members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		if !Is(object, '{') {
			return
		}
		for i := blank(object, 1); object[i] != '}'; {
			end := valueEnd(object, i)
			name := unquote(object[i:end])
			i = blank(object, blank(object, end)+1) // skip the colon
			end = valueEnd(object, i)
			if !yield(name, object[i:end]) {
				return
			}
			i = next(object, end)
		}
	}
}

// Items yields the elements of an array. Any other value has none.
func Items(array []byte) iter.Seq[[]byte] {
	return func(yield func(item []byte) bool) {
		if !Is(array, '[') {
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

// Member returns the value of an object's member, or nil. Of duplicates the last counts.
func Member(object []byte, name string) []byte {
	var found []byte
	for n, value := range Members(object) {
		if string(n) == name {
			found = value
		}
	}
	return found
}

// Is reports whether a value begins with a character: { [ " or n for null.
func Is(raw []byte, first byte) bool { return len(raw) > 0 && raw[0] == first }

// Text returns a string's value, or "" for any other value.
func Text(raw []byte) string {
	if !Is(raw, '"') {
		return ""
	}
	return string(unquote(raw))
}

// unquote returns the characters of a string literal. The result aliases it if there are no escapes.
func unquote(raw []byte) []byte {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	_ = json.Unmarshal(raw, &s) // cannot fail: raw is a valid literal
	return []byte(s)
}

// next moves from the end of a value to the next value or the closing bracket.
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

// compositeEnd counts both kinds of brackets together, which is enough for valid JSON.
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

// Quote returns a string as JSON.
func Quote(s string) []byte {
	raw, _ := json.Marshal(s) // cannot fail
	return raw
}
