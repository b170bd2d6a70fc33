//go:build linux && !(cgo && sqlite)

package contender

import (
	"errors"
	"log/slog"
	"net/http"
)

// HaveSQLite reports whether this program includes C SQLite.
const HaveSQLite = false

func sqliteHandler(string, *slog.Logger) (http.Handler, func() error, error) {
	return nil, nil, errors.New("this program was built without SQLite")
}
