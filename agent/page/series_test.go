package page

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"personasync/agent/condition"
	"personasync/store"
)

func TestForecasts(t *testing.T) {
	const gib = 1 << 30
	from := func(after time.Duration, grown int64, pending uint64) []store.Sample {
		return []store.Sample{{At: two, DataBytes: gib}, {At: two.Add(after), DataBytes: gib + grown, Pending: pending}}
	}
	disk := store.Space{DataBytes: 2 * gib, FreeBytes: 11 * gib, FloorBytes: gib}
	limited := disk
	limited.MaxDataBytes = 10 * gib
	full := disk
	full.FreeBytes = gib / 2
	for _, c := range []struct {
		name    string
		samples []store.Sample
		space   store.Space
		want    condition.Forecast
	}{
		{"too early", from(time.Minute, gib, 0), disk, condition.Forecast{Disk: "too early to tell", Drain: "nothing waits"}},
		{"standing still", from(time.Hour, 0, 0), disk, condition.Forecast{Disk: "the data does not grow", Drain: "nothing waits"}},
		{"shrinking", from(time.Hour, -gib, 0), disk, condition.Forecast{Disk: "the data does not grow", Drain: "nothing waits"}},
		{"a GiB an hour", from(time.Hour, gib, 0), disk, condition.Forecast{Disk: "about 10 h 0 min", DiskS: 36000, Drain: "nothing waits"}},
		{"a limit of our own", from(time.Hour, gib, 0), limited, condition.Forecast{Disk: "about 7 h 0 min", DiskS: 25200, Drain: "nothing waits"}},
		{"a byte an hour", from(time.Hour, 1, 0), disk, condition.Forecast{Disk: "more than a year", Drain: "nothing waits"}},
		{"no room", from(time.Hour, gib, 0), full, condition.Forecast{Disk: "no room: events are refused", Drain: "nothing waits"}},
		{"a backlog", from(time.Hour, 0, 410_000), disk, condition.Forecast{Disk: "the data does not grow", Drain: "about 41 min at MoEngage's limits", DrainS: 2460}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, forecast(c.samples, c.space, 10_000)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSeries(t *testing.T) {
	vip := func(members, entered, exited uint64) []store.AudienceSample {
		return []store.AudienceSample{{Key: "vip", Members: members, Entered: entered, Exited: exited}}
	}
	got := newSeries([]store.Sample{
		{At: two, Received: 100},
		{At: two.Add(30 * time.Second), Received: 160, Delivered: 7, Audiences: vip(3, 3, 0)},
		{At: two.Add(90 * time.Second), Received: 150, Delivered: 9, Audiences: vip(4, 6, 2), LatencyP95: 1500 * time.Microsecond},
	})
	if d := cmp.Diff([]float64{0, 120, 0}, got.Received); d != "" {
		t.Errorf("a rate is a minute's, and a counter that fell has none:\n%s", d)
	}
	if d := cmp.Diff([]float64{0, 14, 2}, got.Delivered); d != "" {
		t.Error(d)
	}
	if n := perMinute([]store.Sample{{At: two, Received: 5}, {At: two.Add(time.Second), Received: 7}}, func(s *store.Sample) uint64 { return s.Received }); n != 2 {
		t.Errorf("two events in the first second are %v a minute", n)
	}
	if got.P95Ms[1] != nil || *got.P95Ms[2] != 1.5 {
		t.Errorf("a minute without an answer and one with 1.5 ms are %v and %v", got.P95Ms[1], got.P95Ms[2])
	}
	if len(got.Audiences) != 1 || got.Audiences[0].Members[0] != nil || *got.Audiences[0].Members[2] != 4 {
		t.Fatalf("audiences: %+v", got.Audiences)
	}
	if d := cmp.Diff([]uint64{0, 0, 3}, got.Audiences[0].Entered); d != "" {
		t.Error(d)
	}
	empty, err := json.Marshal(newSeries(nil))
	if err != nil || strings.Contains(string(empty), "null") {
		t.Errorf("without samples the series is %s", empty)
	}
}
