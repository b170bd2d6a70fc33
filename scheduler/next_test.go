package scheduler

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestClockChanges checks the package's guarantees for the days on which clocks change.
func TestClockChanges(t *testing.T) {
	for _, c := range []struct {
		story, spec, zone, after string
		want                     []string
	}{
		{
			"a night job in Berlin's gap runs when the gap ends",
			"30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00+01:00",
			[]string{"2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"},
		}, {
			"and takes the first of Berlin's two half past twos",
			"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00+02:00",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"},
		}, {
			"asked between the two, it is over for the day",
			"30 2 * * *", "Europe/Berlin", "2026-10-25T02:10:00+01:00",
			[]string{"2026-10-26T02:30:00+01:00"},
		}, {
			"New York's gap",
			"30 2 * * *", "America/New_York", "2026-03-07T12:00:00-05:00",
			[]string{"2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"},
		}, {
			"New York's doubled hour",
			"30 1 * * *", "America/New_York", "2026-10-31T12:00:00-04:00",
			[]string{"2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"},
		}, {
			"Lord Howe's gap is half an hour",
			"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00+10:30",
			[]string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"},
		}, {
			"an hourly job neither makes up for the hour that is not",
			"17 * * * *", "Europe/Berlin", "2026-03-29T00:30:00+01:00",
			[]string{"2026-03-29T01:17:00+01:00", "2026-03-29T03:17:00+02:00"},
		}, {
			"nor sleeps through the one that is twice",
			"0 * * * *", "Europe/Berlin", "2026-10-25T01:30:00+02:00",
			[]string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"},
		}, {
			"two times in one gap make one run",
			"0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"},
		}, {
			"a gap that ends on a time of its own makes no second run",
			"0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"},
		}, {
			"a repetition within a lost hour keeps one run",
			"*/20 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"},
		}, {
			"the day of the week is that of the lost time",
			"30 2 * * sun", "Europe/Berlin", "2026-03-23T00:00:00+01:00",
			[]string{"2026-03-29T03:00:00+02:00", "2026-04-05T02:30:00+02:00"},
		}, {
			"midnight itself is lost in São Paulo",
			"@daily", "America/Sao_Paulo", "2018-11-03T12:00:00-03:00",
			[]string{"2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"},
		}, {
			"Samoa left out a whole day",
			"0 3 * * *", "Pacific/Apia", "2011-12-29T12:00:00-10:00",
			[]string{"2011-12-31T00:00:00+14:00", "2011-12-31T03:00:00+14:00"},
		}, {
			"leap days eight years apart",
			"0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z",
			[]string{"2104-02-29T00:00:00Z"},
		},
	} {
		t.Run(c.story, func(t *testing.T) {
			s, at := mustParse(t, c.spec, c.zone), mustTime(t, c.after)
			for _, want := range c.want {
				next := s.Next(at)
				if got := next.Format(time.RFC3339); got != want {
					t.Fatalf("after %s: %s, want %s", at.Format(time.RFC3339), got, want)
				}
				at = next
			}
		})
	}
}

// rule is a spec with the times of day it stands for. The model uses the latter.
type rule struct {
	spec    string
	means   func(hour, minute int) bool
	hourly  bool // follows elapsed time: a gap is not made up for
	repeats bool // due in both of two repeated hours
}

var rules = []rule{
	{"30 2 * * *", func(h, m int) bool { return h == 2 && m == 30 }, false, false},
	{"0 2 * * *", func(h, m int) bool { return h == 2 && m == 0 }, false, false},
	{"0 3 * * *", func(h, m int) bool { return h == 3 && m == 0 }, false, false},
	{"30 1 * * *", func(h, m int) bool { return h == 1 && m == 30 }, false, false},
	{"10,45 1-3 * * *", func(h, m int) bool { return (m == 10 || m == 45) && h >= 1 && h <= 3 }, false, false},
	{"0 */2 * * *", func(h, m int) bool { return h%2 == 0 && m == 0 }, false, false},
	{"@daily", func(h, m int) bool { return h == 0 && m == 0 }, false, false},
	{"59 23 * * *", func(h, m int) bool { return h == 23 && m == 59 }, false, false},
	{"*/20 2 * * *", func(h, m int) bool { return h == 2 && m%20 == 0 }, false, true},
	{"*/7 0-4 * * *", func(h, m int) bool { return h <= 4 && m%7 == 0 }, false, true},
	{"0 * * * *", func(h, m int) bool { return m == 0 }, true, true},
	{"@hourly", func(h, m int) bool { return m == 0 }, true, true},
	{"17,47 * * * *", func(h, m int) bool { return m == 17 || m == 47 }, true, true},
	{"*/5 * * * *", func(h, m int) bool { return m%5 == 0 }, true, true},
	{"* * * * *", func(h, m int) bool { return true }, true, true},
}

