package sandbox

import (
	"context"
	"crypto/tls"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// answer is a response, and how to break it.
type answer struct {
	status   int // 0 breaks the connection instead
	kind     string
	header   http.Header
	body     []byte
	truncate bool
	hang     bool
}

func jsonAnswer(status int, body []byte) answer {
	return answer{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: body}
}

func refuse(r refusal, requestID string) answer {
	a := jsonAnswer(r.status, r.body(requestID))
	a.kind = r.kind
	return a
}

// refuse returns the response to a refused call in the form of its endpoint.
func (c *call) refuse(r refusal) answer {
	a := refuse(r, c.ID)
	if c.titled && (r.status == http.StatusTooManyRequests || r.status >= http.StatusInternalServerError) {
		a.body = r.titledBody()
	}
	return a
}

const page = "<!DOCTYPE html>\n<html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>\n"

// distort applies the fault to an answer.
func (f *Fault) distort(a answer, c *call) answer {
	header := a.header
	switch {
	case f.Reset:
		return answer{}
	case f.Hang:
		return answer{hang: true}
	case f.Redirect != "":
		a = answer{status: http.StatusTemporaryRedirect, header: http.Header{"Location": {f.Redirect}}}
	case f.Error != "":
		r, _ := byType(f.Error)
		r.status, r.kind = http.StatusOK, f.Error
		a = refuse(r, c.ID)
	case f.Type != "":
		r, _ := byType(f.Type)
		a = c.refuse(r)
	case f.Status != 0 && f.Status != http.StatusOK:
		a = c.refuse(byStatus(f.Status))
	case !f.HTML && !f.Truncate: // a user is a poison message
		a = refuse(wrongType, c.ID)
	}
	for name, values := range header {
		if a.header.Get(name) == "" {
			a.header[name] = values
		}
	}
	f.dress(&a, c.At)
	return a
}

// dress applies the fault's status, headers and form of the body.
func (f *Fault) dress(a *answer, now time.Time) {
	if f.Status != 0 {
		a.status = f.Status
	}
	if f.HTML {
		a.body = []byte(page)
		a.header.Set("Content-Type", "text/html; charset=utf-8")
	}
	a.truncate = f.Truncate
	if a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		a.body = nil
	}
	if f.RetryAfter > 0 {
		a.header.Set("Retry-After", strconv.Itoa(int(f.RetryAfter/time.Second)))
	}
	if a.status == http.StatusTooManyRequests {
		f.dressLimits(a.header, now)
	}
}

// dressLimits makes the x-ratelimit headers match a 429 of the fault.
func (f *Fault) dressLimits(h http.Header, now time.Time) {
	if f.RateLimit == "none" {
		for _, name := range []string{limitHeader, remainingHeader, resetHeader} {
			h.Del(name)
		}
		return
	}
	reset := f.RetryAfter
	if reset == 0 {
		reset = 30 * time.Second
	}
	h.Set(remainingHeader, "0")
	h.Set(resetHeader, resetValue(now, reset, f.RateLimit == "epoch"))
}

const (
	limitHeader     = "X-Ratelimit-Limit"
	remainingHeader = "X-Ratelimit-Remaining"
	resetHeader     = "X-Ratelimit-Reset"
)

// resetValue formats the reset header in one of its two documented forms: seconds left, always below 60, or the
// epoch.
func resetValue(now time.Time, left time.Duration, epoch bool) string {
	seconds := int64((left + time.Second - 1) / time.Second)
	if epoch {
		return strconv.FormatInt(now.Unix()+seconds, 10)
	}
	return strconv.FormatInt(min(seconds, 59), 10)
}

// write sends the answer or breaks the connection. With drip it spreads the body over that time.
func (a answer) write(w http.ResponseWriter, wait func(time.Duration), drip time.Duration) {
	if a.status == 0 {
		breakOff(w)
		return
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if len(a.body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	body := a.body
	if a.truncate {
		body = body[:len(body)/2]
	}
	for piece := range slices.Chunk(body, pieceOf(len(body), drip)) {
		_, _ = w.Write(piece) // the client may be gone
		if drip > 0 {
			_ = http.NewResponseController(w).Flush()
			wait(drip / drops)
		}
	}
	if a.truncate {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // makes net/http close the connection without logging
	}
}

// drops is the approximate number of pieces of a dripping body.
const drops = 16

func pieceOf(n int, drip time.Duration) int {
	if drip == 0 {
		return max(n, 1)
	}
	return n/drops + 1
}

// breakOff resets the connection, so that the client sees an error rather than an end.
func breakOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2 cannot be hijacked
	}
	raw := conn
	if t, ok := conn.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}

// hold delays the request as the faults demand, or until the client is gone.
func (m misfortune) hold(ctx context.Context, latency time.Duration, hang bool, now time.Time) {
	late := latency + m.delay
	switch {
	case !hang && late == 0:
	case !hang:
		pause(ctx, late, nil)
	case m.until.IsZero():
		pause(ctx, forever, m.healed)
	default:
		pause(ctx, m.until.Sub(now), m.healed)
	}
}

const forever = time.Duration(math.MaxInt64)

// pause waits for d, for healed, or for ctx.
func pause(ctx context.Context, d time.Duration, healed <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-healed:
	case <-ctx.Done():
	}
}
