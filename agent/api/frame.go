package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
)

const (
	// PageLimit is how many items one answer holds at most.
	PageLimit = MaxDryRun

	maxOrder = 64 << 10 // bytes
)

// Question reads a request and answers it. The answer crosses the socket as JSON, an error as a problem.
type Question func(*http.Request) (any, error)

// frame is what the handlers of every route share.
type frame struct {
	version string
	log     *slog.Logger
}

// versionHeader carries the sender's version. Orders must have it: a web page cannot add it unasked, and a program that
// means another service does not.
const versionHeader = "Personasync-Version"

// order refuses requests without a version, and logs the others with the user who sent them.
func (f *frame) order(carryOut http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		theirs := r.Header.Get(versionHeader)
		if theirs == "" {
			WriteProblem(w, http.StatusForbidden, Problem{Code: "forbidden", Message: "an order needs the version of its sender in the header " + versionHeader})
			return
		}
		f.log.Info("operator's order", append(peerOf(r.Context()).attrs(), "path", r.URL.Path, "verb", r.URL.Query().Get("verb"), "client_version", theirs)...)
		carryOut(w, r)
	}
}

// answer turns a question into a handler.
func (f *frame) answer(ask Question) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := ask(r)
		if err == nil {
			writeJSON(w, http.StatusOK, v)
			return
		}
		p, status := newProblem(stopped(r.Context(), err))
		if p.Code == "internal" && !errors.Is(err, context.DeadlineExceeded) {
			f.log.Error("an inspection failed", "path", r.URL.Path, "error", err)
		}
		WriteProblem(w, status, p)
	}
}

// stopped returns the cause that ctx was ended with, such as a stop of the agent, in place of an err that only says that
// it ended.
func stopped(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

// WriteProblem answers with p and an HTTP status.
func WriteProblem(w http.ResponseWriter, status int, p Problem) { writeJSON(w, status, p) }

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // an error: the client has gone
}
