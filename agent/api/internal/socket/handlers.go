package socket

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
)

// Question reads a request and answers it. The answer crosses the socket as JSON, an error as a problem.
type Question func(*http.Request) (any, error)

// MaxOrder is the largest body of an order that is one JSON value, in bytes.
const MaxOrder = 64 << 10

// Handlers makes the handlers of the routes. It may be used concurrently.
type Handlers struct {
	Version string // that answers state
	Log     *slog.Logger
}

// VersionHeader carries the sender's version. Orders must have it: a web page cannot add it unasked, and a program that
// means another service does not.
const VersionHeader = "Personasync-Version"

// Order refuses requests without a version, and logs the others with the user who sent them.
func (h *Handlers) Order(carryOut http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		theirs := r.Header.Get(VersionHeader)
		if theirs == "" {
			WriteProblem(w, http.StatusForbidden, Problem{Code: "forbidden", Message: "an order needs the version of its sender in the header " + VersionHeader})
			return
		}
		h.Log.Info("operator's order", append(PeerOf(r.Context()).Attrs(), "path", r.URL.Path, "verb", r.URL.Query().Get("verb"), "client_version", theirs)...)
		carryOut(w, r)
	}
}

// Answer turns a question into a handler.
func (h *Handlers) Answer(ask Question) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := ask(r)
		if err == nil {
			WriteJSON(w, http.StatusOK, v)
			return
		}
		p, status := newProblem(stopped(r.Context(), err))
		if p.Code == "internal" && !errors.Is(err, context.DeadlineExceeded) {
			h.Log.Error("an inspection failed", "path", r.URL.Path, "error", err)
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

// Refuse answers with the problem that err is.
func Refuse(w http.ResponseWriter, err error) {
	p, status := newProblem(err)
	WriteProblem(w, status, p)
}

// WriteProblem answers with p and an HTTP status.
func WriteProblem(w http.ResponseWriter, status int, p Problem) { WriteJSON(w, status, p) }

// WriteJSON answers with v and an HTTP status.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // an error: the client has gone
}
