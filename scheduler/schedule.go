package scheduler

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// usage ends every complaint about a spec, because whoever reads one needs to write another.
const usage = `write minute, hour, day of month, month, day of week (as "0 3 * * *"), or @hourly, @daily, @every 5m`

var (
	errZone    = errors.New("the time zone does not belong into the spec; set the schedule's timezone instead")
	errSeconds = errors.New("@every takes whole seconds, at least 1s")
	errNever   = errors.New("it would never run: no year has such a day")
	errEmpty   = errors.New("one of its fields allows no value at all")
)

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// Schedule tells when a job is due. It is a value, safe for concurrent use. The zero Schedule never
// comes due; it serves jobs that only run on demand.
type Schedule struct {
	spec  string
	zone  *time.Location
	every time.Duration // of "@every"; else zero, and cal counts
	cal   calendar
}

// Parse reads a spec (see the package's text) whose times are meant in zone; nil is UTC. It never
// panics. A zone within the spec is refused, and so is a spec that can never come due.
func Parse(spec string, zone *time.Location) (Schedule, error) {
	if zone == nil {
		zone = time.UTC
	}
	s := Schedule{spec: strings.Join(strings.Fields(spec), " "), zone: zone}
	if err := s.parse(); err != nil {
		return Schedule{}, fmt.Errorf("schedule %q: %w", spec, err)
	}
	return s, nil
}

// String is the spec, with single spaces between its fields.
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

// parseCron makes an error of a panic in the parser, which has not been maintained since 2020.
func parseCron(spec string) (s cron.Schedule, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("not understood (%v)", p)
		}
	}()
	return parser.Parse(spec)
}

// checkEvery refuses what the parser rounded: fractions of a second, and anything below one, which
// for it includes zero and negative durations.
func checkEvery(spec string, parsed time.Duration) error {
	written, err := time.ParseDuration(strings.TrimPrefix(spec, "@every "))
	if err != nil || written != parsed {
		return errSeconds
	}
	return nil
}

// calendar holds the values that each field of a spec allows, bit n for the value n.
type calendar struct {
	minute, hour, dom, month, dow uint64

	// eitherDay: both day fields are restricted, and by cron's custom one of them suffices.
	eitherDay bool

	// hourly: the spec comes in every hour, so that it follows real time and a gap takes nothing from it.
	hourly bool
	// repeats: the second pass through a repeated hour counts as well.
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

// check refuses a calendar without a single time in it.
func (c calendar) check() error {
	for _, field := range []uint64{c.minute, c.hour, c.dom, c.month, c.dow} {
		if bits.OnesCount64(field) == 0 {
			return errEmpty
		}
	}
	// Four years see every day that there is, 29 February among them; the days of the week cannot
	// exclude one, because a restricted dow is an alternative to dom and not a further condition.
	if _, ok := c.first(date(2000, time.January, 1), date(2004, time.January, 1)); !ok {
		return errNever
	}
	return nil
}

// first finds the first minute at or after from, and before until, that the calendar allows. Both are
// readings of a wall clock, written as if they were UTC, so that every minute exists exactly once.
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
