package cli

import (
	"fmt"
	"time"

	"personasync/cli/internal/exit"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
)

func scheduleCommand(env *shell) *urfave.Command {
	return &urfave.Command{
		Name:  "schedule",
		Usage: "show the jobs: last run, next runs, runs missed while down",
		Description: "Next runs are in the zone of the schedule and in UTC, so that the days on which clocks change can\n" +
			"be looked at beforehand. In realtime mode only computations with a schedule of their own, and the\n" +
			"verification, are jobs.\n\n" +
			"Example: personasync schedule --next 10",
		Flags: []urfave.Flag{
			&urfave.IntFlag{Name: "next", Value: 1, Usage: "show the next `N` runs of each job"},
			wideFlag(), jsonFlag(),
		},
		Action: env.action(showSchedule),
	}
}

func showSchedule(env *shell, c *urfave.Context) error {
	if err := arguments(c); err != nil {
		return err
	}
	n := c.Int("next")
	if n < 1 || n > agent.MaxNext {
		return exit.Usage("--next is from 1 to %d, not %d", agent.MaxNext, n)
	}
	return env.inspect(c, func(i agent.Inspector) error {
		jobs, err := i.Schedule(c.Context, n)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(env.out, jobs)
		}
		if len(jobs) == 0 {
			env.remark("nothing is scheduled: with mode = \"realtime\" changes leave as they come")
		}
		if err := printJobs(env.terminal, jobs, n, c.Bool("wide")); err != nil {
			return err
		}
		return printFailures(env.terminal, jobs)
	})
}

func printJobs(w *terminal, jobs []agent.JobInfo, n int, wide bool) error {
	t := w.newTable(wide, column{title: "JOB", flexible: true}, column{title: "SPEC", flexible: true}, column{title: "LAST RUN"},
		column{title: "MISSED", right: true}, column{title: "NEXT RUN"}, column{title: "UTC"})
	var rows [][]string
	for _, j := range jobs {
		last := minute(j.Last)
		switch {
		case j.Running:
			last = "under way"
		case j.FailedAt != "":
			last += " failed"
		}
		row := []string{j.Job, j.Spec, last, count(j.Missed), "", ""}
		for i := range j.Next {
			row[4], row[5] = zoned(j.Next[i]), clock(j.NextUTC[i])
			rows = append(rows, row)
			row = make([]string, 6)
		}
		if len(j.Next) == 0 {
			rows = append(rows, row)
		}
	}
	return t.print(rows)
}

// printFailures says of each job whose last run that ended failed why it did.
func printFailures(w *terminal, jobs []agent.JobInfo) error {
	for _, j := range jobs {
		if j.FailedAt == "" {
			continue
		}
		text := fmt.Sprintf("%s failed at %s (%s): %s", plain(j.Job), minute(j.FailedAt), plain(j.Code), plain(j.Error))
		if _, err := fmt.Fprintln(w.out, w.paint.red(w.beside(text, 0))); err != nil {
			return err
		}
	}
	return nil
}

// clock writes the time of day in UTC; the day is that of the zone's column, or next to it.
func clock(stamp string) string {
	at, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return stamp
	}
	return at.UTC().Format("15:04Z")
}

// zoned writes a moment to the minute with its distance to UTC, by which two 02:30 of one night differ.
func zoned(stamp string) string {
	at, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return stamp
	}
	return fmt.Sprintf("%s %s", at.Format("2006-01-02 15:04"), at.Format("-0700"))
}
