package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent"
	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/preview"
	"personasync/cli/internal/cases"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
)

func previewCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "preview",
		Usage:     "show what an event would come to, and the requests to MoEngage",
		ArgsUsage: "FILE|-",
		Description: "FILE has what Segment posts: an event, an array of events, a batch of the Tracking API, or a whole\n" +
			"HTTP request as it was captured; - is standard input. The events are read as they would be received,\n" +
			"and each is shown on top of the ones before. Nothing is received, written or sent.\n\n" +
			"By default the outcome is that in the agent's data, with its configuration. With --as-if it is that\n" +
			"for users who are members now (in), who have left (out) or who were never seen (never), with the\n" +
			"configuration of this command, and neither an agent nor data is needed.\n\n" +
			"Example: personasync preview event.json --as-if never",
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: "as-if", Usage: "the users are `NOW` in, out or never: what they are in each audience"},
			pathFlag(),
			&urfave.StringFlag{Name: "received", Usage: "read it as if it came at `TIME`, such as 2026-03-14T09:26:53Z (default: now)"},
			command.JSONFlag(),
		},
		Action: env.Action(previewDelivery, "a FILE with an event, or - for standard input"),
	}
}

func pathFlag() *urfave.StringFlag {
	return &urfave.StringFlag{Name: "path", Usage: "it is posted to `PATH`, such as /v1/track (default: the route that it looks like)"}
}

func previewDelivery(env *command.Env, c *urfave.Context) (err error) {
	q := api.PreviewQuery{Path: c.String("path")}
	if q.Received, err = receivedTime(c.String("received")); err != nil {
		return err
	}
	if q.Body, err = cases.ReadDelivery(c.Context, c.Args().First()); err != nil {
		return err
	}
	if c.IsSet("as-if") {
		now, err := preview.ParseMembership(c.String("as-if"))
		if err != nil {
			return exit.Usage("--as-if is in, out or never, not %q", c.String("as-if"))
		}
		conf, err := previewConfig(env, c)
		if err != nil {
			return err
		}
		r, err := preview.AsIf(conf, q, now)
		return printPreview(env, c, r, err)
	}
	err = env.Inspect(c, func(i api.Inspector) error {
		r, err := i.Preview(c.Context, q)
		return printPreview(env, c, r, err)
	})
	if errors.Is(err, store.ErrNoData) {
		err = fmt.Errorf("%w; or preview it without data, with --as-if never", err)
	}
	return err
}

// receivedTime reads --received; "" is now.
func receivedTime(text string) (at time.Time, err error) {
	if text == "" {
		return at, nil
	}
	if at, err = time.Parse(time.RFC3339Nano, text); err != nil {
		return at, exit.Usage("--received %q is no time: write it like 2026-03-14T09:26:53Z", text)
	}
	return at, nil
}

// previewConfig reads the configuration, without secrets. Without a file, the defaults are tried.
func previewConfig(env *command.Env, c *urfave.Context) (*config.Config, error) {
	conf, err := env.Load(c, config.LoadWithoutSecrets)
	if errors.Is(err, config.ErrNoFile) && c.String("config") == "" {
		env.Remark("there is no configuration, so the defaults are used: `personasync config init` writes one")
		return config.LoadWithoutSecrets("", env.Environ)
	}
	return conf, agent.DeniedConfig(err)
}

// printPreview prints a preview, and returns an error if the delivery would be refused.
func printPreview(env *command.Env, c *urfave.Context, r *api.PreviewResult, err error) error {
	if errors.Is(err, api.ErrUsage) {
		return exit.With(exit.BadUsage, err)
	}
	if err != nil {
		return err
	}
	explainParked(r)
	if c.Bool("json") {
		err = term.PrintJSON(env.Out, r)
	} else {
		err = printPreviewed(env.Terminal, r)
	}
	if err == nil && r.Refused != nil {
		err = refusal(r)
	}
	return err
}

// refusal is the error of a delivery that ingest would not take.
func refusal(r *api.PreviewResult) error {
	text := fmt.Sprintf("%s would answer HTTP %d %s, and Segment discards what is refused: %s", r.Path, r.Refused.Status, r.Refused.Code, r.Refused.Message)
	if r.Refused.Status >= 500 {
		text = fmt.Sprintf("%s would answer HTTP %d %s: %s", r.Path, r.Refused.Status, r.Refused.Code, r.Refused.Message)
	}
	if r.Refused.Advice != "" {
		text += " " + r.Refused.Advice
	}
	return errors.New(text)
}

