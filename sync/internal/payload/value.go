package payload

import (
	"bytes"
	"unicode/utf8"

	"personasync/store/domain"
)

// appendValue appends a JSON value in the form that MoEngage accepts. Scalars are unchanged, so numbers keep
// their digits. An object becomes a string of its JSON, because MoEngage ignores objects unless a workspace has
// enabled them. An array loses its nulls, and its objects and arrays become strings too. Half surrogate pairs
// become U+FFFD, with a payload warning, because parsers refuse them or disagree about them. raw must be valid
// JSON and not null.
func appendValue(b, raw []byte) []byte {
	raw = domain.WellFormed(bytes.TrimSpace(raw))
	switch raw[0] {
	case '{':
		return appendString(b, string(raw))
	case '[':
		return appendArray(b, raw)
	}
	return appendRaw(b, raw)
}

func appendArray(b, raw []byte) []byte {
	b = append(b, '[')
	first := true
	for v := range elements(raw) {
		if v[0] == 'n' {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		if v[0] == '{' || v[0] == '[' {
			b = appendString(b, string(v))
			continue
		}
		b = appendRaw(b, v)
	}
	return append(b, ']')
}

// appendRaw copies JSON text. It replaces invalid UTF-8 in strings, which encoding/json accepts and other
// parsers refuse.
func appendRaw(b, raw []byte) []byte {
	if utf8.Valid(raw) {
		return append(b, raw...)
	}
	return append(b, bytes.ToValidUTF8(raw, []byte("\uFFFD"))...)
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(b, s[start:i]...)
				b = append(b, "\uFFFD"...)
				start = i + 1
			}
			i += size
			continue
		}
		b = append(b, s[start:i]...)
		b = appendEscape(b, c)
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
