package ingest

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"personasync/agent/segment"
	"personasync/store/domain"
)

// mostSpellings is how many spellings of times are logged, and names of values: they come from outside.
const mostSpellings = 100

// saidOnce remembers what was logged, so that each thing is logged once.
type saidOnce[T comparable] struct {
	mu   sync.Mutex
	said map[T]bool
}

// news reports whether v is to be logged, and whether it is the one that is not, because there are too many.
func (s *saidOnce[T]) news(v T) (fresh, full bool) {
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

// oddTimes counts events with a time that cannot be read, and logs each spelling once. The receipt in
// the place of such a time can make an older event win, so it must not happen unseen.
type oddTimes struct {
	log    *slog.Logger
	unread atomic.Uint64 // events since the start
	said   saidOnce[segment.OddTime]
}

// note logs a spelling that is new.
func (d *oddTimes) note(t segment.OddTime) {
	switch fresh, full := d.said.news(t); {
	case full:
		d.log.Warn("event times come in more spellings than are logged; personasync_event_times_unread_total counts the events")
	case fresh && t.Read:
		d.log.Warn("an event time is spelled in an unusual way, and was read all the same; have its sender write RFC 3339", "field", t.Field, "spelling", t.Spelling)
	case fresh:
		d.log.Warn("an event time cannot be read: another time of the event was taken, or its receipt; have its sender write RFC 3339", "field", t.Field, "spelling", t.Spelling)
	}
}

// count counts events that were accepted.
func (d *oddTimes) count(events []*domain.Event) {
	for _, e := range events {
		if e.TimeSource.Unread() {
			d.unread.Add(1)
		}
	}
}

// valuesLeftOut counts values that are left out of an event, and logs the name of each once.
type valuesLeftOut struct {
	log     *slog.Logger
	leftOut atomic.Uint64 // since the start
	said    saidOnce[string]
}

// count counts those of events that were accepted.
func (d *valuesLeftOut) count(events []*domain.Event) {
	for _, e := range events {
		for _, v := range e.LeftOut {
			d.leftOut.Add(1)
			d.note(v.Name)
		}
	}
}

func (d *valuesLeftOut) note(name string) {
	switch fresh, full := d.said.news(domain.CutName(name)); {
	case full:
		d.log.Warn("values of more names are left out than are logged; personasync_values_left_out_total counts them")
	case fresh:
		d.log.Warn("a value is left out of an event: it holds a number beyond 1.8e308, or its name has half a character in it; look at what computes it", "name", domain.CutName(name))
	}
}
