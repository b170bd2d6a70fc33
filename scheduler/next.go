package scheduler

import "time"

// horizon is how many years Next searches ahead. Leap days are cron's rarest dates. Around 1900 and 2100 they
// are eight years apart.
const horizon = 9

// Next returns the first scheduled time later than after, in the schedule's zone. It returns the zero time if
// there is none: for the zero Schedule, and outside the years 1 to 9999.
func (s Schedule) Next(after time.Time) time.Time {
	if year := after.UTC().Year(); s.zone == nil || year < 1 || year > 9999 {
		return time.Time{}
	}
	after = after.Round(0).In(s.zone) // drop the monotonic reading
	if s.every > 0 {
		return after.Truncate(s.every).Add(s.every)
	}
	limit := after.AddDate(horizon, 0, 0)
	for at := after; at.Before(limit); {
		st := stretchAt(at, limit)
		if next := s.cal.within(st, after); !next.IsZero() {
			return next
		}
		at = st.end
	}
	return time.Time{}
}

// Last returns the last scheduled time in (after, upTo], or the zero time if there is none.
func (s Schedule) Last(after, upTo time.Time) time.Time {
	_, last := s.between(after, upTo)
	return last
}

// between returns the number of scheduled times in (after, upTo] and the last of them.
func (s Schedule) between(after, upTo time.Time) (n uint64, last time.Time) {
	if s.every > 0 {
		return s.multiples(after, upTo)
	}
	for t := s.Next(after); !t.IsZero() && !t.After(upTo); t = s.Next(t) {
		n, last = n+1, t
	}
	return n, last
}

// multiples is between for "@every". It divides, because counting seconds after a long downtime takes too long.
func (s Schedule) multiples(after, upTo time.Time) (n uint64, last time.Time) {
	last = upTo.In(s.zone).Truncate(s.every)
	if !last.After(after) {
		return 0, time.Time{}
	}
	return uint64(last.Sub(after.Truncate(s.every)) / s.every), last
}

// stretch is a period in which a zone keeps one offset to UTC.
//
//	instants  ─────────────┬ start ──────────────┬ end ─────▶
//	clocks    UTC + before │ UTC + offset        │
//	                       └ a gap if offset > before, else a repeated period
type stretch struct {
	start, end     time.Time // end is exclusive; start is zero in a zone's first stretch
	before, offset time.Duration
}

// stretchAt returns the stretch that contains t, in the zone of t, cut off at limit.
func stretchAt(t, limit time.Time) stretch {
	start, end := t.ZoneBounds()
	if end.IsZero() || end.After(limit) {
		end = limit
	}
	st := stretch{start: start, end: end, offset: offsetAt(t)}
	st.before = st.offset
	if !start.IsZero() {
		st.before = offsetAt(start.Add(-1))
	}
	return st
}

func offsetAt(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}

// wall returns the wall clock reading at t for that offset, written as if it were UTC.
func wall(t time.Time, offset time.Duration) time.Time { return t.UTC().Add(offset) }

// within returns the calendar's first time in the stretch that is later than after, or the zero time.
func (c calendar) within(st stretch, after time.Time) time.Time {
	if st.start.After(after) && c.swallowed(st) {
		return st.start
	}
	from := latest(wall(after, st.offset).Add(1), wall(st.start, st.offset))
	if !c.repeats {
		from = latest(from, wall(st.start, st.before)) // skip the repeated readings
	}
	w, ok := c.first(from, wall(st.end, st.offset))
	if !ok {
		return time.Time{}
	}
	return w.Add(-st.offset).In(after.Location())
}

// swallowed reports whether the gap before the stretch contained a time that must be made up for.
func (c calendar) swallowed(st stretch) bool {
	if c.hourly {
		return false
	}
	_, ok := c.first(wall(st.start, st.before), wall(st.start, st.offset))
	return ok
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
