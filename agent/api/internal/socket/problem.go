package socket

import (
	"context"
	"errors"
	"net/http"

	"personasync/store"
)

// Problem is an error as it crosses the socket. It arrives with the words and the sentinel that it left with, so that a
// command prints the same message and ends with the same exit code wherever its answer comes from.
type Problem struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Key     string   `json:"key,omitempty"` // of an ambiguous key
	IDs     []string `json:"ids,omitempty"`
}

// ErrUsage says that a request is wrong in itself.
var ErrUsage = errors.New("wrong request")

// ErrUnreadable says that MoEngage tells nothing of a computation, so that it cannot be verified.
var ErrUnreadable = errors.New("nothing of it can be read back")

// ErrPaused refuses an order to send during a pause.
var ErrPaused = errors.New("sending is paused")

// ErrWaiting says that an agent runs and cannot open its store yet.
var ErrWaiting = errors.New("the agent runs and accepts no event yet, because it cannot open its store; it tries again every second")

// codeNoRoute is the code of a request that no route takes. It is not the not_found of a question: a client of another
// version must tell the two apart.
const codeNoRoute = "no_route"

// codes pairs the codes that cross the socket with their HTTP status and their sentinel on both sides.
var codes = []struct {
	code   string
	status int
	err    error
}{
	{"waiting", http.StatusServiceUnavailable, ErrWaiting}, // before the reasons that it wraps
	{"not_found", http.StatusNotFound, store.ErrNotFound},
	{"no_data", http.StatusNotFound, store.ErrNoData},
	{"underway", http.StatusConflict, store.ErrUnderway},
	{"no_members", http.StatusBadRequest, store.ErrNoMembers},
	{"referred_to", http.StatusConflict, store.ErrReferredTo},
	{"no_successor", http.StatusNotFound, store.ErrNoSuccessor},
	{"unreadable", http.StatusConflict, ErrUnreadable},
	{"not_writer", http.StatusConflict, store.ErrNotWriter},
	{"other_workspace", http.StatusConflict, store.ErrOtherWorkspace},
	{"paused", http.StatusConflict, ErrPaused},
	{"full", http.StatusInsufficientStorage, store.ErrFull},
	{"moved", http.StatusServiceUnavailable, store.ErrMoved},
	{"usage", http.StatusBadRequest, ErrUsage},
	{"bad_cursor", http.StatusBadRequest, store.ErrBadCursor},
	{"closed", http.StatusServiceUnavailable, store.ErrClosed},
	{"cancelled", http.StatusServiceUnavailable, context.Canceled},
}

// newProblem describes err and picks its HTTP status.
func newProblem(err error) (Problem, int) {
	if ambiguous := (*store.AmbiguousError)(nil); errors.As(err, &ambiguous) {
		return Problem{Code: "ambiguous", Message: err.Error(), Key: ambiguous.Key, IDs: ambiguous.IDs}, http.StatusConflict
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return Problem{Code: c.code, Message: err.Error()}, c.status
		}
	}
	return Problem{Code: "internal", Message: err.Error()}, http.StatusInternalServerError
}

// err is the error that a problem stands for.
func (p Problem) err() error {
	if p.Code == "ambiguous" {
		return &store.AmbiguousError{Key: p.Key, IDs: p.IDs}
	}
	for _, c := range codes {
		if p.Code == c.code {
			return &reported{p.Message, c.err}
		}
	}
	return errors.New(p.Message)
}

// reported is an error of the agent: its words, and their sentinel.
type reported struct {
	words string
	is    error
}

func (r *reported) Error() string { return r.words }
func (r *reported) Unwrap() error { return r.is }
