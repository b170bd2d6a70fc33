package ingest

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"personasync/agent/segment"
	"personasync/store/domain"
)

// mostSpellings limits how many spellings of times, and names of values, are logged, because clients invent them.
const mostSpellings = 100

// loggedOnce remembers the values that were logged, so that each is logged once.
type loggedOnce[T comparable] struct {
	mu   sync.Mutex
	said map[T]bool
}

// news reports whether v should be logged. full is true once: for the first value beyond the limit.
func (s *loggedOnce[T]) news(v T) (fresh, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.said)
	if s.said[v] || n > mostSpellings {
		return false, false
	}
	if s.said == nil {
		s.said = map[T]bool{}
	}
	s.said[v] = true
	return n < mostSpellings, n == mostSpellings
}

// oddTimes counts events with a time that cannot be read, and logs each spelling once. The receipt replaces such a
// time, which can make an older event win, so it must be visible.
type oddTimes struct {
	log    *slog.Logger
	unread atomic.Uint64 // events since the start
	said   loggedOnce[segment.OddTime]
}

// note logs a new spelling.
func (o *oddTimes) note(t segment.OddTime) {
	switch fresh, full := o.said.news(t); {
	case full:
		o.log.Warn("event times come in more spellings than are logged; personasync_event_times_unread_total counts the events")
	case fresh && t.Read:
		o.log.Warn("an event time has an unusual spelling, and was read; make its sender write RFC 3339", "field", t.Field, "spelling", t.Spelling)
	case fresh:
		o.log.Warn("an event time cannot be read: another time of the event or its receipt was used; make its sender write RFC 3339", "field", t.Field, "spelling", t.Spelling)
	}
}

// count counts the accepted events with an unreadable time.
func (o *oddTimes) count(events []*domain.Event) {
	for _, e := range events {
		if e.TimeSource.Unread() {
			o.unread.Add(1)
		}
	}
}

// valuesLeftOut counts values that were left out of events, and logs each name once.
type valuesLeftOut struct {
	log     *slog.Logger
	leftOut atomic.Uint64 // since the start
	said    loggedOnce[string]
}

// count counts the values left out of accepted events.
func (l *valuesLeftOut) count(events []*domain.Event) {
	for _, e := range events {
		for _, v := range e.LeftOut {
			l.leftOut.Add(1)
			l.note(v.Name)
		}
	}
}

func (l *valuesLeftOut) note(name string) {
	switch fresh, full := l.said.news(domain.CutName(name)); {
	case full:
		l.log.Warn("values of more names are left out than are logged; personasync_values_left_out_total counts them")
	case fresh:
		l.log.Warn("a value was left out of an event: it contains a number beyond 1.8e308, or its name has an unpaired surrogate; check its computation", "name", domain.CutName(name))
	}
}
