package segment

import (
	"time"

	"personasync/store"
)

// maxAhead is how far an event may be ahead of its receipt before it is not believed: an event of next
// year would otherwise beat every later one.
const maxAhead = 5 * time.Minute

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
// milliseconds, and two transitions of one user can share a millisecond.
func (r *reader) time() {
	e := r.event
	t, ok := r.timestamp(r.top.originalTimestamp)
	if !ok {
		t, ok = r.timestamp(r.top.timestamp)
	}
	if ok && !t.After(e.Received.Add(maxAhead)) {
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
			return t, false
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
