package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"personasync/cli/internal/exit"
	"personasync/cli/internal/term"
	"personasync/store"
	"personasync/store/domain"
)

// limit is how long the parts of an archive may take. With the start of the program and the writing, it is done
// within 3 s.
const limit = 2200 * time.Millisecond

// write writes an archive about s to the new file at path, or to the standard output if that is "-", and prints its contents.
func (s *Subject) Write(ctx context.Context, path string, asJSON bool) (err error) {
	env := s.Env
	var about About
	fill := func(w io.Writer) (err error) {
		about, err = write(ctx, w, env.Version, s.Parts(), s.Config.Secrets(), limit)
		return err
	}
	switch path {
	case "":
		return exit.Usage("--bundle needs the name of a new file, such as support.tar.gz")
	case "-":
		return fill(env.Out)
	}
	if name := store.OwnName(path); name != "" {
		return exit.Usage("%s: the agent keeps files of its own under %s in its data directory: choose another name", path, name)
	}
	if err := create(path, fill); err != nil {
		return err
	}
	if asJSON {
		return term.PrintJSON(env.Out, about)
	}
	for _, p := range about.Parts {
		size, why := domain.Bytes(int64(p.Bytes)), ""
		if p.Error != "" {
			why = "  " + env.Paint.Yellow(term.Plain(p.Error))
		}
		fmt.Fprintf(env.Out, "%-14s %9s%s\n", p.Name, size, env.Beside(why, 25))
	}
	_, err = fmt.Fprintf(env.Out, "%s has these parts, without user ids and secrets: look through it before you send it\n", term.Plain(path))
	return err
}

// create has fill write a new file. If that fails, there is none.
func create(path string, fill func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return exit.Usage("%s exists already and is left alone: give another name", path)
	}
	if err != nil {
		return err
	}
	if err = errors.Join(fill(f), f.Close()); err != nil {
		_ = os.Remove(path) // incomplete
	}
	return err
}
