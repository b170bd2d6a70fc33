package term

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"personasync/store/domain"
)

// Plain replaces the characters of s that a terminal obeys, because user ids and payloads come from outside. Bytes
// that are not UTF-8 become the replacement character, as in JSON.
func Plain(s string) string { return escape(s, false) }

// PlainLines is Plain for a text of several lines.
func PlainLines(s string) string { return escape(s, true) }

func escape(s string, lines bool) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case unicode.IsPrint(r), lines && r == '\n':
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// Argument returns s as one word of a command that can be copied into a shell.
func Argument(s string) string { return domain.ShellWord(Plain(s)) }

// Indented returns JSON with line breaks and indentation, after margin.
func Indented(raw []byte, margin string) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, margin, "  ") != nil {
		return margin + Plain(string(raw))
	}
	return margin + PlainLines(b.String())
}

// Count returns a number with separated thousands.
func Count[T int | int64 | uint64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Plural counts things: "1 change", "2 changes".
func Plural[T int | int64 | uint64](n T, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + one + "s"
}

// Ago returns an age in its two largest units.
func Ago(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	days := int64(d / (24 * time.Hour))
	switch {
	case days > 0:
		return fmt.Sprintf("%d d %d h", days, int64(d/time.Hour)%24)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", int64(d/time.Hour), int64(d/time.Minute)%60)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", int64(d/time.Minute), seconds%60)
	}
	return fmt.Sprintf("%d s", seconds)
}

// Minute cuts a listing's time to the minute: "2026-03-14 09:26".
func Minute(timestamp string) string {
	if len(timestamp) < len("2026-03-14T09:26") {
		return timestamp
	}
	return timestamp[:10] + " " + timestamp[11:16]
}

// wideScripts are the scripts whose characters take two columns of a terminal.
var wideScripts = []*unicode.RangeTable{unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana}

// width returns the number of columns that s takes on a terminal.
func width(s string) (n int) {
	for _, r := range s {
		switch {
		case unicode.Is(unicode.Mn, r), r == '\u200d', r == '\ufe0f':
		case unicode.In(r, wideScripts...), r >= 0xff01 && r <= 0xff60, r >= 0x1f300 && r <= 0x1faff:
			n += 2
		default:
			n++
		}
	}
	return n
}

// SortedKeys returns the keys of m, sorted.
func SortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// YesNo returns "yes" or "no".
func YesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// InBrackets returns s in brackets, or "" if s is empty.
func InBrackets(s string) string {
	if s == "" {
		return ""
	}
	return "(" + s + ")"
}

// Second cuts a time to the second: "2026-03-14 09:26:53".
func Second(timestamp string) string {
	if len(timestamp) < len("2026-03-14T09:26:53") {
		return timestamp
	}
	return timestamp[:10] + " " + timestamp[11:19]
}
