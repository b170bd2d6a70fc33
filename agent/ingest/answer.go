package ingest

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer is the answer to a request. Without a code it is a success.
type answer struct {
	status        int
	code, message string
	retryAfter    time.Duration
	allow         string
	cause         error // for the log only
}

// CodeNoCredentials is the code of an answer on a route without configured credentials.
const CodeNoCredentials = "no_credentials"

// taken is the answer to an accepted request.
var taken = answer{status: http.StatusOK}

// refuse returns an answer to a request that would fail again if it were repeated.
func refuse(status int, code, message string) answer {
	return answer{status: status, code: code, message: message}
}

// unavailable returns a 503, for a request that is valid but cannot be accepted now.
func unavailable(code, message string, retryAfter time.Duration) answer {
	return answer{status: http.StatusServiceUnavailable, code: code, message: message, retryAfter: retryAfter}
}

// crowded is the answer to a request that would exceed the memory of all requests.
var crowded = unavailable("crowded", "Too many requests in progress. Retry shortly.", time.Second)

// refused reports whether the request was refused for good. After 408, a body that ended early, it is sent again.
func (a *answer) refused() bool {
	return a.status >= 400 && a.status < 500 && a.status != http.StatusRequestTimeout
}

// lostDelivery reports whether a refused request looked like a delivery, so that Segment discards its events. On an
// event route that is every request with a body, except those of web pages. On another path, or with another
// method, it is a request that looks like Segment's: its URL or method is set wrongly there. Scanners, people who
// open the URL, and SDKs that ask for settings lose nothing.
func (a *answer) lostDelivery(r *http.Request, known bool) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		return known && a.code != "web_page" || !known && likeSegment(r, "")
	case http.MethodHead, http.MethodOptions:
		return false
	}
	return fromSegment(r)
}

// fromSegment reports whether the sender of a request looks like Segment's own servers.
func fromSegment(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("User-Agent"), "Segment") || r.Header.Get("X-Signature") != ""
}

// likeSegment reports whether a request looks like one of Segment or its SDKs, by its User-Agent or its credentials.
// SDKs may have theirs in the body.
func likeSegment(r *http.Request, path string) bool {
	switch {
	case fromSegment(r), strings.HasPrefix(r.Header.Get("User-Agent"), "analytics-"):
		return true
	case path == PathWebhook:
		return r.Header.Get("Authorization") != ""
	}
	return path != ""
}

// write sends the answer in a form that every Segment SDK can read. Python's needs code and message, Ruby's needs
// error, and PHP's and Python's need exactly 200 (read in their source).
func (a *answer) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if a.allow != "" {
		h.Set("Allow", a.allow)
	}
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(a.retryAfter.Seconds())))
	}
	w.WriteHeader(a.status)
	w.Write(a.body())
}

func (a *answer) body() []byte {
	if a.code == "" {
		return []byte(`{"success":true}`)
	}
	body, err := json.Marshal(struct {
		Success bool   `json:"success"`
		Code    string `json:"code"`
		Message string `json:"message"`
		Error   string `json:"error"`
	}{false, a.code, a.message, a.message})
	if err != nil { // texts can always be marshalled
		return []byte(`{"success":false}`)
	}
	return body
}

// logRefusal logs an answer by route and code, without secrets, bodies or users. The path of another route is
// left out, because the client invents it. The process folds repeated lines, so that a client cannot fill the disk.
func logRefusal(log *slog.Logger, path string, known bool, a answer) {
	if a.code == "" || a.code == "unready" {
		return
	}
	if !known {
		path = RouteOther
	}
	attrs := []any{"route", path, "status", a.status, "code", a.code}
	if a.cause != nil {
		log.Error("events could not be written; the sender was asked to try again", append(attrs, "error", a.cause)...)
		return
	}
	log.Warn("request not taken", append(attrs, "reason", a.message)...)
}
