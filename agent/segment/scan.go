package segment

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf8"

	"personasync/store/domain"
)

// maxDepth limits the nesting of an event. Segment's own events nest 5 levels; 128 leaves room for any sensible
// mapping.
const maxDepth = 128

// NotJSON is the error about a text that is not JSON (RFC 8259).
type NotJSON struct {
	Offset int    // of the first unexpected byte
	Want   string // the expected syntax
}

// Error names the offset and the expected syntax, and no content of the text.
func (e *NotJSON) Error() string {
	return fmt.Sprintf("not JSON: byte %d should be %s", e.Offset, e.Want)
}

// A scanner reads JSON text once, front to back, and validates it. It does not recurse: open brackets are bits,
// so a text nested a million deep costs 125 KB.
//
// Four faults are only noted, because the text is still JSON and its bytes can be kept: invalid UTF-8 in a
// string, nesting beyond maxDepth, numbers beyond a double, and names with half a surrogate pair.
type scanner struct {
	b       []byte
	i       int // the next byte to read
	open    brackets
	deepest int // most brackets ever open
	badUTF8 bool

	hugeNumber bool   // a number beyond a double, such as 1e400
	halfName   bool   // a member name with half a surrogate pair
	want       string // after a failure: the expected syntax at byte i
}

// brackets are those not yet closed. The zero value has none, and the first 64 need no memory of their own.
type brackets struct {
	count int
	inner uint64   // the innermost is the lowest bit, which is 1 for a brace
	outer []uint64 // full words, outermost first
}

func (b *brackets) push(brace bool) {
	if b.count > 0 && b.count%64 == 0 {
		b.outer = append(b.outer, b.inner)
	}
	b.count++
	b.inner <<= 1
	if brace {
		b.inner |= 1
	}
}

func (b *brackets) pop() {
	b.count--
	b.inner >>= 1
	if last := len(b.outer) - 1; last >= 0 && b.count%64 == 0 {
		b.inner, b.outer = b.outer[last], b.outer[:last]
	}
}

// brace reports whether the innermost bracket is a brace.
func (b *brackets) brace() bool { return b.inner&1 == 1 }

func (s *scanner) err() error { return &NotJSON{Offset: s.i, Want: s.want} }

func (s *scanner) fail(want string) bool {
	s.want = want
	return false
}

// document reads exactly one value and the white space around it.
func (s *scanner) document() bool { return s.value() && s.end() }

// end requires that only white space is left.
func (s *scanner) end() bool {
	s.space()
	if s.i < len(s.b) {
		return s.fail("the end of the text")
	}
	return true
}

// value skips white space and one value of any kind. It loops instead of recursing.
func (s *scanner) value() bool {
	outer := s.open.count
	for {
		opened, ok := s.begin()
		if !ok {
			return false
		}
		if opened {
			continue
		}
		for more := false; !more; {
			if s.open.count == outer {
				return true
			}
			if more, ok = s.next(); !ok {
				return false
			}
		}
	}
}

// begin reads a whole scalar or empty container. Of any other container it reads up to the first value inside
// and returns opened.
func (s *scanner) begin() (opened, ok bool) {
	s.space()
	if s.i == len(s.b) {
		return false, s.fail("a value")
	}
	switch c := s.b[s.i]; c {
	case '{':
		s.push(c)
		if s.peek() == '}' {
			s.pop()
			return false, true
		}
		_, _, ok := s.key()
		return true, ok
	case '[':
		s.push(c)
		if s.peek() == ']' {
			s.pop()
			return false, true
		}
		return true, true
	case '"':
		_, ok := s.str()
		return false, ok
	case 't':
		return false, s.literal("true")
	case 'f':
		return false, s.literal("false")
	case 'n':
		return false, s.literal("null")
	default:
		return false, s.number()
	}
}

// next reads the token after a value in the innermost container: the closing bracket, or a comma and, in an
// object, the next key.
func (s *scanner) next() (more, ok bool) {
	object := s.open.brace()
	switch c := s.peek(); {
	case c == ',':
		s.i++
		if !object {
			return true, true
		}
		_, _, ok := s.key()
		return true, ok
	case c == '}' && object, c == ']' && !object:
		s.pop()
		return false, true
	case object:
		return false, s.fail("a comma or }")
	default:
		return false, s.fail("a comma or ]")
	}
}

func (s *scanner) push(c byte) {
	s.i++
	s.open.push(c == '{')
	s.deepest = max(s.deepest, s.open.count)
}

func (s *scanner) pop() {
	s.i++
	s.open.pop()
}

// peek skips white space and returns the byte behind it, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.i == len(s.b) {
		return 0
	}
	return s.b[s.i]
}

