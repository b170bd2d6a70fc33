package verification

import (
	"fmt"
	"strings"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/cli/internal/term"
)

// Users counts users for people.
func Users(n int64) string { return term.Plural(n, "user") }

// Print prints what a verification found of a sample.
func Print(w *term.Terminal, r *api.VerifyReport, o api.VerifyOrder, shown int, wide bool) error {
	if r.Told == 0 {
		_, err := fmt.Fprintf(w.Out, "no attribute or list of %s was sent, so there is nothing to compare: MoEngage returns neither events nor cohorts\n", term.Plain(r.Key))
		return err
	}
	fmt.Fprintf(w.Out, "%s: MoEngage was told of %s; %s taken, %s compared, %s left out because more was on the way, or left less than --settle ago\n",
		term.Plain(r.Key), Users(int64(r.Told)), term.Count(r.Asked), term.Count(r.Compared), term.Count(r.Moving))
	if r.Agreement == nil {
		_, err := fmt.Fprintln(w.Out, "no user can be compared: wait until pending changes have arrived, or lower --settle")
		return err
	}
	fmt.Fprintln(w.Out, agreementText(w, r))
	t := w.NewTable(wide, term.Column{Title: "USER"}, term.Column{Title: "ATTRIBUTE"},
		term.Column{Title: "TOLD", Flexible: true}, term.Column{Title: "HOLDS", Flexible: true})
	var rows [][]string
	for _, d := range r.Differences[:min(shown, len(r.Differences))] {
		holds := string(d.Got)
		switch d.Why {
		case "unknown_user":
			holds = "no such user"
		case "missing":
			holds = "nothing"
		}
		rows = append(rows, []string{d.User, d.Attribute, string(d.Want), holds})
	}
	if err := t.Print(rows); err != nil {
		return err
	}
	switch {
	case r.Differ == 0:
	case o.Repair:
		fmt.Fprintf(w.Out, "%s queued again: `personasync outbox list` shows the pending changes; verify again when they are sent\n", Users(int64(r.Repaired)))
	default:
		w.Remark("nothing was changed: --repair sends again what differs")
	}
	if len(rows) < len(r.Differences) {
		w.Remark("shown are %d of %s: --limit shows more", len(rows), term.Plural(len(r.Differences), "difference"))
	}
	return nil
}

func agreementText(w *term.Terminal, r *api.VerifyReport) string {
	a := r.Agreement
	paint := w.Paint.Green
	if r.Differ > 0 {
		paint = w.Paint.Yellow
	}
	text := paint(fmt.Sprintf("%s agree", percent(a.Share)))
	if a.Level == 1 {
		return text + fmt.Sprintf(", %s; that is everyone", differText(r.Differ))
	}
	return text + fmt.Sprintf(", %s; of everyone it is %s to %s (95 %% confidence)", differText(r.Differ), percent(a.Low), percent(a.High))
}

func differText(n uint64) string {
	if n == 1 {
		return "1 user differs"
	}
	return term.Plural(n, "user") + " differ"
}

// percent never rounds a share below one up to 100 %.
func percent(share float64) string {
	p := share * 100
	if share < 1 && p > 99.99 {
		p = 99.99
	}
	return fmt.Sprintf("%.2f %%", p)
}

// Text says how far the last verifications agreed. A user that was not read back does not count as agreeing.
func Text(w *term.Terminal, v *condition.VerifyStatus) string {
	var parts []string
	if v.Failed > 0 {
		why := strings.TrimRight(term.Plain(v.Error), ".")
		if !strings.Contains(why, v.Code) {
			why = term.Plain(v.Code) + ": " + why
		}
		when := ""
		if !v.FailedAt.Equal(v.At) {
			when = " at " + v.FailedAt.Format("2006-01-02 15:04") + " UTC"
		}
		parts = append(parts, w.Paint.Red(term.Plural(v.Failed, "computation")+" could not be verified")+when+" ("+why+")")
	}
	if v.Compared > 0 || v.Failed == 0 {
		parts = append(parts, comparedText(w, v))
	}
	if v.Unproven > 0 && v.Compared > 0 {
		parts = append(parts, fmt.Sprintf("of %s no user was compared", term.Plural(v.Unproven, "computation")))
	}
	return v.At.Format("2006-01-02 15:04") + " UTC: " + strings.Join(parts, "; ")
}

func comparedText(w *term.Terminal, v *condition.VerifyStatus) string {
	if v.Compared == 0 {
		return w.Paint.Yellow("no user was compared, so nothing is proven")
	}
	text := fmt.Sprintf("%s of %s, ", term.Plural(v.Compared, "user"), term.Plural(v.Verified, "computation"))
	if v.Differ == 0 {
		return text + w.Paint.Green("all agree")
	}
	return text + w.Paint.Yellow(differText(v.Differ)) + ", most of them of " + term.Plain(v.Worst)
}
