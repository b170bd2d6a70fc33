package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/lmittmann/tint"

	"personasync/agent/config"
	"personasync/cli/internal/term"
)

// New returns the logger that c describes, and a function that changes it to another configuration while it is in
// use. Its lines go to queue, which New starts.
func New(queue *Queue, c config.Log, colours bool) (*slog.Logger, func(config.Log)) {
	level, current, direct := new(slog.LevelVar), new(atomic.Pointer[slog.Handler]), new(atomic.Pointer[slog.Handler])
	follow := func(c config.Log) {
		_ = level.UnmarshalText([]byte(c.Level)) // config.Load has checked it
		format := formatFor(queue.w, c.Format)
		h, d := newHandler(queue, format, level, colours), newHandler(queue.w, format, level, colours)
		current.Store(&h)
		direct.Store(&d)
	}
	follow(c)
	fold := new(folder)
	queue.tellLost = func(n uint64) {
		slog.New(*direct.Load()).Warn("log lines were dropped: nobody read the log, and work goes on without", "lines", n)
	}
	queue.everySecond = func(now time.Time) { fold.flush(now, false) }
	queue.atEnd = func() { fold.flush(time.Now(), true) }
	go queue.run()
	return slog.New(&followingHandler{current: current, level: level, fold: fold}), follow
}

// NewLogger writes a log whose form stays.
func NewLogger(w io.Writer, format string, level slog.Leveler, colours bool) *slog.Logger {
	return slog.New(newHandler(w, formatFor(w, format), level, colours))
}

// formatFor resolves log.format for the given output.
func formatFor(w io.Writer, format string) string {
	switch {
	case format != "auto":
		return format
	case term.IsTerminal(w):
		return "tint"
	}
	return "text"
}

// newHandler returns the handler of a format: tint for a terminal, text or JSON otherwise.
func newHandler(w io.Writer, format string, level slog.Leveler, colours bool) slog.Handler {
	switch format {
	case "tint":
		return tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: "15:04:05.000", NoColor: !colours})
	case "json":
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
	}
	return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
}

// followingHandler writes with the current handler. It gives the attributes and groups of a logger to each new
// handler, because loggers of the parts are made once and outlive the handler that they were made with.
type followingHandler struct {
	current *atomic.Pointer[slog.Handler]
	level   slog.Leveler
	given   []func(slog.Handler) slog.Handler
	fold    *folder
	origin  string // the attributes given, as text
}

func (f *followingHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= f.level.Level() }

func (f *followingHandler) Handle(ctx context.Context, r slog.Record) error {
	if f.fold.admits(f.origin, r, func(r slog.Record) { _ = f.write(context.Background(), r) }) {
		return f.write(ctx, r)
	}
	return nil
}

func (f *followingHandler) write(ctx context.Context, r slog.Record) error {
	h := *f.current.Load()
	for _, give := range f.given {
		h = give(h)
	}
	return h.Handle(ctx, r)
}

func (f *followingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := f.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
	next.origin += fmt.Sprint(attrs)
	return next
}

func (f *followingHandler) WithGroup(name string) slog.Handler {
	return f.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (f *followingHandler) with(give func(slog.Handler) slog.Handler) *followingHandler {
	next := *f
	next.given = append(f.given[:len(f.given):len(f.given)], give)
	return &next
}
