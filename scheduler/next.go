package scheduler

import "time"

// horizon is how many years ahead a next time is looked for. Leap days are the rarest that cron knows,
// and around 1900, 2100 and so on they are eight years apart.
const horizon = 9

// Next is the first time of the schedule later than after, in the schedule's zone, or the zero time
// when there is none: for the zero Schedule, and outside of the years 1 to 9999.
func (s Schedule) Next(after time.Time) time.Time {
	if year := after.UTC().Year(); s.zone == nil || year < 1 || year > 9999 {
		return time.Time{}
	}
	after = after.Round(0).In(s.zone) // by the wall clock alone, without the monotonic one
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

// Last is the last time of the schedule later than after and not later than upTo; zero when there is none.
func (s Schedule) Last(after, upTo time.Time) time.Time {
	_, last := s.between(after, upTo)
	return last
}

// between counts the times of the schedule later than after and not later than upTo, and tells the last.
func (s Schedule) between(after, upTo time.Time) (n uint64, last time.Time) {
	if s.every > 0 {
		return s.multiples(after, upTo)
	}
	for t := s.Next(after); !t.IsZero() && !t.After(upTo); t = s.Next(t) {
		n, last = n+1, t
	}
	return n, last
}

// multiples is between for "@every", which at one second would be a long count after a long downtime.
func (s Schedule) multiples(after, upTo time.Time) (n uint64, last time.Time) {
	last = upTo.In(s.zone).Truncate(s.every)
	if !last.After(after) {
		return 0, time.Time{}
	}
	return uint64(last.Sub(after.Truncate(s.every)) / s.every), last
}

// stretch is a time in which a zone's clocks keep one offset to UTC.
//
//	instants  ─────────────┬ start ──────────────┬ end ─────▶
//	clocks    UTC + before │ UTC + offset        │
//	                       └ a gap if offset is the greater, else what follows is repeated
type stretch struct {
	start, end     time.Time // end is not part of it; start is zero in a zone's first stretch
	before, offset time.Duration
}

// stretchAt is the stretch that t lies in, in the zone of t, cut off at limit.
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

// wall is what a clock at that offset shows at t, written as if it were UTC.
func wall(t time.Time, offset time.Duration) time.Time { return t.UTC().Add(offset) }

// within is the calendar's first time in the stretch that is later than after; zero if there is none.
func (c calendar) within(st stretch, after time.Time) time.Time {
	if st.start.After(after) && c.swallowed(st) {
		return st.start
	}
	from := latest(wall(after, st.offset).Add(1), wall(st.start, st.offset))
	if !c.repeats {
		from = latest(from, wall(st.start, st.before)) // what clocks showed before is over
	}
	w, ok := c.first(from, wall(st.end, st.offset))
	if !ok {
		return time.Time{}
	}
	return w.Add(-st.offset).In(after.Location())
}

// swallowed reports whether the gap before the stretch, if any, contained a time that is to be made up for.
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
