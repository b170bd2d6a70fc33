package condition

import "time"

// Whole makes an empty list of a missing one, so that it is [] in JSON on every way.
func Whole[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// Timestamp renders a moment as every listing shows it: RFC 3339 in UTC, empty for the zero time.
func Timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
