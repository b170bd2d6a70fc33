package domain

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Values are kept as the JSON text that Segment sent, so that numbers keep their digits, and compared as
// values: 450, 450.0 and 4.5e2 are one.

var (
	JSONTrue  = []byte("true")
	JSONFalse = []byte("false")
	JSONNull  = []byte("null")
	JSONEmpty = []byte(`""`)
)

// CloneValue copies a value, but that of a membership, as nearly every one is: nobody writes to the bytes of a value.
func CloneValue(v []byte) []byte {
	switch {
	case bytes.Equal(v, JSONTrue):
		return JSONTrue
	case bytes.Equal(v, JSONFalse):
		return JSONFalse
	}
	return bytes.Clone(v)
}

// SameValue reports whether two JSON texts say the same value, at any depth. Members of objects may be in
// any order. Texts that are not JSON are the same when their bytes are.
func SameValue(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if oneSpelling(a) && oneSpelling(b) {
		return false // the common case, for which nothing is allocated
	}
	x, okX := Canonical(a)
	y, okY := Canonical(b)
	return okX && okY && bytes.Equal(x, y)
}

// oneSpelling reports whether a value has no simpler spelling than this one: words, whole numbers, texts
// without escapes, and arrays of these without blanks.
func oneSpelling(raw []byte) bool {
	quoted := false
	for i, c := range raw {
		switch {
		case c == '\\':
			return false
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '.', c == 'E', c <= ' ':
			return false
		case c == 'e' && i > 0 && '0' <= raw[i-1] && raw[i-1] <= '9':
			return false
		case c == '-' && i+1 < len(raw) && raw[i+1] == '0':
			return false
		}
	}
	return true
}

// Canonical returns the one text of a value, whatever its spelling. It is raw itself where that is the
// simplest one; it need not be JSON. ok is false for a text that is not JSON.
func Canonical(raw []byte) (text []byte, ok bool) {
	if oneSpelling(raw) {
		return raw, true
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return raw, false
	}
	return appendCanonical(nil, v), true
}

func appendCanonical(b []byte, v any) []byte {
	switch v := v.(type) {
	case json.Number:
		return parseDecimal(string(v)).append(b)
	case string:
		return appendCanonicalText(b, v)
	case []any:
		b = append(b, '[')
		for i := range v {
			b = append(appendCanonical(b, v[i]), ',')
		}
		return append(bytes.TrimSuffix(b, []byte(",")), ']')
	case map[string]any:
		b = append(b, '{')
		for _, name := range slices.Sorted(maps.Keys(v)) {
			b = append(appendCanonicalText(b, name), ':')
			b = append(appendCanonical(b, v[name]), ',')
		}
		return append(b, '}')
	case bool:
		return strconv.AppendBool(b, v)
	}
	return append(b, JSONNull...)
}

// appendCanonicalText quotes a text, and escapes only quotes and backslashes.
func appendCanonicalText(b []byte, text string) []byte {
	b = append(b, '"')
	for i := range len(text) {
		if c := text[i]; c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, text[i])
	}
	return append(b, '"')
}

// decimal is a number as 0.digits x 10^exponent. Digits have no zero at either end, so that equal numbers
// are equal decimals, whatever their size: nothing is rounded.
type decimal struct {
	negative bool
	digits   string
	exponent int
}

// maxExponent is where exponents end: no double comes near, and a sum with it cannot overflow.
const maxExponent = 1 << 30

// parseDecimal reads a JSON number.
func parseDecimal(number string) (d decimal) {
	number, d.negative = strings.TrimPrefix(number, "-"), strings.HasPrefix(number, "-")
	if i := strings.IndexAny(number, "eE"); i >= 0 {
		e, err := strconv.Atoi(number[i+1:])
		if err != nil && strings.HasPrefix(number[i+1:], "-") {
			e = -maxExponent
		} else if err != nil {
			e = maxExponent
		}
		number, d.exponent = number[:i], max(min(e, maxExponent), -maxExponent)
	}
	whole, fraction, _ := strings.Cut(number, ".")
	d.digits = whole + fraction
	d.exponent += len(whole)
	significant := strings.TrimLeft(d.digits, "0")
	d.exponent -= len(d.digits) - len(significant)
	if d.digits = strings.TrimRight(significant, "0"); d.digits == "" {
		return decimal{}
	}
	return d
}

// append appends the one spelling of the number: all digits of a whole one.
func (d decimal) append(b []byte) []byte {
	const longest = 400 // digits; no double has more
	switch {
	case d.digits == "":
		return append(b, '0')
	case d.negative:
		b = append(b, '-')
	}
	if zeros := d.exponent - len(d.digits); zeros >= 0 && d.exponent <= longest {
		b = append(b, d.digits...)
		return append(b, strings.Repeat("0", zeros)...)
	}
	b = append(append(b, '.'), d.digits...)
	return strconv.AppendInt(append(b, 'e'), int64(d.exponent), 10)
}

// PlainNumber writes a JSON number without an exponent and without zeros at its end: 48213.0 is 48213. It
// is "" for a number that would have more than 21 digits that way, which is where JavaScript, too, goes over
// to an exponent; a whole number that is written out keeps all its digits.
func PlainNumber(number string) string {
	d := parseDecimal(number)
	sign := ""
	if d.negative {
		sign = "-"
	}
	switch {
	case d.digits == "":
		return "0"
	case !strings.ContainsAny(number, ".eE"):
		return number
	case d.exponent > 21, d.exponent < -6, len(d.digits) > 21:
		return ""
	case d.exponent <= 0:
		return sign + "0." + strings.Repeat("0", -d.exponent) + d.digits
	case len(d.digits) <= d.exponent:
		return sign + d.digits + strings.Repeat("0", d.exponent-len(d.digits))
	}
	return sign + d.digits[:d.exponent] + "." + d.digits[d.exponent:]
}

// LoneSurrogate returns where a JSON text has an escape of half a UTF-16 pair (\ud83d), -1 where it has
// none. Such a text stands for no characters: each reader makes something else of it.
func LoneSurrogate(raw []byte) int {
	for i := 0; ; {
		j := bytes.IndexByte(raw[i:], '\\')
		if j < 0 || i+j+1 >= len(raw) {
			return -1
		}
		i += j
		switch unit := escapedUnit(raw[i:]); {
		case unit < 0:
			i += 2
		case unit&0xfc00 == 0xd800 && escapedUnit(raw[i+6:])&0xfc00 == 0xdc00:
			i += 12
		case unit&0xf800 == 0xd800:
			return i
		default:
			i += 6
		}
	}
}

// escapedUnit is the UTF-16 unit of an escape (\u00e9) at the beginning of raw, -1 where there is none.
func escapedUnit(raw []byte) int {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(raw[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

// WellFormed returns a JSON text with U+FFFD for each half of a UTF-16 pair, as any UTF-8 encoder would
// write it. A text without one is returned as it is.
func WellFormed(raw []byte) []byte {
	at := LoneSurrogate(raw)
	if at < 0 {
		return raw
	}
	out := make([]byte, 0, len(raw))
	for ; at >= 0; at = LoneSurrogate(raw) {
		out = append(append(out, raw[:at]...), `\ufffd`...)
		raw = raw[at+6:]
	}
	return append(out, raw...)
}
