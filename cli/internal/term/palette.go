package term

import (
	"io"
	"os"

	"golang.org/x/term"
)

// palette colours text, or returns it unchanged if out is not a terminal or colours are not wanted.
type palette struct{ On bool }

func newPalette(w io.Writer, getenv func(string) string) palette {
	return palette{IsTerminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (p palette) Dim(s string) string    { return p.wrap("2", s) }
func (p palette) Bold(s string) string   { return p.wrap("1", s) }
func (p palette) Red(s string) string    { return p.wrap("31", s) }
func (p palette) Green(s string) string  { return p.wrap("32", s) }
func (p palette) Yellow(s string) string { return p.wrap("33", s) }
func (p palette) Cyan(s string) string   { return p.wrap("36", s) }

func (p palette) wrap(code, s string) string {
	if !p.On || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}
