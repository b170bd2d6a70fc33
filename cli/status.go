package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/cli/internal/command"
	"personasync/cli/internal/deletion"
	"personasync/cli/internal/term"
	"personasync/cli/internal/upkeep"
	"personasync/cli/internal/verification"
	"personasync/store/domain"
)

func statusCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:  "status",
		Usage: "show the agent on one screen",
		Description: "Shows whether events are accepted, how many changes are pending and for how long, how MoEngage\n" +
			"answers, and whether the ledgers balance. If the agent is stopped, the figures come from its data.\n\n" +
			"--check is for the health check of a container. It exits with 0 while the agent accepts events or\n" +
			"starts, with 1 while it accepts none or does not answer, and with 4 if it does not run.\n\n" +
			"Example: personasync status --json | jq .oldest_pending_s",
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "watch", Usage: "refresh every second, until interrupted", DisableDefaultText: true},
			&urfave.BoolFlag{Name: "check", Usage: "print one line, and report the health by the exit code", DisableDefaultText: true},
			command.JSONFlag(),
		},
		Action: env.Action(func(env *command.Env, c *urfave.Context) error {
			switch {
			case c.Bool("check"):
				return checkStatus(env, c)
			case c.Bool("watch"):
				return watchStatus(env, c)
			}
			return env.Inspect(c, func(i api.Inspector) error {
				s, err := i.Status(c.Context)
				if err != nil {
					return err
				}
				if c.Bool("json") {
					return term.PrintJSON(env.Out, s)
				}
				return printStatus(env.Terminal, s, time.Now())
			})
		}),
	}
}