// explainParked adds to parked events, and to held changes, what to do.
func explainParked(r *api.PreviewResult) {
	for i := range r.Events {
		e := &r.Events[i]
		reasons := []string{e.Reason}
		for j := range e.Changes {
			reasons = append(reasons, e.Changes[j].Reason)
		}
		for _, code := range reasons {
			if x, known := agent.ExplainCode(code); code != "" && known && e.Do == "" {
				e.Do = strings.ReplaceAll(x.Do, "CODE", code)
			}
		}
	}
}

func printPreviewed(w *term.Terminal, r *api.PreviewResult) error {
	for _, remark := range r.Remarks {
		w.Remark("%s", remark)
	}
	if r.Refused == nil && len(r.Events) == 0 {
		w.Remark("it has no events")
	}
	for i := range r.Events {
		var b bytes.Buffer
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintln(&b, w.Paint.Bold(fmt.Sprintf("Event %d of %d", i+1, len(r.Events)+r.More)))
		writeReading(&b, &r.Events[i].PreviewReading)
		writeOutcome(&b, w, &r.Events[i].PreviewOutcome)
		if _, err := w.Out.Write(b.Bytes()); err != nil {
			return err
		}
	}
	if r.More > 0 {
		w.Remark("%s more are not shown: a preview has at most %d", term.Plural(r.More, "event"), api.MaxPreview)
	}
	return nil
}

// previewMargin is the width of the titles of a preview.
const previewMargin = 14

// previewLine writes a line with a title, unless text is empty.
func previewLine(b *bytes.Buffer, title, text string) {
	if text != "" {
		fmt.Fprintf(b, "%-*s%s\n", previewMargin, title, term.Plain(text))
	}
}

func writeReading(b *bytes.Buffer, r *api.PreviewReading) {
	line := func(title, text string) { previewLine(b, title, text) }
	line("type", strings.TrimSpace(r.Type+" "+quotedName(r.Name)))
	line("user", strings.TrimSpace(r.User+" "+term.InBrackets(r.UserFrom)))
	line("class", r.Class)
	line("computation", strings.TrimSpace(r.Computation+" "+term.InBrackets(strings.Trim(r.ComputationID+", "+r.Space, ", "))))
	line("says", r.Says)
	for _, name := range term.SortedKeys(r.Values) {
		line("value", name+" = "+string(r.Values[name]))
	}
	line("message id", r.MessageID)
	line("event time", strings.TrimSpace(r.EventTime+" "+term.InBrackets(r.TimeSentence)))
	if r.Consent != nil {
		line("consent", cmp.Or(strings.Join(*r.Consent, ", "), "every category is refused"))
	}
	line("left out", strings.Join(r.LeftOut, ", "))
}

func quotedName(name string) string {
	if name == "" {
		return ""
	}
	return `"` + name + `"`
}

func writeOutcome(b *bytes.Buffer, w *term.Terminal, o *api.PreviewOutcome) {
	word := o.Outcome
	if o.Reason != "" {
		word += " " + term.InBrackets(o.Reason)
	}
	fmt.Fprintf(b, "%-*s%s\n", previewMargin, "comes to", stateText(w, term.Plain(word)))
	for _, text := range []string{o.Sentence, o.Do} {
		if text != "" {
			fmt.Fprintf(b, "%*s%s\n", previewMargin, "", w.Beside(term.Plain(text), previewMargin))
		}
	}
	for i := range o.Changes {
		c := &o.Changes[i]
		previewLine(b, "change", strings.Join(strings.Fields(fmt.Sprintf("%s %s %s = %s, %s %s", c.Transition, c.Kind, c.Name, c.Value, c.State, term.InBrackets(c.Reason))), " "))
		if c.Sentence != "" {
			fmt.Fprintf(b, "%*s%s\n", previewMargin, "", w.Beside(term.Plain(c.Sentence), previewMargin))
		}
	}
	if o.Earlier > 0 {
		previewLine(b, "with it", term.Plural(o.Earlier, "change")+" that the user has pending already")
	}
	for i := range o.Requests {
		fmt.Fprintf(b, "\n%s\n", requestText(&o.Requests[i], ""))
	}
	for _, why := range o.WouldPark {
		fmt.Fprintln(b, w.Paint.Yellow(term.Plain(why)))
	}
}