// changes lists days to check around, one for each kind of clock change.
var changes = []struct{ zone, day string }{
	{"UTC", "2026-03-29"},
	{"Europe/Berlin", "2026-03-29"},
	{"Europe/Berlin", "2026-10-25"},
	{"America/New_York", "2026-03-08"},
	{"America/New_York", "2026-11-01"},
	{"Australia/Lord_Howe", "2026-10-04"},
	{"Australia/Lord_Howe", "2026-04-05"},
	{"America/Sao_Paulo", "2018-11-04"},          // midnight is lost
	{"America/Sao_Paulo", "2018-02-18"},          // midnight comes twice
	{"Asia/Kolkata", "2026-03-29"},               // never changes, and is no whole hour off
	{"Africa/Casablanca", "2026-02-15"},          // for Ramadan
	{"Antarctica/Troll", "2026-03-29"},           // by two hours
	{"Europe/Berlin", "2130-03-26"},              // beyond the table, by the rule
	{"America/Caracas", "2016-05-01"},            // half an hour, for good
	{"Pacific/Apia", "2011-12-30"},               // a whole day lost
	{"Pacific/Kwajalein", "1969-10-01"},          // a day repeated, nearly
	{"America/Argentina/San_Luis", "2008-01-21"}, // the offset stays, its name does not
}

func TestNextAgreesWithTheModel(t *testing.T) {
	for _, c := range changes {
		t.Run(fmt.Sprintf("%s %s", c.zone, c.day), func(t *testing.T) {
			zone := mustZone(t, c.zone)
			middle := mustTime(t, c.day+"T12:00:00Z")
			from, until := middle.Add(-60*time.Hour), middle.Add(60*time.Hour)
			for _, r := range rules {
				s := mustParse(t, r.spec, c.zone)
				compare(t, s, model(r, zone, from, until), from, until)
			}
		})
	}
}

// compare walks s from one time to the next and also queries random moments in between.
func compare(t *testing.T, s Schedule, want []time.Time, from, until time.Time) {
	t.Helper()
	at := from.Add(-1)
	for _, w := range want {
		if next := s.Next(at); !next.Equal(w) {
			t.Fatalf("%q after %v: %v, the model says %v", s, at.In(s.zone), next, w.In(s.zone))
		}
		at = w
	}
	if n, last := s.between(from.Add(-1), until.Add(-1)); n != uint64(len(want)) || !last.Equal(want[len(want)-1]) {
		t.Fatalf("%q comes %d times, the last at %v; the model says %d, %v", s, n, last, len(want), at)
	}
	for at := from; ; at = at.Add(23*time.Minute + 7*time.Second) {
		i := slices.IndexFunc(want, at.Before)
		if i < 0 {
			return
		}
		if next := s.Next(at); !next.Equal(want[i]) {
			t.Fatalf("%q after %v: %v, the model says %v", s, at.In(s.zone), next, want[i].In(s.zone))
		}
	}
}

// model lists the times of r in [from, until) by reading the wall clock once a minute. It uses no offsets. A
// wall time is due when clocks first show it or something later: the first of two, or the end of a gap.
func model(r rule, zone *time.Location, from, until time.Time) []time.Time {
	var due []time.Time
	shown := reading(from.Add(-48*time.Hour), zone) // the latest reading so far
	for at := from.Add(-48 * time.Hour); at.Before(until); at = at.Add(time.Minute) {
		w := reading(at, zone)
		hit := r.repeats && r.means(w.Hour(), w.Minute())
		for !r.hourly && shown.Before(w) {
			shown = shown.Add(time.Minute)
			hit = hit || r.means(shown.Hour(), shown.Minute())
		}
		if hit && !at.Before(from) {
			due = append(due, at)
		}
	}
	return due
}

// reading returns the wall clock's reading as UTC, which has no gaps.
func reading(at time.Time, zone *time.Location) time.Time {
	l := at.In(zone)
	return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
}

func TestEveryKeepsItsPhase(t *testing.T) {
	for _, c := range []struct{ spec, after, want string }{
		{"@every 5m", "2026-05-06T10:01:59Z", "2026-05-06T10:05:00Z"},
		{"@every 5m", "2026-05-06T10:05:00Z", "2026-05-06T10:10:00Z"},
		{"@every 1s", "2026-05-06T10:05:00Z", "2026-05-06T10:05:01Z"},
		{"@every 24h", "2026-05-06T10:00:00Z", "2026-05-07T00:00:00Z"},
		{"@every 168h", "2026-05-06T10:00:00Z", "2026-05-11T00:00:00Z"}, // a Monday
		{"@every 1h", "2026-10-25T00:59:00Z", "2026-10-25T01:00:00Z"},   // Berlin's second 02:00
	} {
		s := mustParse(t, c.spec, "Europe/Berlin")
		if got := s.Next(mustTime(t, c.after)); !got.Equal(mustTime(t, c.want)) || got.Location() != s.zone {
			t.Errorf("%s after %s: %v, want %s", c.spec, c.after, got, c.want)
		}
	}
}

func TestBetweenCountsMultiples(t *testing.T) {
	s := mustParse(t, "@every 90m", "UTC")
	from := date(2026, 1, 1)
	for _, length := range []time.Duration{0, time.Second, 90 * time.Minute, 100 * time.Hour} {
		var n uint64
		var last time.Time
		for at := s.Next(from); !at.After(from.Add(length)); at = s.Next(at) {
			n, last = n+1, at
		}
		if gotN, gotLast := s.between(from, from.Add(length)); gotN != n || !gotLast.Equal(last) {
			t.Errorf("in %v: %d until %v, want %d until %v", length, gotN, gotLast, n, last)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, spec := range []string{"* * * * *", "30 2 * * *", "0 0 29 2 *"} {
		b.Run(spec, func(b *testing.B) {
			s, at := mustParse(b, spec, "Europe/Berlin"), date(2026, 1, 1)
			for b.Loop() {
				s.Next(at)
			}
		})
	}
}