func (s *scanner) space() {
	for s.i < len(s.b) && s.b[s.i] <= ' ' {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// key reads a member's name and the colon after it. The span is the name's text without its quotes. plain means
// that the text needs no decoding.
func (s *scanner) key() (name domain.Span, plain, ok bool) {
	if s.peek() != '"' {
		return name, false, s.fail("a member's name in quotes")
	}
	start := s.i + 1
	plain, ok = s.str()
	if !ok {
		return name, false, false
	}
	name = spanOf(start, s.i-1)
	s.halfName = s.halfName || !plain && domain.LoneSurrogate(cut(s.b, name)) >= 0
	if s.peek() != ':' {
		return name, false, s.fail("a colon")
	}
	s.i++
	return name, plain, true
}

// str reads a string. The scanner must be at its opening quote.
func (s *scanner) str() (plain, ok bool) {
	plain = true
	s.i++
	for {
		s.i += plainBytes(s.b[s.i:])
		if s.i == len(s.b) {
			return false, s.fail("the closing quote of a string")
		}
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return plain, true
		case c == '\\':
			plain = false
			if !s.escape() {
				return false, false
			}
		case c < ' ':
			return false, s.fail("escaped: control characters may not stand in a string")
		default:
			r, n := utf8.DecodeRune(s.b[s.i:])
			if r == utf8.RuneError && n == 1 {
				s.badUTF8, plain = true, false
			}
			s.i += n
		}
	}
}

// plainBytes counts the leading bytes of b that a string may contain as they are: printable ASCII except quote
// and backslash. It tests eight bytes at a time. For bytes below 0x80, x - n sets the high bit exactly where
// the byte is less than n. A borrow corrupts only bytes above one that was already found, and bytes from 0x80
// on are found by their own high bit. So the lowest high bit is that of the first special byte.
func plainBytes(b []byte) (n int) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; len(b)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		special := (x - ones*' ') | ((x ^ ones*'"') - ones) | ((x ^ ones*'\\') - ones) | x
		if special&highs != 0 {
			return n + bits.TrailingZeros64(special&highs)/8
		}
	}
	for n < len(b) && plainByte[b[n]] {
		n++
	}
	return n
}

var plainByte = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// escape reads an escape sequence.
func (s *scanner) escape() bool {
	s.i++
	if s.i == len(s.b) {
		return s.fail("the rest of an escape")
	}
	switch s.b[s.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return true
	case 'u':
		s.i++
	default:
		return s.fail(`one of "\/bfnrtu`)
	}
	for range 4 {
		if s.i == len(s.b) || !isHex(s.b[s.i]) {
			return s.fail("a hexadecimal digit")
		}
		s.i++
	}
	return true
}

func isHex(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (s *scanner) literal(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return s.fail(word)
	}
	s.i += len(word)
	return true
}

// number reads -?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?
func (s *scanner) number() bool {
	start := s.i
	if s.at('-') {
		s.i++
	}
	if s.at('0') {
		s.i++
	} else if !s.digits("a value") {
		return false
	}
	if s.at('.') {
		s.i++
		if !s.digits("a digit") {
			return false
		}
	}
	if s.at('e') || s.at('E') {
		s.i++
		if s.at('+') || s.at('-') {
			s.i++
		}
		if !s.digits("a digit") {
			return false
		}
		s.weigh(start)
	} else if s.i-start > 300 {
		s.weigh(start)
	}
	return true
}

// weigh notes whether the number beginning at start is beyond a double.
func (s *scanner) weigh(start int) {
	if _, err := strconv.ParseFloat(string(s.b[start:s.i]), 64); err != nil {
		s.hugeNumber = true
	}
}

func (s *scanner) at(c byte) bool { return s.i < len(s.b) && s.b[s.i] == c }

func (s *scanner) digits(want string) bool {
	start := s.i
	for s.i < len(s.b) && isDigit(s.b[s.i]) {
		s.i++
	}
	if s.i == start {
		return s.fail(want)
	}
	return true
}

// members walks the members of one object in text order. Of duplicate names the caller must take the last, as
// JSON.parse does.
//
//	for m := walk(text, object); m.next(); {
//		switch string(m.name) { … m.value … }
//	}
type members struct {
	scanner
	begun, failed bool

	name  []byte      // decoded
	label domain.Span // the name as written, with its quotes
	value domain.Span // the member's value, without surrounding white space
}

// walk starts a walk of the object that spans at in text.
func walk(text []byte, at domain.Span) members {
	return members{scanner: scanner{b: text, i: int(at.Off)}}
}

// next reads the next member with its value and reports whether there was one. Text that is not JSON ends the
// walk and sets failed.
func (m *members) next() bool {
	if m.failed || m.begun && m.open.count == 0 {
		return false
	}
	name, plain, more := m.advance()
	if !more {
		return false
	}
	m.space()
	start := m.i
	if m.failed = !m.scanner.value(); m.failed {
		return false
	}
	m.value = spanOf(start, m.i)
	m.label = domain.Span{Off: name.Off - 1, Len: name.Len + 2}
	if m.name = cut(m.b, name); !plain {
		m.name = []byte(decodeString(cut(m.b, m.label)))
	}
	return true
}

// halved reports whether the member's name has half a surrogate pair, so that it decodes like other such names.
func (m *members) halved() bool { return domain.LoneSurrogate(cut(m.b, m.label)) >= 0 }

// advance reads the bracket or comma before a member, and its key.
func (m *members) advance() (name domain.Span, plain, more bool) {
	switch c := m.peek(); {
	case !m.begun:
		m.begun = true
		m.push(c)
		if m.peek() == '}' {
			m.pop()
			return name, false, false
		}
	case c == '}':
		m.pop()
		return name, false, false
	case c == ',':
		m.i++
	default:
		m.failed = true
		m.fail("a comma or }")
		return name, false, false
	}
	name, plain, ok := m.key()
	m.failed = !ok
	return name, plain, ok
}

func spanOf(from, to int) domain.Span {
	return domain.Span{Off: uint32(from), Len: uint32(to - from)}
}

func cut(b []byte, s domain.Span) []byte { return b[s.Off : s.Off+s.Len : s.Off+s.Len] }

// decodeString decodes a scanned JSON string with its quotes. Invalid UTF-8 becomes U+FFFD.
func decodeString(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	var v string
	if err := json.Unmarshal(quoted, &v); err != nil {
		return "" // unreachable: the scanner accepts only strings that encoding/json accepts
	}
	return v
}
