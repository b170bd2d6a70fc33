package cli

import (
	"io"
	"log/slog"

	"github.com/lmittmann/tint"
)

// newLogger writes the log as log.format wants it: tint for a person at a terminal, text or JSON for
// whatever collects it.
func newLogger(w io.Writer, format string, level slog.Leveler, colours bool) *slog.Logger {
	if format == "auto" {
		format = "text"
		if isTerminal(w) {
			format = "tint"
		}
	}
	switch format {
	case "tint":
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: "15:04:05.000", NoColor: !colours}))
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
