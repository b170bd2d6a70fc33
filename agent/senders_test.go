package agent

import (
	"testing"

	"personasync/store"
)

// TestARunUnderWayGoesByTheScheduleOfTheReload: it may last for days, and let later changes out at the times of a
// schedule that the operator had replaced.
func TestARunUnderWayGoesByTheScheduleOfTheReload(t *testing.T) {
	s := newSite(t)
	data, err := store.Open(t.TempDir(), store.Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	every := s.load("PERSONASYNC_SCHEDULE_MODE=cron", "PERSONASYNC_SCHEDULE_CRON=@every 1s")
	daily := s.load("PERSONASYNC_SCHEDULE_MODE=cron", "PERSONASYNC_SCHEDULE_CRON=0 3 * * *")
	all := newSenders(every, senderConfig, data, quiet())
	if got := (*all.byJob.Load())[""].String(); got != "@every 1s" {
		t.Errorf("it goes by %q", got)
	}
	all.Reconfigure(daily, senderConfig)
	if got := (*all.byJob.Load())[""].String(); got != "0 3 * * *" {
		t.Errorf("after the reload it goes by %q", got)
	}
}
