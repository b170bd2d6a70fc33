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

// Terminal is where a command writes: its output, and beside it remarks to the person who looks.
type Terminal struct {
	Out, Err        io.Writer
	Paint, ErrPaint palette // colours for out and err
	attached        bool    // out is a terminal: text is wrapped to fit it
	Named           string  // file of --config; see Typed
}

// New finds out what out and err are, and whether they take colours.
func New(out, err io.Writer, getenv func(string) string) *Terminal {
	return &Terminal{Out: out, Err: err, Paint: newPalette(out, getenv), ErrPaint: newPalette(err, getenv), attached: IsTerminal(out)}
}

// Remark tells the person at the terminal something that is not part of the output.
func (w *Terminal) Remark(format string, args ...any) {
	fmt.Fprintln(w.Err, w.ErrPaint.Dim(w.Typed(fmt.Sprintf(format, args...))))
}

// Typed makes the commands in a text whole: where --config named the configuration, they go by it, too.
func (w *Terminal) Typed(text string) string {
	if w.Named == "" {
		return text
	}
	const command = "`personasync "
	return strings.ReplaceAll(text, command, command+"--config "+domain.ShellWord(w.Named)+" ")
}

// NewTable makes a table for out that fits its terminal. What is no terminal is a program or a file, and
// gets everything; so does wide.
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

// Attended reports whether standard input is a terminal, where a question can be answered.
func Attended() bool { return term.IsTerminal(int(os.Stdin.Fd())) }
