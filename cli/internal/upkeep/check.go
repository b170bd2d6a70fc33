package upkeep

import (
	"fmt"
	"time"

	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

// PrintCheck prints what a check found.
func PrintCheck(w *term.Terminal, r *store.CheckReport, json bool) error {
	if json {
		return term.PrintJSON(w.Out, struct {
			OK bool `json:"ok"`
			*store.CheckReport
		}{r.OK(), r})
	}
	verdict := w.Paint.Green("everything is as it should be")
	if !r.OK() {
		verdict = w.Paint.Red(term.Plural(r.Faults, "fault"))
	}
	size := domain.Bytes(r.Bytes)
	if r.Engine != "" {
		size = "PostgreSQL"
	}
	fmt.Fprintf(w.Out, "%s: %s in %s, %s pending, %s held, %s parked, %s closed, %s in the inbox; %s\n",
		size, term.Plural(r.Users, "user"), term.Plural(r.Rows, "row"), term.Count(r.Pending), term.Count(r.Held), term.Count(r.Parked), term.Count(r.History),
		term.Plural(r.Records, "record"), verdict)
	for _, f := range r.Findings {
		fmt.Fprintf(w.Out, "  %-8s %s\n", f.Code, term.Plain(f.Message))
	}
	if more := r.Faults - uint64(len(r.Findings)); more > 0 {
		fmt.Fprintf(w.Out, "  and %s more\n", term.Count(more))
	}
	if r.Damaged > 0 {
		fmt.Fprintf(w.Out, "%s set aside earlier\n", term.Plural(r.Damaged, "damaged row"))
	}
	if !r.Pages && r.Engine == "" {
		w.Remark("the pages of the files are followed only while the agent is stopped; state.db grew by %s meanwhile", domain.Bytes(r.Grew))
	}
	return nil
}

// Roughly rounds a duration for people.
func Roughly(d time.Duration) time.Duration {
	switch {
	case d > time.Minute:
		return d.Round(time.Second)
	case d > time.Second:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}
