package agent

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"personasync/agent/segment"
	"personasync/store"
)

// mostSpellings is how many spellings of times are logged: they come from outside.
const mostSpellings = 100

// doorTimes counts events with a time that cannot be read, and logs each spelling once. The receipt in
// the place of such a time can make an older event win, so it must not happen unseen.
type doorTimes struct {
	log    *slog.Logger
	unread atomic.Uint64 // events since the start

	mu   sync.Mutex
	said map[segment.OddTime]bool
}

// note logs a spelling that is new.
func (d *doorTimes) note(t segment.OddTime) {
	d.mu.Lock()
	n := len(d.said)
	known := d.said[t] || n > mostSpellings
	if !known {
		if d.said == nil {
			d.said = map[segment.OddTime]bool{}
		}
		d.said[t] = true
	}
	d.mu.Unlock()
	switch {
	case known:
	case n == mostSpellings:
		d.log.Warn("event times come in more spellings than are logged; personasync_event_times_unread_total counts the events")
	case t.Read:
		d.log.Warn("an event time is spelled in an unusual way, and was read all the same; have its sender write RFC 3339", "field", t.Field, "spelling", t.Spelling)
	default:
		d.log.Warn("an event time cannot be read: another time of the event was taken, or its receipt; have its sender write RFC 3339", "field", t.Field, "spelling", t.Spelling)
	}
}

// count counts events that were accepted.
func (d *doorTimes) count(events []*store.Event) {
	for _, e := range events {
		if e.TimeSource.Unread() {
			d.unread.Add(1)
		}
	}
}