// checkStatus asks only the running agent, because the files of a dead one can always be read. A starting agent is
// healthy too: after a power failure it may read for minutes, and a restart would begin again.
func checkStatus(env *command.Env, c *urfave.Context) (err error) {
	places, err := env.LoadPlaces(c)
	if err != nil {
		return err
	}
	client, err := agent.DialAgent(c.Context, places, env.Version)
	if errors.Is(err, agent.ErrStarting) {
		_, err := fmt.Fprintln(env.Out, "starting")
		return err
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	s, err := client.Status(c.Context)
	if err != nil {
		return err
	}
	if !s.Ready {
		return fmt.Errorf("events are not accepted: %s; `personasync status` shows more", term.Plain(s.Unready))
	}
	_, err = fmt.Fprintln(env.Out, "events are accepted"+conditionsText(s.Conditions))
	return err
}

// conditionsText names the conditions of an agent that accepts events.
func conditionsText(list []condition.Condition) string {
	if len(list) == 0 {
		return ""
	}
	var names []string
	for i := range list {
		names = append(names, term.Plain(list[i].Name)+" ("+term.Plain(list[i].Severity)+")")
	}
	return "; not all is well: " + strings.Join(names, ", ") + "; `personasync status` shows more"
}

func printStatus(w *term.Terminal, s condition.Status, now time.Time) error {
	var b bytes.Buffer
	line := func(title, text string) { fmt.Fprintf(&b, "%-12s%s\n", title, w.Beside(text, 12)) }

	for i := range s.Conditions {
		b.WriteString(conditionText(w, &s.Conditions[i]))
	}
	if len(s.Conditions) > 0 {
		b.WriteByte('\n')
	}
	line("events", readyText(w, s))
	if s.Store != nil && s.Store.Role == condition.RoleDoor {
		line("MoEngage", "the writer sends, and knows how it answers")
	} else {
		line("MoEngage", reachText(w, s.MoEngage))
	}
	line("next flush", flushText(s.NextFlush, now))
	if s.Store != nil {
		line("store", upkeep.StoreText(w, s.Store))
	}
	b.WriteByte('\n')
	line("received", term.Plural(s.Received, "event")+"; "+term.Count(s.Rejected)+" requests refused at the door; "+term.Count(s.Unapplied)+" events not applied yet")
	for i := range s.Refusals[:min(len(s.Refusals), refusalRows)] {
		line("refused", refusalText(&s.Refusals[i], now))
	}
	line("pending", pendingText(s))
	line("parked", alarm(w.Paint.Yellow, s.Parked)+" (`personasync outbox list --state parked`)")
	line("held", heldText(w, &s))
	if d := s.Deletions; d != nil {
		line("deletions", deletion.Counts(d.DeletionCounts))
	}
	line("delivered", term.Count(s.Delivered))
	line("rate", fmt.Sprintf("%s and %s sent in the last minute", term.Plural(s.SentLastMinute.Users, "user"), term.Plural(s.SentLastMinute.Events, "event")))
	line("known", term.Plural(s.Users, "user")+", "+term.Plural(s.Audiences, "audience"))
	if s.Verify != nil {
		line("verified", verification.Text(w, s.Verify))
	}
	if s.Backup != nil {
		line("backup", upkeep.BackupText(w, s.Backup))
	}
	if s.Notify != nil {
		for i := range s.Notify.Receivers {
			line("notify", receiverText(w, &s.Notify.Receivers[i]))
		}
	}
	for _, j := range s.FailedJobs {
		line("job failed", w.Paint.Red(term.Plain(j.Job))+" at "+term.Minute(j.FailedAt)+" ("+term.Plain(j.Code)+"): "+term.Plain(j.Error)+"; `personasync schedule`")
	}
	b.WriteByte('\n')
	b.WriteString(term.LedgerText(w, "events", "accepted", s.Events.Accepted, term.EventTerms(s.Events)))
	b.WriteString(term.LedgerText(w, "changes", "created", s.Changes.Created, term.ChangeTerms(s.Changes)))
	for i := range s.Salvages {
		b.WriteByte('\n')
		b.WriteString(w.Beside("damage: "+upkeep.SalvageText(w, &s.Salvages[i]), 0) + "\n")
	}
	_, err := w.Out.Write(b.Bytes())
	return err
}

// heldText counts the changes that wait for a decision apart from those that leave by themselves.
func heldText(w *term.Terminal, s *condition.Status) string {
	text := alarm(w.Paint.Yellow, s.Held-s.HeldRollout-s.HeldPaused)
	if s.HeldPaused > 0 {
		text += "; " + term.Count(s.HeldPaused) + " of paused computations (`personasync audience list`)"
	}
	if s.HeldRollout > 0 {
		text += "; " + term.Count(s.HeldRollout) + " for a rollout (`personasync audience list`)"
	}
	if c := s.Comparing; c != nil {
		text += fmt.Sprintf("; comparing users with the configuration: %s of %s", term.Count(c.Done), term.Count(c.Users))
	}
	return text
}

// refusalRows limits the kinds of refused requests that are shown. --json has all of them.
const refusalRows = 6

// refusalText returns how often requests of a kind were refused.
func refusalText(r *domain.Refusal, now time.Time) string {
	if r.Route == "" {
		return term.Count(r.Count) + ", by an older version, which did not count why"
	}
	return fmt.Sprintf("%s, the last %s ago: HTTP %s", term.Count(r.Count), term.Ago(int64(max(0, now.Sub(r.Last))/time.Second)), term.Plain(r.Sentence()))
}

// conditionText returns a condition with its commands.
func conditionText(w *term.Terminal, c *condition.Condition) string {
	paint := w.Paint.Yellow
	if c.Severity == "critical" {
		paint = w.Paint.Red
	}
	text := w.Beside(paint(c.Severity)+": "+w.Typed(term.Plain(c.Text))+" ("+term.Plain(c.Name)+")", 0) + "\n"
	for _, command := range c.Commands {
		quoted := w.Typed("`" + term.Plain(command) + "`")
		text += "    " + quoted[1:len(quoted)-1] + "\n"
	}
	return text
}

func readyText(w *term.Terminal, s condition.Status) string {
	if s.Ready {
		return w.Paint.Green("accepted") + ", up " + term.Ago(s.UptimeS) + ", version " + term.Plain(s.Version)
	}
	return w.Paint.Red("not accepted") + ": " + term.Plain(s.Unready)
}

func reachText(w *term.Terminal, r condition.Reachability) string {
	text := r.State
	switch r.State {
	case "ok":
		text = w.Paint.Green(text)
	case "failing":
		text = w.Paint.Red(text)
	}
	if r.Since != "" {
		text += " since " + term.Plain(r.Since)
	}
	if r.LastError == "" {
		return text
	}
	text += "; last error"
	if r.LastErrorAt != "" {
		text += " at " + term.Plain(r.LastErrorAt)
	}
	text += ": " + term.Plain(r.LastError)
	if r.NextTry != "" {
		text += "; next try at " + term.Plain(r.NextTry)
	}
	return text
}

func flushText(next *time.Time, now time.Time) string {
	if next == nil {
		return "none planned; with mode = \"realtime\" changes leave as they come"
	}
	return next.Format(time.RFC3339) + ", in " + term.Ago(int64(max(0, next.Sub(now))/time.Second))
}

func pendingText(s condition.Status) string {
	if s.Pending == 0 {
		return "0"
	}
	return term.Count(s.Pending) + ", the oldest for " + term.Ago(s.OldestPendingS) + drainText(s.Drain)
}

// drainText forecasts when the pending changes are sent. It is empty if that takes less than a minute.
func drainText(d *condition.Drain) string {
	if d == nil || d.Seconds <= 60 {
		return ""
	}
	what := map[string]string{"users": "users", "events": "events", "cohorts": "cohort requests"}[d.Limit]
	return fmt.Sprintf("; the drain takes %s at %s %s/min", term.Ago(d.Seconds), term.Count(uint64(d.PerMinute)), what)
}

// alarm colours a number that should be zero.
func alarm(paint func(string) string, n uint64) string {
	if n == 0 {
		return "0"
	}
	return paint(term.Count(n))
}
