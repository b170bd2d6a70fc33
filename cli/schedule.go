package cli

import (
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

func scheduleCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "schedule",
		Usage: "show the jobs: last run, next runs, and runs missed while the agent was stopped",
		Description: "Prints next runs in the time zone of the schedule and in UTC, so that days with a clock change can\n" +
			"be checked in advance. In realtime mode, only computations with their own schedule and the\n" +
			"verification have jobs.\n\n" +
			"Example: personasync schedule --next 10",
		Flags: []urfave.Flag{
			&urfave.IntFlag{Name: "next", Value: 1, Usage: "show the next `N` runs of each job"},
			command.WideFlag(), command.JSONFlag(),
		},
		Action: env.Action(showSchedule),
	}
}

func showSchedule(env *command.Env, c *urfave.Context) error {
	n := c.Int("next")
	if n < 1 || n > api.MaxNext {
		return exit.Usage("--next is from 1 to %d, not %d", api.MaxNext, n)
	}
	return env.Inspect(c, func(i api.Inspector) error {
		jobs, err := i.Schedule(c.Context, n)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return term.PrintJSON(env.Out, jobs)
		}
		if len(jobs) == 0 {
			env.Remark("nothing is scheduled: with mode = \"realtime\" changes leave as they come")
		}
		if err := printJobs(env.Terminal, jobs, c.Bool("wide")); err != nil {
			return err
		}
		return printFailures(env.Terminal, jobs)
	})
}

func printJobs(w *term.Terminal, jobs []api.JobInfo, wide bool) error {
	t := w.NewTable(wide, term.Column{Title: "JOB", Flexible: true}, term.Column{Title: "SPEC", Flexible: true}, term.Column{Title: "LAST RUN"},
		term.Column{Title: "MISSED", Right: true}, term.Column{Title: "NEXT RUN"}, term.Column{Title: "UTC"})
	var rows [][]string
	for _, j := range jobs {
		last := term.Minute(j.Last)
		switch {
		case j.Running:
			last = "under way"
		case j.FailedAt != "":
			last += " failed"
		}
		row := []string{j.Job, j.Spec, last, term.Count(j.Missed), "", ""}
		for i := range j.Next {
			row[4], row[5] = zoned(j.Next[i]), clock(j.NextUTC[i])
			rows = append(rows, row)
			row = make([]string, 6)
		}
		if len(j.Next) == 0 {
			rows = append(rows, row)
		}
	}
	return t.Print(rows)
}

// printFailures prints, for each job whose last finished run failed, the reason.
func printFailures(w *term.Terminal, jobs []api.JobInfo) error {
	for _, j := range jobs {
		if j.FailedAt == "" {
			continue
		}
		text := fmt.Sprintf("%s failed at %s (%s): %s", term.Plain(j.Job), term.Minute(j.FailedAt), term.Plain(j.Code), term.Plain(j.Error))
		if _, err := fmt.Fprintln(w.Out, w.Paint.Red(w.Beside(text, 0))); err != nil {
			return err
		}
	}
	return nil
}

// clock returns the time of day in UTC. The column of the time zone has the day, which may be one off.
func clock(stamp string) string {
	at, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return stamp
	}
	return at.UTC().Format("15:04Z")
}

// zoned returns a time to the minute with its offset from UTC, which tells the two 02:30 of the night of a clock
// change apart.
func zoned(stamp string) string {
	at, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		return stamp
	}
	return fmt.Sprintf("%s %s", at.Format("2006-01-02 15:04"), at.Format("-0700"))
}
