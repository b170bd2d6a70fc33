package segment

import (
	"time"

	"personasync/store"
)

// layouts are the spellings of ISO 8601 that are accepted beside RFC 3339. Go's parser takes a fraction
// of any length behind the seconds, whether or not the layout shows one.
var layouts = [...]string{
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05Z07",
	"2006-01-02T15:04:05", // no zone: UTC
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05Z0700",
	"2006-01-02 15:04:05",
}

// time sets when the event happened. originalTimestamp has nanoseconds where timestamp was cut to
// milliseconds, and two transitions of one user can share a millisecond. Until then it is the latest
// that it can have happened.
func (r *reader) time() {
	e := r.event
	t, ok := r.timestamp(r.top.originalTimestamp)
	if !ok {
		t, ok = r.timestamp(r.top.timestamp)
	}
	if ok && !t.After(e.Time.Add(store.MaxAhead)) {
		e.Time = t
	}
}

// timestamp reads one time, in UTC. One that cannot be read is as good as none, and so is a year that
// no event can be of: the zero values of SDKs and databases.
func (r *reader) timestamp(at store.Span) (t time.Time, ok bool) {
	if r.first(at) != '"' {
		return t, false
	}
	text := r.decoded(at)
	if t.UnmarshalText(text) != nil {
		if t, ok = parseLoosely(string(text)); !ok {
			if t, ok = parseLeapSecond(string(text)); !ok {
				return t, false
			}
		}
	}
	t = t.UTC()
	return t, t.Year() >= 1970 && t.Year() <= 9999
}

func parseLoosely(text string) (time.Time, bool) {
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// parseLeapSecond reads a time within a second numbered 60, which Go does not know. It becomes the last
// microsecond of the second before, so that it stays behind what happened before it and ahead of what
// happened after, and keeps the order within.
func parseLeapSecond(text string) (time.Time, bool) {
	const at = len("2006-01-02T15:04:")
	if len(text) < at+2 || text[at:at+2] != "60" {
		return time.Time{}, false
	}
	text = text[:at] + "59" + text[at+2:]
	t, err := time.Parse(time.RFC3339Nano, text)
	if ok := err == nil; !ok {
		if t, ok = parseLoosely(text); !ok {
			return time.Time{}, false
		}
	}
	within := time.Duration(t.Nanosecond())
	return t.Add(-within + time.Second - time.Microsecond + within/1e6), true
}
