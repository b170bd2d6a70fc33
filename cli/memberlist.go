package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"personasync/agent/api"
	"personasync/agent/memberlist"
	"personasync/cli/internal/command"
	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store/domain"
)

func asOfFlag() *urfave.StringFlag {
	return &urfave.StringFlag{Name: "as-of", Usage: "the list was taken at `TIME`, such as 2026-03-14T09:26:53Z or 2026-03-14 (default: when FILE was last written)"}
}

func columnFlag() *urfave.StringFlag {
	return &urfave.StringFlag{Name: "column", Usage: "the CSV column titled `NAME` has the ids (default: the column whose title fits best)"}
}

func audienceImport(env *command.Env, verb string) urfave.ActionFunc {
	return func(c *urfave.Context) error {
		if err := command.Arguments(c, "the KEY of an audience", "a FILE with its members"); err != nil {
			return err
		}
		path := c.Args().Get(1)
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return exit.With(exit.NotFound, err)
		}
		if err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		asOf, err := listTime(c.String("as-of"), info)
		if err != nil {
			return err
		}
		order := api.Order{Verb: verb, Key: c.Args().First(), AsOf: asOf, Events: c.Bool("events"), DryRun: c.Bool("dry-run"), By: operatorName()}
		return env.Order(c, func(o api.Orders, bar *term.Bar) error {
			skipped := &omissions{}
			list := &memberlist.List{Name: path, Key: command.KeyOf(env, c, order.Key), Column: c.String("column"), Skipped: skipped.add, Input: &metered{r: file, size: info.Size(), tell: bar.Tell}}
			order.Users = finally(list.Users(), func() { bar.Next(people) })
			rewind := func() error {
				*skipped = omissions{}
				list.Input = &metered{r: file, size: info.Size(), tell: bar.Tell}
				bar.Next(domain.Bytes)
				_, err := file.Seek(0, io.SeekStart)
				return err
			}
			shown := func() { remarkReading(env.Terminal, list.Read, true) }
			r, err := carryOut(env.Terminal, c, o, order, bar, shown, rewind)
			bar.End()
			skipped.remark(env.Terminal)
			if err != nil {
				return command.UnknownKey(env, c, err, order.Key)
			}
			if order.DryRun || c.Bool("yes") || verb == "baseline" {
				remarkReading(env.Terminal, list.Read, order.DryRun)
			}
			r.Skipped, r.Column = skipped.n, list.Read.Column
			return printMembership(env.Terminal, c, verb, r)
		})
	}
}

// listTime returns the time at which a list was taken.
func listTime(text string, info fs.FileInfo) (time.Time, error) {
	if text == "" {
		return info.ModTime(), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		t, err := time.Parse(layout, text)
		switch {
		case err != nil:
		case t.After(time.Now()), t.Before(time.Unix(0, 0)):
			return t, exit.Usage("--as-of %s is no time that a list can be from", text)
		default:
			return t, nil
		}
	}
	return time.Time{}, exit.Usage("--as-of %s is no time: write 2026-03-14T09:26:53Z, or 2026-03-14 for its first moment in UTC", text)
}

// metered reports how many bytes were read through it.
type metered struct {
	r          io.Reader
	done, size int64
	tell       func(done, total int64)
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.done += int64(n)
	m.tell(m.done, m.size)
	return n, err
}

// remarkReading prints how a list was read. It shows the first ids only in a preview at a terminal, because the
// output of a script goes to a log.
func remarkReading(w *term.Terminal, r memberlist.Reading, ids bool) {
	where := "one id a line"
	if r.Column != "" {
		where = fmt.Sprintf("the ids in column %q", term.Plain(r.Column))
	}
	if ids && len(r.First) > 0 {
		where += ": " + term.Plain(strings.Join(r.First, ", ")) + ", …"
	}
	w.Remark("read %s", where)
}

// finally calls then after the last element of a sequence.
func finally(list iter.Seq2[string, error], then func()) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		list(yield)
		then()
	}
}

// omissions counts the lines of a list that were left out, by reason.
type omissions struct {
	n     uint64
	first []string
}

func (o *omissions) add(line int, sentence string) {
	if o.n++; len(o.first) < 5 {
		o.first = append(o.first, fmt.Sprintf("line %d: %s", line, sentence))
	}
}

func (o *omissions) remark(w *term.Terminal) {
	for _, sentence := range o.first {
		w.Remark("%s", term.Plain(sentence))
	}
	if more := o.n - uint64(len(o.first)); more > 0 {
		w.Remark("and %s more are left out", term.Plural(more, "line"))
	}
}
