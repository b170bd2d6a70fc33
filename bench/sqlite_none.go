//go:build linux && !(cgo && sqlite)

package main

import (
	"errors"
	"log/slog"
	"net/http"
)

// haveSQLite reports whether this program includes C SQLite.
const haveSQLite = false

func sqliteHandler(string, *slog.Logger) (http.Handler, func() error, error) {
	return nil, nil, errors.New("this program was built without SQLite")
}
