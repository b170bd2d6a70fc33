package ingest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer is what a request is told. The zero code is success.
type answer struct {
	status        int
	code, message string
	retryAfter    time.Duration
	allow         string
	cause         error // for the log alone
}

// CodeNoCredentials answers on a route for which none are configured.
const CodeNoCredentials = "no_credentials"

var taken = answer{status: http.StatusOK}

// refuse answers a request that will fare no better when it is sent again.
func refuse(status int, code, message string) answer {
	return answer{status: status, code: code, message: message}
}

// unwell answers a request that the agent cannot take now, through no fault of the request.
func unwell(code, message string, retryAfter time.Duration) answer {
	return answer{status: http.StatusServiceUnavailable, code: code, message: message, retryAfter: retryAfter}
}

// refused reports whether the request was refused for good. A body that ended early (408) is sent again.
func (a *answer) refused() bool {
	return a.status >= 400 && a.status < 500 && a.status != http.StatusRequestTimeout
}

// lostDelivery reports whether a refused request looked like a delivery, so that Segment discards its
// events. On an event route that is whatever has a body, but for web pages. On other paths it is what
// looks like Segment: the URL set there is wrong. So is the method, where Segment itself uses another one.
// Scanners that try paths at random, people who open the URL, and SDKs that ask for settings lose nothing.
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

// likeSegment reports whether the sender of a request looks like Segment or one of its SDKs, by its
// User-Agent or the credentials that it brings. SDKs may bring theirs in the body.
func likeSegment(r *http.Request, path string) bool {
	switch {
	case fromSegment(r), strings.HasPrefix(r.Header.Get("User-Agent"), "analytics-"):
		return true
	case path == PathWebhook:
		return r.Header.Get("Authorization") != ""
	}
	return path != ""
}

// write answers in the form that every Segment SDK can read: Python's wants code and message, Ruby's
// wants error, PHP's and Python's exactly 200 (all from their source).
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
