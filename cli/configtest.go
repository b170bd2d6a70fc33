package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/preview"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
)

func configTestCommand(env *command.Env) *urfave.Command {
	return &urfave.Command{
		Name:      "test",
		Usage:     "try a folder of deliveries, and compare the requests with the expected ones",
		ArgsUsage: "DIR",
		Description: "Each NAME.json in DIR is a delivery as Segment posts it, or NAME.http a whole request. NAME.want.json has\n" +
			"what is expected of it: the outcome and the requests, or the reason for which it is parked. Each is\n" +
			"tried as `preview --as-if` does, with the configuration of this command. Differences are printed, and\n" +
			"make it fail.\n\n" +
			"--update writes what comes out as expected. It keeps the path, as_if (in, out or never) and received\n" +
			"of a NAME.want.json, which say how its delivery is tried.\n\n" +
			"Example: personasync config test cases --config agent.toml",
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "update", Usage: "write the expectations, and do not compare", DisableDefaultText: true},
			command.JSONFlag(),
		},
		Action: env.Action(configTest),
	}
}

// expectation is a NAME.want.json.
type expectation struct {
	Path     string          `json:"path,omitempty"`     // that it is posted to; "" for the one that it looks like
	AsIf     string          `json:"as_if,omitempty"`    // what the users are: in, out, never; "" is never
	Received string          `json:"received,omitempty"` // when it comes; "" is a second after its latest time
	Refused  string          `json:"refused,omitempty"`  // code, if ingest does not take it
	Events   []expectedEvent `json:"events"`
}

type expectedEvent struct {
	Outcome  string            `json:"outcome"`
	Reason   string            `json:"reason,omitempty"` // of a parked event
	Requests []expectedRequest `json:"requests,omitempty"`
}

type expectedRequest struct {
	To   string          `json:"to"` // the path, without the workspace
	Body json.RawMessage `json:"body"`
}

// caseResult is one line of `config test --json`.
type caseResult struct {
	Case  string `json:"case"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"` // why it could not be tried
	Diff  string `json:"diff,omitempty"`  // from the expected outcome to the one that came
}

func configTest(env *command.Env, c *urfave.Context) error {
	if err := command.Arguments(c, "a DIR with cases"); err != nil {
		return err
	}
	dir := c.Args().First()
	names, err := listCases(dir)
	if err != nil {
		return err
	}
	conf, err := previewConfig(env, c)
	if err != nil {
		return err
	}
	results, failed := make([]caseResult, 0, len(names)), 0
	for _, name := range names {
		if err := c.Context.Err(); err != nil {
			return err
		}
		r := testCase(conf, filepath.Join(dir, name), c.Bool("update"))
		r.Case = name
		results = append(results, r)
		if !r.OK {
			failed++
		}
		if !c.Bool("json") {
			if err := printCase(env.Terminal, &r); err != nil {
				return err
			}
		}
	}
	if c.Bool("json") {
		if err := term.PrintJSON(env.Out, results); err != nil {
			return err
		}
	}
	switch {
	case failed > 0:
		return fmt.Errorf("%d of %s failed", failed, term.Plural(len(names), "case"))
	case c.Bool("update"):
		env.Remark("%s written", term.Plural(len(names), "expectation"))
	default:
		env.Remark("%s as expected", term.Plural(len(names), "case"))
	}
	return nil
}

const wantSuffix = ".want.json"

// listCases lists the deliveries in a folder, by name.
func listCases(dir string) (names []string, err error) {
	files, err := os.ReadDir(dir)
	if info, statErr := os.Stat(dir); statErr == nil && !info.IsDir() {
		return nil, exit.Usage("%s is a file: give the folder that it is in, or show this one with `personasync preview %s --as-if never`", dir, term.Argument(dir))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exit.With(exit.NotFound, err)
	}
	if err != nil {
		return nil, err
	}
	wants := map[string]bool{}
	for _, f := range files {
		name := f.Name()
		switch {
		case f.IsDir():
		case strings.HasSuffix(name, wantSuffix):
			wants[strings.TrimSuffix(name, wantSuffix)] = true
		case isDelivery(name):
			names = append(names, name)
		}
	}
	for _, name := range names {
		delete(wants, caseName(name))
	}
	switch {
	case len(wants) > 0:
		alone := term.SortedKeys(wants)[0]
		return nil, exit.Usage("%s has no delivery beside it: put what Segment posts into %s.json, or remove it", filepath.Join(dir, alone+wantSuffix), alone)
	case len(names) == 0:
		return nil, exit.Nothing("%s has no cases: put a delivery into NAME.json, or a captured request into NAME.http, and `personasync config test %s --update` writes what comes of it", dir, term.Argument(dir))
	}
	for i, name := range names[1:] {
		if caseName(names[i]) == caseName(name) {
			return nil, exit.Usage("%s and %s are two deliveries of one name, and share %s: rename one", names[i], name, caseName(name)+wantSuffix)
		}
	}
	return names, nil
}

func isDelivery(name string) bool {
	return slices.Contains([]string{".json", ".http"}, filepath.Ext(name))
}

func caseName(file string) string { return strings.TrimSuffix(file, filepath.Ext(file)) }

