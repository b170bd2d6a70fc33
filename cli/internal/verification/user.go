package verification

import (
	"errors"
	"fmt"

	"personasync/agent/api"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

// PrintUser prints one user as MoEngage holds them, and names the values that it cannot show.
func PrintUser(w *term.Terminal, r *api.UserVerification, wide bool) error {
	if len(r.Values) > 0 {
		known := w.Paint.Green("MoEngage knows user " + term.Plain(r.User))
		if !r.Known {
			known = w.Paint.Red("MoEngage knows no user " + term.Plain(r.User))
		}
		fmt.Fprintln(w.Out, known)
		t := w.NewTable(wide, term.Column{Title: "COMPUTATION"}, term.Column{Title: "ATTRIBUTE"},
			term.Column{Title: "TOLD", Flexible: true}, term.Column{Title: "HOLDS", Flexible: true}, term.Column{Title: "STATE"})
		var rows [][]string
		for _, v := range r.Values {
			rows = append(rows, row(&v))
		}
		if err := t.Print(rows); err != nil {
			return err
		}
	}
	for _, key := range r.Unseen {
		w.Remark("%s: no value of it can be read back: it leaves as an event or in a cohort, or nothing was sent yet", term.Plain(key))
	}
	w.Remark("events and cohorts cannot be read back, nor can attributes that were not sent by personasync: MoEngage returns the named attributes alone")
	return nil
}

func row(v *api.UserValue) []string {
	attribute, holds := v.Attribute, string(v.Got)
	if v.Entry != "" {
		attribute += "[" + v.Entry + "]"
	}
	if holds == "null" {
		holds = "nothing"
	}
	return []string{v.Computation, attribute, string(v.Want), holds, v.State}
}

// Judge returns an error unless every value that can be compared agrees, and one can.
func Judge(r *api.UserVerification) error {
	counts := map[string]int{}
	for _, v := range r.Values {
		counts[v.State]++
	}
	wrong := counts[api.ValueDiffers] + counts[api.ValueMissing]
	switch {
	case len(r.Values) == 0:
		return exit.Nothing("MoEngage was sent no attribute of this user, so there is nothing to compare: `personasync user show %s` shows what is known", term.Argument(r.User))
	case wrong > 0:
		return fmt.Errorf("MoEngage does not hold %d of %s: `personasync audience verify KEY --repair` sends again what differs", wrong, term.Plural(len(r.Values), "value"))
	case counts[api.ValueAgrees] == 0:
		return errors.New("no value can be compared yet: a change of each is on the way, or was sent less than --settle ago; try again in a moment")
	}
	return nil
}
