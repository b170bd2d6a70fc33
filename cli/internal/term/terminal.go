package term

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"personasync/store/domain"
)

// Terminal is the output of a command, and beside it remarks for the person at the terminal.
type Terminal struct {
	Out, Err        io.Writer
	Paint, ErrPaint palette // colours for out and err
	attached        bool    // out is a terminal: text is wrapped to fit it
	Named           string  // file of --config; see Typed
}

// New returns a Terminal for out and err. It finds out whether they are terminals and take colours.
func New(out, err io.Writer, getenv func(string) string) *Terminal {
	return &Terminal{Out: out, Err: err, Paint: newPalette(out, getenv), ErrPaint: newPalette(err, getenv), attached: IsTerminal(out)}
}

// Remark prints a line on standard error, which is not part of the output.
func (w *Terminal) Remark(format string, args ...any) {
	fmt.Fprintln(w.Err, w.ErrPaint.Dim(w.Said(fmt.Sprintf(format, args...))))
}

// Said is text as standard error shows it: an error or a remark may repeat what another operator, Segment or MoEngage wrote.
func (w *Terminal) Said(text string) string { return PlainLines(w.Typed(text)) }

// Typed adds --config to the commands in a text, if this command was given it.
func (w *Terminal) Typed(text string) string {
	if w.Named == "" {
		return text
	}
	const command = "`personasync "
	return strings.ReplaceAll(text, command, command+"--config "+domain.ShellWord(w.Named)+" ")
}

// NewTable returns a table that fits the terminal. If out is a program or a file, or if wide is set, the table has
// its full width.
func (w *Terminal) NewTable(wide bool, columns ...Column) *Table {
	t := &Table{out: w.Out, Columns: columns, paint: w.Paint}
	if f, ok := w.Out.(*os.File); ok && !wide {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			t.fit = max(w, tableWidth)
		}
	}
	return t
}

// Progress returns a bar on standard error.
func (w *Terminal) Progress() *Bar {
	p := &Bar{now: time.Now, Unit: domain.Bytes}
	if IsTerminal(w.Err) {
		p.w = w.Err
	}
	return p
}

// ReaderGone reports whether the reader of w has ended.
func ReaderGone(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	poll := []unix.PollFd{{Fd: int32(f.Fd())}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0 && poll[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
}

// Attended reports whether standard input is a terminal, so that a question can be answered.
func Attended() bool { return term.IsTerminal(int(os.Stdin.Fd())) }