// testCase tries one delivery, and compares the outcome or writes it.
func testCase(conf *config.Config, path string, update bool) (r caseResult) {
	at := caseName(path) + wantSuffix
	want, err := readExpectation(at)
	if errors.Is(err, fs.ErrNotExist) && !update {
		err = fmt.Errorf("%s does not exist: --update writes it", at)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return caseResult{Error: err.Error()}
	}
	got, err := tryCase(conf, path, want)
	if err != nil {
		return caseResult{Error: fmt.Sprintf("%s: %v", path, err)}
	}
	if update {
		if err := writeExpectation(at, got); err != nil {
			return caseResult{Error: err.Error()}
		}
		return caseResult{OK: true}
	}
	wantText, err := canonical(want)
	if err != nil {
		return caseResult{Error: fmt.Sprintf("%s: %v", at, err)}
	}
	gotText, err := canonical(got)
	if err != nil {
		return caseResult{Error: err.Error()}
	}
	r.Diff = lineDiff(wantText, gotText)
	r.OK = r.Diff == ""
	return r
}

// readExpectation reads a NAME.want.json.
func readExpectation(path string) (w expectation, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return w, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err = d.Decode(&w); err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more behind the object")
		}
	}
	if err != nil {
		return w, fmt.Errorf("%s%s: %w: it is an object with path, as_if, received, refused and events; remove it, and --update writes it anew", path, lineOf(text, err), err)
	}
	if w.AsIf != "" {
		if _, err := preview.ParseMembership(w.AsIf); err != nil {
			return w, fmt.Errorf("%s: as_if is in, out or never, not %q", path, w.AsIf)
		}
	}
	if _, err := receivedTime(w.Received); err != nil {
		return w, fmt.Errorf("%s: received %q is no time: write it like 2026-03-14T09:26:53Z, or leave it out", path, w.Received)
	}
	return w, nil
}

// lineOf says in which line of a text the error of its decoder is, if that is known.
func lineOf(text []byte, err error) string {
	var at int64
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		at = syntax.Offset
	} else if other := (*json.UnmarshalTypeError)(nil); errors.As(err, &other) {
		at = other.Offset
	}
	if at == 0 {
		return ""
	}
	return fmt.Sprintf(", line %d", 1+bytes.Count(text[:min(int(at), len(text))], []byte("\n")))
}

// tryCase returns what comes of a delivery, tried as want says.
func tryCase(conf *config.Config, path string, want expectation) (got expectation, err error) {
	got = expectation{Path: want.Path, AsIf: want.AsIf, Received: want.Received, Events: []expectedEvent{}}
	q := api.PreviewQuery{Path: want.Path}
	if q.Body, err = readDelivery(path); err != nil {
		return got, err
	}
	if q.Received, err = receivedTime(want.Received); err == nil && q.Received.IsZero() {
		q.Received, err = preview.Receipt(conf, q)
	}
	if err != nil {
		return got, err
	}
	now := preview.Never
	if want.AsIf != "" {
		now = preview.Membership(want.AsIf)
	}
	r, err := preview.AsIf(conf, q, now)
	if err != nil {
		return got, err
	}
	if r.Refused != nil {
		got.Refused = r.Refused.Code
	}
	for i := range r.Events {
		got.Events = append(got.Events, expectedOf(conf, &r.Events[i]))
	}
	return got, nil
}

// expectedOf is the part of an event's preview that is compared.
func expectedOf(conf *config.Config, e *api.PreviewEvent) expectedEvent {
	x := expectedEvent{Outcome: e.Outcome, Reason: e.Reason}
	for i := range e.Requests {
		to := e.Requests[i].URL
		if u, err := url.Parse(to); err == nil {
			to = u.Path
		}
		to = strings.TrimSuffix(strings.TrimSuffix(to, conf.MoEngage.WorkspaceID), "/")
		x.Requests = append(x.Requests, expectedRequest{To: to, Body: e.Requests[i].Body})
	}
	return x
}

func writeExpectation(path string, w expectation) error {
	var b bytes.Buffer
	if err := term.PrintJSON(&b, w); err != nil {
		return err
	}
	if was, err := os.ReadFile(path); err == nil && bytes.Equal(was, b.Bytes()) {
		return nil
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// canonical writes an expectation so that equal ones have equal texts: the members of bodies are sorted.
func canonical(w expectation) (string, error) {
	text, err := json.Marshal(w)
	if err != nil {
		return "", err
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return "", err
	}
	var b strings.Builder
	err = term.PrintJSON(&b, v)
	return b.String(), err
}

func printCase(w *term.Terminal, r *caseResult) (err error) {
	switch {
	case r.OK:
		_, err = fmt.Fprintln(w.Out, w.Paint.Green("ok"), "  ", term.Plain(r.Case))
	case r.Error != "":
		_, err = fmt.Fprintf(w.Out, "%s %s\n     %s\n", w.Paint.Red("fail"), term.Plain(r.Case), w.Beside(term.Plain(r.Error), 5))
	default:
		_, err = fmt.Fprintf(w.Out, "%s %s (- expected, + came)\n", w.Paint.Red("fail"), term.Plain(r.Case))
		for line := range strings.Lines(r.Diff) {
			line = term.Plain(strings.TrimSuffix(line, "\n"))
			switch line[0] {
			case '-':
				line = w.Paint.Red(line)
			case '+':
				line = w.Paint.Green(line)
			}
			if _, err := fmt.Fprintln(w.Out, "    ", line); err != nil {
				return err
			}
		}
	}
	return err
}
