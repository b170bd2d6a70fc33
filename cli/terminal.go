package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"personasync/store"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal is where a command writes: its output, and beside it what is said to the person who looks.
type terminal struct {
	out, err        io.Writer
	paint, errPaint palette // colours for out and err
	attached        bool    // out is a terminal: text is wrapped to fit it
	named           string  // file of --config; see typed
}

// newTerminal finds out what out and err are, and whether they take colours.
func newTerminal(out, err io.Writer, getenv func(string) string) *terminal {
	return &terminal{out: out, err: err, paint: newPalette(out, getenv), errPaint: newPalette(err, getenv), attached: isTerminal(out)}
}

// remark tells the person at the terminal something that is not part of the output.
func (w *terminal) remark(format string, args ...any) {
	fmt.Fprintln(w.err, w.errPaint.dim(w.typed(fmt.Sprintf(format, args...))))
}

// typed makes the commands in a text whole: where --config named the configuration, they go by it, too.
func (w *terminal) typed(text string) string {
	if w.named == "" {
		return text
	}
	const command = "`personasync "
	return strings.ReplaceAll(text, command, command+"--config "+store.ShellWord(w.named)+" ")
}

// newTable makes a table for out that fits its terminal. What is no terminal is a program or a file, and
// gets everything; so does wide.
func (w *terminal) newTable(wide bool, columns ...column) *table {
	t := &table{out: w.out, columns: columns, paint: w.paint}
	if f, ok := w.out.(*os.File); ok && !wide {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			t.fit = max(w, tableWidth)
		}
	}
	return t
}

func (w *terminal) progress() *progressBar {
	p := &progressBar{now: time.Now, unit: store.Bytes}
	if isTerminal(w.err) {
		p.w = w.err
	}
	return p
}

// readerGone reports whether nobody can read what is written to w any more.
func readerGone(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	poll := []unix.PollFd{{Fd: int32(f.Fd())}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0 && poll[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
}
