package store

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// Values are kept as the JSON text that Segment sent, so that numbers keep their digits, and compared as
// values: 450, 450.0 and 4.5e2 are one.

var (
	jsonTrue  = []byte("true")
	jsonFalse = []byte("false")
	jsonNull  = []byte("null")
	jsonEmpty = []byte(`""`)
)

// SameValue reports whether two JSON texts say the same value, at any depth. Members of objects may be in
// any order. Texts that are not JSON are the same when their bytes are.
func SameValue(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if plainValue(a) && plainValue(b) {
		return false // the common case: two words, or two texts without escapes
	}
	x, errX := decodeValue(a)
	y, errY := decodeValue(b)
	return errX == nil && errY == nil && equalValues(x, y)
}

// plainValue reports whether a value has no spelling but this one.
func plainValue(raw []byte) bool {
	if len(raw) == 0 {
		return true
	}
	switch raw[0] {
	case 't', 'f', 'n':
		return true
	case '"':
		return bytes.IndexByte(raw, '\\') < 0
	}
	return false
}

func decodeValue(raw []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return v, d.Decode(&v)
}

func equalValues(a, b any) bool {
	switch x := a.(type) {
	case json.Number:
		y, ok := b.(json.Number)
		return ok && parseDecimal(string(x)) == parseDecimal(string(y))
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !equalValues(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for name := range x {
			if v, there := y[name]; !there || !equalValues(x[name], v) {
				return false
			}
		}
		return true
	case string:
		y, ok := b.(string)
		return ok && x == y
	}
	return a == b
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
