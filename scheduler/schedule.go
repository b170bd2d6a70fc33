package scheduler

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// usage ends every parse error, because the reader has to write a valid spec next.
const usage = `write minute, hour, day of month, month, day of week (as "0 3 * * *"), or @hourly, @daily, @every 5m`

var (
	errZone    = errors.New("the time zone does not belong in the spec; set the schedule's timezone instead")
	errSeconds = errors.New("@every takes whole seconds, at least 1s")
	errNever   = errors.New("it would never run: no year has such a day")
	errEmpty   = errors.New("one of its fields allows no value")
)

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// Schedule computes when a job is due. It is a value and safe for concurrent use. The zero Schedule is never
// due.
type Schedule struct {
	spec  string
	zone  *time.Location
	every time.Duration // for "@every"; if zero, cal applies
	cal   calendar
}

// Parse parses a spec (see the package documentation) whose times are in zone; nil means UTC. It never panics.
// It returns an error for a spec that contains a zone or can never come due.
func Parse(spec string, zone *time.Location) (Schedule, error) {
	zone = cmp.Or(zone, time.UTC)
	s := Schedule{spec: strings.Join(strings.Fields(spec), " "), zone: zone}
	if err := s.parse(); err != nil {
		return Schedule{}, fmt.Errorf("schedule %q: %w", spec, err)
	}
	return s, nil
}

// String returns the spec with single spaces between its fields.
func (s Schedule) String() string { return s.spec }

func (s *Schedule) parse() error {
	if strings.HasPrefix(s.spec, "TZ=") || strings.HasPrefix(s.spec, "CRON_TZ=") {
		return errZone
	}
	parsed, err := parseCron(s.spec)
	if err != nil {
		return fmt.Errorf("%w; %s", err, usage)
	}
	switch p := parsed.(type) {
	case cron.ConstantDelaySchedule:
		s.every = p.Delay
		return checkEvery(s.spec, p.Delay)
	case *cron.SpecSchedule:
		s.cal = newCalendar(s.spec, p)
		return s.cal.check()
	default:
		return fmt.Errorf("this kind of spec is not supported; %s", usage)
	}
}

// parseCron turns a panic of the parser, which has not been maintained since 2020, into an error.
func parseCron(spec string) (s cron.Schedule, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("not understood (%v)", p)
		}
	}()
	return parser.Parse(spec)
}

// checkEvery rejects durations that the parser rounded: fractions of a second, and anything below a second. The
// parser turns zero and negative durations into one second.
func checkEvery(spec string, parsed time.Duration) error {
	written, err := time.ParseDuration(strings.TrimPrefix(spec, "@every "))
	if err != nil || written != parsed {
		return errSeconds
	}
	return nil
}

// calendar has the allowed values of each field: bit n stands for the value n.
type calendar struct {
	minute, hour, dom, month, dow uint64

	// eitherDay means that both day fields are restricted. By cron's convention a match of one is then enough.
	eitherDay bool

	// hourly means that the spec is due in every hour. It follows elapsed time, and a gap takes nothing from
	// it.
	hourly bool
	// repeats means that the second pass through a repeated hour counts too.
	repeats bool
}

const (
	starBit  = 1 << 63 // set by the parser where a field was * or ?
	allHours = 1<<24 - 1
)

func newCalendar(spec string, p *cron.SpecSchedule) calendar {
	c := calendar{
		minute:    p.Minute &^ starBit,
		hour:      p.Hour &^ starBit,
		dom:       p.Dom &^ starBit,
		month:     p.Month &^ starBit,
		dow:       p.Dow &^ starBit,
		eitherDay: p.Dom&starBit == 0 && p.Dow&starBit == 0,
	}
	minutes, _, _ := strings.Cut(spec, " ")
	c.hourly = c.hour == allHours
	c.repeats = c.hourly || strings.ContainsAny(minutes, "*?/-")
	return c
}

// check rejects a calendar that is never due.
func (c calendar) check() error {
	for _, field := range []uint64{c.minute, c.hour, c.dom, c.month, c.dow} {
		if bits.OnesCount64(field) == 0 {
			return errEmpty
		}
	}
	// Four years contain every date, 29 February included. The day of the week cannot exclude a date, because a
	// restricted dow is an alternative to dom, not a further condition.
	if _, ok := c.first(date(2000, time.January, 1), date(2004, time.January, 1)); !ok {
		return errNever
	}
	return nil
}

// first returns the first allowed minute in [from, until). Both are wall clock readings written as if they were
// UTC, so that every minute exists exactly once.
func (c calendar) first(from, until time.Time) (time.Time, bool) {
	t := from.Truncate(time.Minute)
	if t.Before(from) {
		t = t.Add(time.Minute)
	}
	for t.Before(until) {
		switch {
		case !has(c.month, int(t.Month())):
			t = date(t.Year(), t.Month()+1, 1)
		case !c.onDay(t):
			t = date(t.Year(), t.Month(), t.Day()+1)
		case !has(c.hour, t.Hour()):
			t = t.Truncate(time.Hour).Add(time.Hour)
		case !has(c.minute, t.Minute()):
			t = t.Add(time.Minute)
		default:
			return t, true
		}
	}
	return time.Time{}, false
}

func (c calendar) onDay(t time.Time) bool {
	dom, dow := has(c.dom, t.Day()), has(c.dow, int(t.Weekday()))
	if c.eitherDay {
		return dom || dow
	}
	return dom && dow
}

func has(field uint64, value int) bool { return field&(1<<value) != 0 }

func date(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}
