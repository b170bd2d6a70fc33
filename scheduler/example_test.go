package scheduler_test

import (
	"fmt"
	"time"

	"personasync/scheduler"
)

func ExampleSchedule_Next() {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		fmt.Println(err)
		return
	}
	nightly, err := scheduler.Parse("30 2 * * *", berlin)
	if err != nil {
		fmt.Println(err)
		return
	}
	at := time.Date(2026, time.March, 28, 0, 0, 0, 0, berlin)
	for range 3 {
		at = nightly.Next(at)
		fmt.Println(at)
	}
	// Output:
	// 2026-03-28 02:30:00 +0100 CET
	// 2026-03-29 03:00:00 +0200 CEST
	// 2026-03-30 02:30:00 +0200 CEST
}

func ExampleParse_zoneInSpec() {
	_, err := scheduler.Parse("TZ=Europe/Berlin 0 3 * * *", time.UTC)
	fmt.Println(err)
	// Output:
	// schedule "TZ=Europe/Berlin 0 3 * * *": the time zone does not belong in the spec; set the schedule's timezone instead
}
