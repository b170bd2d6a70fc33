package cli

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/lmittmann/tint"

	"personasync/agent/config"
)

// newLog makes the log that c asks for, and what makes it follow another [log] while it is in use.
func newLog(w io.Writer, c config.Log, colours bool) (*slog.Logger, func(config.Log)) {
	level, current := new(slog.LevelVar), new(atomic.Pointer[slog.Handler])
	follow := func(c config.Log) {
		_ = level.UnmarshalText([]byte(c.Level)) // config.Load has checked it
		h := newHandler(w, c.Format, level, colours)
		current.Store(&h)
	}
	follow(c)
	return slog.New(&followingHandler{current: current, level: level}), follow
}

// newLogger writes a log whose form stays.
func newLogger(w io.Writer, format string, level slog.Leveler, colours bool) *slog.Logger {
	return slog.New(newHandler(w, format, level, colours))
}

// newHandler writes the log as log.format wants it: tint for a person at a terminal, text or JSON for
// whatever collects it.
func newHandler(w io.Writer, format string, level slog.Leveler, colours bool) slog.Handler {
	if format == "auto" {
		format = "text"
		if isTerminal(w) {
			format = "tint"
		}
	}
	switch format {
	case "tint":
		return tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: "15:04:05.000", NoColor: !colours})
	case "json":
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
	}
	return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
}

// followingHandler writes with whatever handler is current. What a logger was given on the way, its
// attributes and groups, is given to each handler anew: the loggers of the parts are made once, and
// outlive the handler that they were made with.
type followingHandler struct {
	current *atomic.Pointer[slog.Handler]
	level   slog.Leveler
	given   []func(slog.Handler) slog.Handler
}

func (f *followingHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= f.level.Level() }

func (f *followingHandler) Handle(ctx context.Context, r slog.Record) error {
	h := *f.current.Load()
	for _, give := range f.given {
		h = give(h)
	}
	return h.Handle(ctx, r)
}

func (f *followingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return f.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (f *followingHandler) WithGroup(name string) slog.Handler {
	return f.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (f *followingHandler) with(give func(slog.Handler) slog.Handler) slog.Handler {
	next := *f
	next.given = append(f.given[:len(f.given):len(f.given)], give)
	return &next
}
