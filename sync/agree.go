package syncer

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"time"
	"unicode/utf8"

	"personasync/sync/internal/payload"
)

// Agrees reports whether got, as read from MoEngage, is the stored form of want, as it was sent. Nil is a
// missing attribute. Values are compared by meaning: numbers by value, texts up to MoEngage's maximum length,
// times regardless of zone and trailing zeros, objects in any order.
func Agrees(want, got json.RawMessage) bool {
	if payload.IsNull(want) || payload.IsNull(got) {
		return (len(want) == 0 || payload.IsNull(want)) && (len(got) == 0 || payload.IsNull(got))
	}
	w, errW := decodeValue(want)
	g, errG := decodeValue(got)
	return errW == nil && errG == nil && equalValues(w, g)
}

// Lists reports whether a list attribute, as read from MoEngage, contains entry. Nil is a missing attribute.
func Lists(got json.RawMessage, entry string) bool {
	var list []any
	if json.Unmarshal(got, &list) != nil {
		return false
	}
	return slices.ContainsFunc(list, func(v any) bool { s, ok := v.(string); return ok && equalTexts(entry, s) })
}

func decodeValue(raw json.RawMessage) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return v, d.Decode(&v)
}

func equalValues(want, got any) bool {
	switch w := want.(type) {
	case json.Number:
		g, ok := got.(json.Number)
		return ok && equalNumbers(string(w), string(g))
	case string:
		g, ok := got.(string)
		return ok && equalTexts(w, g)
	case []any:
		g, ok := got.([]any)
		return ok && slices.EqualFunc(w, g, equalValues)
	case map[string]any:
		g, ok := got.(map[string]any)
		return ok && maps.EqualFunc(w, g, equalValues)
	}
	return want == got
}

// equalNumbers compares by value: MoEngage may write 12.50 as 12.5, and stores the precision of a double.
func equalNumbers(want, got string) bool {
	if want == got {
		return true
	}
	w, _, errW := big.ParseFloat(want, 10, 53, big.ToNearestEven)
	g, _, errG := big.ParseFloat(got, 10, 53, big.ToNearestEven)
	return errW == nil && errG == nil && w.Cmp(g) == 0
}

func equalTexts(want, got string) bool {
	if want == got {
		return true
	}
	if utf8.RuneCountInString(want) > payload.MaxValueLength && got == firstRunes(want, payload.MaxValueLength) {
		return true
	}
	w, okW := asTime(want)
	g, okG := asTime(got)
	return okW && okG && w.Equal(g)
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i]
		}
	}
	return s
}

// asTime parses the time formats on MoEngage's pages. A time without a zone is UTC.
func asTime(s string) (time.Time, bool) {
	for _, layout := range [...]string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
