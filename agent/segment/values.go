package segment

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"personasync/store/domain"
)

// A document gives access to the values in one event's bytes, by their spans. An absent value has length 0.
type document struct {
	raw        []byte
	broken     bool // raw is not valid UTF-8
	hugeNumber bool // raw has a number beyond a double
	halfName   bool // raw has a member name with half a surrogate pair
}

// walk walks an object's members. Any other value has none.
func (d *document) walk(at domain.Span) members {
	if d.first(at) != '{' {
		return members{failed: true}
	}
	return walk(d.raw, at)
}

// member returns the last member of an object with this name. A name with half a surrogate pair never matches,
// although it decodes like another.
func (d *document) member(object domain.Span, name string) (value domain.Span, found bool) {
	for m := d.walk(object); m.next(); {
		if string(m.name) == name && !(d.halfName && m.halved()) {
			value, found = m.value, true
		}
	}
	return value, found
}

// first returns the first byte of a value, which tells its kind, or 0 if there is no value.
func (d *document) first(at domain.Span) byte {
	if at.Len == 0 {
		return 0
	}
	return d.raw[at.Off]
}

// says reports whether the value is a text with more than blanks.
func (d *document) says(at domain.Span) bool { return d.first(at) == '"' && !blank(d.decoded(at)) }

// blank reports whether a text shows nothing.
func blank(text []byte) bool {
	return bytes.IndexFunc(text, func(c rune) bool { return !domain.IsBlank(c) }) < 0
}

// text returns the value's text, or "" if it is not a text.
func (d *document) text(at domain.Span) string {
	if d.first(at) != '"' {
		return ""
	}
	return string(d.decoded(at))
}

// decoded returns a text's content. It shares memory with raw if nothing needs decoding.
func (d *document) decoded(at domain.Span) []byte {
	inner := cut(d.raw, domain.Span{Off: at.Off + 1, Len: at.Len - 2})
	if plainBytes(inner) == len(inner) {
		return inner
	}
	if bytes.IndexByte(inner, 0x5c) < 0 && (!d.broken || utf8.Valid(inner)) {
		return inner
	}
	return []byte(decodeString(cut(d.raw, at)))
}

// id returns a text, or a number in full digits as Segment's own code writes it. odd means that the value names
// a user but cannot be used: it is of another kind, has half a surrogate pair or control characters, or is a
// number that cannot be written in full.
func (d *document) id(at domain.Span) (id string, odd bool) {
	switch c := d.first(at); {
	case c == 0, c == 'n':
		return "", false
	case c == '"':
		id = domain.CleanID(string(d.decoded(at)))
		if odd = !domain.Nameable(id) || domain.LoneSurrogate(cut(d.raw, at)) >= 0; odd {
			return "", true
		}
		return id, false
	case c == '-', isDigit(c):
		id = domain.PlainNumber(string(cut(d.raw, at)))
		return id, id == ""
	}
	return "", true
}

// given reports whether there is a value that is neither null nor an empty text.
func (d *document) given(at domain.Span) bool {
	c := d.first(at)
	return c != 0 && c != 'n' && (c != '"' || at.Len > 2)
}

func (d *document) hasID(at domain.Span) bool {
	id, _ := d.id(at)
	return id != ""
}

// flag reads true, false, and the texts "true" and "false" that journeys send. No other value counts: to
// JavaScript even the text "no" is true.
func (d *document) flag(at domain.Span) domain.Flag {
	switch d.first(at) {
	case 't':
		return domain.FlagIn
	case 'f':
		return domain.FlagOut
	case '"':
		switch text := string(d.decoded(at)); {
		case strings.EqualFold(text, "true"):
			return domain.FlagIn
		case strings.EqualFold(text, "false"):
			return domain.FlagOut
		}
	}
	return domain.FlagSilent
}
