package scheduler

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

func mustParse(t testing.TB, spec, zone string) Schedule {
	t.Helper()
	s, err := Parse(spec, mustZone(t, zone))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustZone(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func mustTime(t testing.TB, rfc3339 string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, rfc3339)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestParseAccepts(t *testing.T) {
	for _, spec := range []string{
		"* * * * *", "? ? ? ? ?", "*/5 * * * *", "0 3 * * *", "0-30/10,45 8-18 1,15 jan-Mar MON-fri",
		"0 0 29 2 *", "0 0 30 2 1", "5/15 * * * *",
		"@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually",
		"@every 1s", "@every 5m", "@every 1h30m", "@every 90000ms", "@every 8760h",
	} {
		s, err := Parse(spec, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		if s.String() != spec {
			t.Errorf("%q prints itself as %q", spec, s)
		}
		if next := s.Next(date(2026, 3, 1)); !next.After(date(2026, 3, 1)) || next.Location() != time.UTC {
			t.Errorf("%q has next %v", spec, next)
		}
	}
}

func TestParseEvensOutSpaces(t *testing.T) {
	for in, want := range map[string]string{
		"  0 3 * * * ":   "0 3 * * *",
		"0\t3  *\n* *":   "0 3 * * *",
		" @every   90m ": "@every 90m",
	} {
		if s := mustParse(t, in, "UTC"); s.String() != want {
			t.Errorf("%q became %q", in, s)
		}
	}
}

func TestParseRefusesAndSaysWhatToDo(t *testing.T) {
	for _, c := range []struct{ spec, says string }{
		{"", "minute, hour, day of month"},
		{"* * * *", "expected exactly 5 fields, found 4"},
		{"0 0 3 * * *", "expected exactly 5 fields, found 6"},
		{"0 25 * * *", "end of range (25) above maximum (23)"},
		{"0 3 * * funday", "funday"},
		{"*/0 * * * *", "step of range"},
		{"30-10 * * * *", "beyond end of range"},
		{"-1 * * * *", "failed to parse int"},
		{", * * * *", "allows no value"},
		{"0 3 , * *", "allows no value"},
		{"0 0 30 2 *", "never run"},
		{"0 0 31 2,4,6,9,11 *", "never run"},
		{"TZ=UTC", "set the schedule's timezone"},
		{"TZ=", "set the schedule's timezone"},
		{" CRON_TZ=Europe/Berlin 0 3 * * *", "set the schedule's timezone"},
		{"@every", "@every 5m"},
		{"@every 5", "missing unit"},
		{"@every 0s", "at least 1s"},
		{"@every -5m", "at least 1s"},
		{"@every 999ms", "at least 1s"},
		{"@every 1500ms", "whole seconds"},
		{"@reboot", "unrecognized descriptor"},
		{"@Daily", "unrecognized descriptor"},
		{"\xff\xfe * * * *", "failed to parse int"},
	} {
		s, err := Parse(c.spec, time.UTC)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Parse(%q) says %v, want %q in it", c.spec, err, c.says)
		}
		if s != (Schedule{}) {
			t.Errorf("Parse(%q) returns a schedule with its error", c.spec)
		}
		if err != nil && !strings.Contains(err.Error(), strconv.Quote(c.spec)) {
			t.Errorf("%v does not show the spec", err)
		}
	}
}

func TestPanicOfTheParserIsAnError(t *testing.T) {
	if _, err := parseCron("TZ=UTC"); err == nil {
		t.Fatal("the parser took a zone without a spec; what did it make of it?")
	}
}

func TestZeroScheduleNeverComesDue(t *testing.T) {
	var s Schedule
	if next := s.Next(time.Now()); !next.IsZero() {
		t.Errorf("due at %v", next)
	}
	if n, _ := s.between(date(2026, 1, 1), date(2026, 2, 1)); n != 0 || s.String() != "" {
		t.Errorf("%d times, as %q", n, s)
	}
}

// The parser's own arithmetic is correct where clocks never change, so it serves as a second opinion there.
func TestNextAgreesWithRobfigInUTC(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		spec := randomSpec(rng)
		s, err := Parse(spec, time.UTC)
		if err != nil {
			continue // a day that does not exist
		}
		after := date(2020, 1, 1).Add(time.Duration(rng.Int64N(int64(5 * 366 * 24 * time.Hour))))
		theirs, _ := parseCron(spec)
		if got, want := s.Next(after), theirs.Next(after); !got.Equal(want) {
			t.Fatalf("%q after %v: %v, robfig/cron says %v", spec, after, got, want)
		}
	}
}

func randomSpec(rng *rand.Rand) string {
	field := func(low, high int) string {
		a, b := low+rng.IntN(high-low+1), low+rng.IntN(high-low+1)
		switch rng.IntN(5) {
		case 0:
			return strconv.Itoa(a)
		case 1:
			return strconv.Itoa(min(a, b)) + "-" + strconv.Itoa(max(a, b))
		case 2:
			return "*/" + strconv.Itoa(1+rng.IntN(high))
		case 3:
			return strconv.Itoa(a) + "," + strconv.Itoa(b)
		default:
			return "*"
		}
	}
	return strings.Join([]string{field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)}, " ")
}

// FuzzParse checks that Parse never panics and that Next always moves forward.
func FuzzParse(f *testing.F) {
	for _, spec := range []string{
		"*/5 * * * *", "30 2 * * *", "0 0 29 2 *", "0 0 30 2 *", "@every 1h30m", "@every 2562047h47m16s", "@yearly",
		"TZ=UTC", "CRON_TZ= ", "TZ=/ * * * * *", ", * * * *", "5-10/3,*/7 1-5 */2 feb MON", "0/9223372036854775807 * * * *",
	} {
		f.Add(spec, int64(1774746000), uint8(0))
		f.Add(spec, int64(-62135596800), uint8(1))
		f.Add(spec, int64(1<<62), uint8(2))
	}
	zones := []*time.Location{nil}
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"} {
		zones = append(zones, mustZone(f, name))
	}
	f.Fuzz(func(t *testing.T, spec string, unix int64, zone uint8) {
		s, err := Parse(spec, zones[int(zone)%len(zones)])
		if err != nil {
			return
		}
		after := time.Unix(unix, 0)
		next := s.Next(after)
		if !next.IsZero() && !next.After(after) {
			t.Fatalf("%q after %v comes at %v", spec, after, next)
		}
		if year := after.UTC().Year(); next.IsZero() && year >= 1 && year <= 9999 {
			t.Fatalf("%q was accepted and never comes after %v", spec, after)
		}
		again, err := Parse(s.String(), s.zone)
		if err != nil || again != s {
			t.Fatalf("%q does not read back from %q: %v", spec, s, err)
		}
	})
}
