package sandbox

import (
	"context"
	"crypto/tls"
	"maps"
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

// refuse returns the response to a refused request. titled selects the other form of a refusal, in which the OpenAPI
// file has some statuses of some endpoints.
func refuse(r refusal, requestID string, titled bool) answer {
	a := jsonAnswer(r.status, r.body(requestID))
	a.kind = r.kind
	if titled && (r.status == http.StatusTooManyRequests || r.status >= http.StatusInternalServerError) {
		a.body = r.titledBody()
	}
	return a
}

func acceptedBody(requestID string) []byte {
	return []byte(`{"status":"success","message":"Your request has been accepted and will be processed soon.","request_id":"` + requestID + `"}`)
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
	maps.Copy(w.Header(), a.header)
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
