package upkeep

import (
	"fmt"
	"strings"
	"time"

	"personasync/cli/internal/term"
	"personasync/store"
)

// PrintRestored prints what a restore put in dir.
func PrintRestored(w *term.Terminal, dir string, r *store.RestoreReport) error {
	fmt.Fprintf(w.Out, "restored to %s: %s and %s as of %s\n", term.Plain(dir), term.Plural(r.Users, "user"), term.Plural(r.Received, "received event"),
		r.Made.Format(time.RFC3339))
	if r.Pending > 0 {
		fmt.Fprintf(w.Out, "%s waited then: what of them left since is sent again, under the same change ids\n", term.Plural(r.Pending, "change"))
	}
	if r.Faults > 0 {
		fmt.Fprintf(w.Out, "%s came with the backup:\n", w.Paint.Yellow(term.Plural(r.Faults, "fault")))
		for _, f := range r.Findings {
			fmt.Fprintf(w.Out, "  %-8s %s\n", f.Code, term.Plain(f.Message))
		}
	}
	for i := range r.Salvages {
		if s := &r.Salvages[i]; s.Whole() {
			fmt.Fprintf(w.Out, "%s was rebuilt from its readable parts; nothing was lost\n", term.Plain(s.File))
		} else {
			fmt.Fprintf(w.Out, "%s was rebuilt from its readable parts; %s\n", term.Plain(s.File), w.Paint.Red("lost: "+lossText(s)))
		}
	}
	if r.Previous != "" {
		w.Remark("the previous data is kept in %s: remove it when all is well (rm -r %s); it has user ids, and `user forget` does not reach it", r.Previous, term.Argument(r.Previous))
	}
	w.Remark("events received after %s are not in it: let Segment replay them, or reconcile the audiences", r.Made.Format(time.RFC3339))
	return nil
}

// SalvageText returns the result of salvaging a damaged file.
func SalvageText(w *term.Terminal, r *store.Salvage) string {
	lost := w.Paint.Yellow("nothing was lost")
	switch {
	case r.Whole():
	case r.Harmless():
		lost = w.Paint.Yellow("lost, after it was applied: " + lossText(r))
	default:
		lost = w.Paint.Red("lost: " + lossText(r))
	}
	return fmt.Sprintf("%s was damaged and made anew on %s; %s. The damaged file is %s: remove it, and this note goes",
		term.Plain(r.File), r.At.Format(time.RFC3339), lost, term.Plain(r.KeptAs))
}

// lossText lists the losses of a salvage.
func lossText(r *store.Salvage) string {
	var parts []string
	for _, p := range []struct {
		name string
		n    uint64
	}{
		{"users", r.Lost.Users}, {"memberships", r.Lost.Members}, {"pending", r.Lost.Pending}, {"held", r.Lost.Held}, {"parked", r.Lost.Parked},
		{"closed", r.Lost.History}, {"computations", r.Lost.Computations}, {"received records", r.Lost.Records}, {"of them not applied yet", r.Unapplied},
		{"unreadable pages", r.Pages}, {"unreadable entries", r.Entries},
	} {
		if p.n > 0 {
			parts = append(parts, term.Count(p.n)+" "+p.name)
		}
	}
	if r.LedgerLost {
		parts = append(parts, "the ledger, which begins anew")
	}
	if r.EdgeLost {
		parts = append(parts, "perhaps the last records received")
	}
	return strings.Join(parts, ", ")
}
