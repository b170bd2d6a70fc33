package scheduler_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"personasync/scheduler"
)

// ledger keeps runs in memory. The agent keeps them in its store, so that they survive a restart.
type ledger map[string]scheduler.Run

func (l ledger) Runs() (list []scheduler.Run, err error) {
	for _, r := range l {
		list = append(list, r)
	}
	return list, nil
}

func (l ledger) Record(_ context.Context, r scheduler.Run) error {
	l[r.Job] = r
	return nil
}

// A job runs at the times of its schedule, and once for those that it missed while the process was down.
func ExampleScheduler() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	hourly, err := scheduler.Parse("@hourly", time.UTC)
	if err != nil {
		fmt.Println(err)
		return
	}
	yesterday := time.Now().AddDate(0, 0, -1)
	kept := ledger{"flush": {Job: "flush", Started: yesterday, Finished: yesterday}}
	s := scheduler.New(slog.New(slog.DiscardHandler), kept, scheduler.Job{
		Name: "flush", Schedule: hourly, CatchUp: true,
		Do: func(context.Context, time.Time) error {
			fmt.Println("the job runs")
			stop()
			return nil
		},
	})
	if err := s.Run(ctx); err != nil { // returns once ctx is done and no job is running
		fmt.Println(err)
	}
	fmt.Println("failed:", kept["flush"].Failed)
	// Output:
	// the job runs
	// failed: 0
}
