package condition

import (
	"testing"
	"time"

	"personasync/agent/config"
	"personasync/scheduler"
	"personasync/store"
)

// TestABackupIsOverdueWhenTheScheduleAskedForANewerOne: by a quarter of the interval, and an hour at least.
func TestABackupIsOverdueWhenTheScheduleAskedForANewerOne(t *testing.T) {
	day := time.Date(2026, 3, 1, 2, 30, 0, 0, time.UTC)
	hour := time.Hour
	for _, c := range []struct {
		name, spec string
		good       time.Time // zero: none yet
		last       scheduler.Run
		now        time.Time
		want       bool
	}{
		{"made in the night", "30 2 * * *", day, scheduler.Run{Started: day, Finished: day}, day.Add(20 * hour), false},
		{"the next one is being made", "30 2 * * *", day, scheduler.Run{Started: day.Add(24 * hour)}, day.Add(25 * hour), false},
		{"a night without one", "30 2 * * *", day, scheduler.Run{Started: day}, day.Add(31 * hour), true},
		{"hourly, and an hour late", "30 * * * *", day, scheduler.Run{Started: day}, day.Add(hour + 59*time.Minute), false},
		{"hourly, and later still", "30 * * * *", day, scheduler.Run{Started: day}, day.Add(2*hour + time.Minute), true},
		{"the schedule is new", "30 2 * * *", time.Time{}, scheduler.Run{Finished: day}, day.Add(20 * hour), false},
		{"the schedule is new, and its first run never came", "30 2 * * *", time.Time{}, scheduler.Run{Finished: day}, day.Add(31 * hour), true},
		{"it failed ever since the first run", "30 2 * * *", time.Time{}, scheduler.Run{Started: day, FailedAt: day}, day.Add(31 * hour), true},
		{"before the scheduler ran", "30 2 * * *", time.Time{}, scheduler.Run{}, day, false},
	} {
		var good *store.GoodBackup
		if !c.good.IsZero() {
			good = &store.GoodBackup{File: "f", Made: c.good}
		}
		b := NewBackup(config.Backup{Dir: "/b"}, good, scheduler.Planned{Last: c.last}, mustSchedule(c.spec), c.now)
		if b.Overdue != c.want || (b.File == "f") != (good != nil) || good != nil && b.AgeS != int64(c.now.Sub(day)/time.Second) {
			t.Errorf("%s: %+v", c.name, b)
		}
	}
}
