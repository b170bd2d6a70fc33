package sending

import (
	"log/slog"
	"testing"

	"personasync/agent/config"
	"personasync/store"
)

// TestARunUnderWayGoesByTheScheduleOfTheReload: it may last for days, and let later changes out at the times of a
// schedule that the operator had replaced.
func TestARunUnderWayGoesByTheScheduleOfTheReload(t *testing.T) {
	data, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	every, daily := config.Default(), config.Default()
	every.Schedule.Mode, every.Schedule.Cron = "cron", "@every 1s"
	daily.Schedule.Mode, daily.Schedule.Cron = "cron", "0 3 * * *"
	all := New(every, Config, data, slog.New(slog.DiscardHandler))
	if got := (*all.byJob.Load())[""].String(); got != "@every 1s" {
		t.Errorf("it goes by %q", got)
	}
	all.Reconfigure(daily)
	if got := (*all.byJob.Load())[""].String(); got != "0 3 * * *" {
		t.Errorf("after the reload it goes by %q", got)
	}
}
