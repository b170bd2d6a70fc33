package syncer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"personasync/store/domain"
)

// answer is the result of one request.
type answer struct {
	*Meaning
	status    int
	requestID string
	kind      string        // error.type of a refusal
	body      string        // the part that was read
	message   string        // message of MoEngage or of the error; may contain user ids
	pause     time.Duration // requested by MoEngage, or zero
	at        time.Time

	summary      string    // meaning and message without user ids, for the log and the status; "" if accepted
	resume       time.Time // set by the breaker: no request before this time
	refusedAgain bool      // the request's only user was refused before, and something else was accepted since
	failedAlone  int       // how often the request's only user has failed alone; 0 for several users
}

const (
	readBody    = 64 << 10 // bytes of an answer that are read
	keepBody    = 2 << 10  // bytes stored with a parked change
	keepBrief   = 256      // bytes stored with each pending change, of which there may be a thousand
	keepMessage = 300
)

// readAnswer builds an answer from a response. body is the part of the response that was read.
func readAnswer(status int, header http.Header, body []byte, at time.Time) answer {
	a := answer{Meaning: byStatus(status), status: status, at: at, body: string(body)}
	got, ok := parseEnvelope(body)
	a.requestID, a.kind, a.message = got.requestID, got.kind, got.text()
	switch {
	case a.Code == codeAccepted && !ok:
		a.Meaning = meanings[codeUnreadable]
	case a.Code == codeAccepted && !strings.EqualFold(got.status, "success"):
		a.Meaning = meanings[codeSaysFail]
	case status == http.StatusBadRequest:
		if of, known := errorTypes[letters(got.kind)]; known {
			a.Meaning = meanings[of]
		}
	case status == http.StatusForbidden && documentedTypes[letters(got.name)] == codeAddress:
		a.Meaning = meanings[codeAddress]
	}
	switch a.act {
	case actRetry, actUncertain, actStop:
		a.pause = requestedPause(status, header, at)
	}
	return a
}

// ofDelete returns the answer to a delete. MoEngage documents 400 with the type Not Found for a user that it does not
// have, which is what a delete is for. Only this type means it: a page or a proxy that answers 404 says nothing of a user.
func (a answer) ofDelete() answer {
	if a.status == http.StatusBadRequest && letters(a.kind) == "notfound" {
		a.Meaning = meanings[codeNoSuchUser]
	}
	return a
}

// clip cuts s to at most n bytes at a character boundary and replaces invalid UTF-8 with question marks.
func clip(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "?")
}

const (
	maxRequestedPause = time.Hour // largest accepted Retry-After
	epochFloor        = 1_000_000 // a smaller x-ratelimit-reset is seconds left, otherwise seconds since 1970
)

// requestedPause returns the pause that MoEngage asks for. Retry-After is in seconds or a date. x-ratelimit-reset comes
// with every answer, so it is used only for a 429. It is documented both as seconds left (always below 60) and
// as seconds since 1970, so its size decides.
func requestedPause(status int, h http.Header, now time.Time) time.Duration {
	if d, ok := retryAfter(h.Get("Retry-After"), now); ok {
		return min(max(d, 0), maxRequestedPause)
	}
	if status != http.StatusTooManyRequests {
		return 0
	}
	n, ok := wholeSeconds(h.Get("X-Ratelimit-Reset"))
	if !ok {
		return 0
	}
	left := time.Duration(n) * time.Second
	if n >= epochFloor {
		left = time.Unix(n, 0).Sub(now)
	}
	return min(max(left, time.Second), time.Minute)
}

func retryAfter(v string, now time.Time) (time.Duration, bool) {
	if n, ok := wholeSeconds(v); ok {
		return min(time.Duration(min(n, int64(maxRequestedPause/time.Second)))*time.Second, maxRequestedPause), true
	}
	if at, err := http.ParseTime(strings.TrimSpace(v)); err == nil {
		return at.Sub(now), true // Sub saturates
	}
	return 0, false
}

// maxSeconds is year 9999 in seconds since 1970. Larger values overflow time arithmetic.
const maxSeconds = 253402300799

// wholeSeconds parses a number of seconds of any size and drops a fraction.
func wholeSeconds(v string) (int64, bool) {
	v, fraction, _ := strings.Cut(strings.TrimSpace(v), ".")
	digits := func(s string) bool { return strings.Trim(s, "0123456789") == "" }
	if v == "" || !digits(v) || !digits(fraction) {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n > maxSeconds { // digits alone can only be out of range
		n = maxSeconds
	}
	return n, true
}

// failure builds an answer from an error. left means that bytes of the request may have left this host. It must
// be true if that is unknown.
func failure(err error, left bool, at time.Time) answer {
	return answer{Meaning: byError(err, left), message: err.Error(), at: at}
}

func byError(err error, left bool) *Meaning {
	var name *net.DNSError
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") {
		left = false
	}
	switch {
	case errors.As(err, &name):
		return meanings[codeDNS]
	case !left && isTLS(err):
		return meanings[codeTLS]
	case !left:
		return meanings[codeUnreachable]
	case isTimeout(err):
		return meanings[codeTimeout]
	}
	return meanings[codeLost]
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// isTLS reports whether a connection failed because of certificates or TLS settings, which seldom resolves by
// waiting. A handshake that timed out is not such a failure.
func isTLS(err error) bool {
	var (
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
		alert  *net.OpError // crypto/tls wraps its alerts in one with its own Op
	)
	return errors.As(err, &verify) || errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch) ||
		errors.As(err, &alert) && (alert.Op == "remote error" || alert.Op == "local error")
}

// mayHaveLeft reports whether MoEngage may have counted the request against its limits.
func (a answer) mayHaveLeft() bool {
	switch a.Code {
	case codeUnreachable, codeDNS, codeTLS:
		return false
	}
	return true
}

// mayBeThePayload reports whether the failure may be caused by a payload, although the answer does not say so.
func (a answer) mayBeThePayload() bool {
	return a.act == actUncertain || a.Code == "http_503" || a.Code == "http_408"
}

// judges reports whether the answer concerns the data. Its message may then contain user ids.
func (a answer) judges() bool { return a.act == actBisect || a.act == actConfirm }

// refuses reports whether the answer refuses the content of the request, as opposed to any request.
func (a answer) refuses() bool { return a.judges() || a.act == actSplit }

// parkedAs returns the reason code of a change parked because of the answer.
func (a answer) parkedAs() string {
	if a.act == actSplit {
		return codeTooLarge
	}
	return a.Code
}

// sentence returns the text shown with the reason of a change.
func (a answer) sentence() string { return a.saying(a.message) }

// public is sentence for the log and the status, without the ids of the request's users. The message of an answer
// that judges the data may also contain a user's values.
func (a answer) public(users []string) string {
	return a.saying(withoutUsers(a.message, users, a.judges()))
}

func (a answer) saying(words string) string {
	if words == "" && a.status != 0 && strings.TrimSpace(a.body) == "" {
		words = "nothing; the answer was empty"
	}
	if words == "" {
		return a.Means
	}
	return a.Means + domain.Said + clip(words, keepMessage)
}

// kept returns the answer in the form stored with one change.
func (a answer) kept(bytes int) domain.Answer {
	return domain.Answer{Status: a.status, RequestID: a.requestID, Body: clip(a.body, bytes), At: a.at}
}
