package ingest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"

	"personasync/agent/segment"
)

// Errors of readBody.
var (
	errBodyTooLarge = errors.New("the body is too large")
	errBodyCutOff   = errors.New("the body ended early")
	errBodyEncoding = errors.New("the body's encoding is not known")
	errBodyNotGzip  = errors.New("the body is not gzip, although its Content-Encoding says so")
	errNoMemory     = errors.New("all requests together are too large")
)

// request is one HTTP request with the memory that it has reserved.
type request struct {
	*http.Request
	memory reservation
}

// readBody reads a body of at most limit bytes. The limit holds for the body as sent and as unzipped, so a small
// body cannot unzip to gigabytes. The result belongs to the caller, so events may point into it.
func readBody(r *request, limit int64) ([]byte, error) {
	body, err := readAtMost(r, r.Body, limit, r.ContentLength)
	if errors.Is(err, errBodyTooLarge) || errors.Is(err, errNoMemory) {
		// If the connection closes while the sender is still writing, the sender sees a reset instead of the
		// answer. It takes that for a network error and retries for hours.
		io.CopyN(io.Discard, r.Body, limit)
		return nil, err
	}
	if err != nil {
		return nil, errBodyCutOff
	}
	switch strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))) {
	case "", "identity":
		return body, nil
	case "gzip", "x-gzip":
		return gunzipBody(r, body, limit)
	}
	return nil, errBodyEncoding
}

// withoutMark removes a leading byte order mark. RFC 8259 lets a reader ignore it, and some senders and proxies put
// one before JSON.
func withoutMark(body []byte) []byte { return bytes.TrimPrefix(body, []byte("\ufeff")) }

// gunzipBody unzips a body. A ratio of four is assumed for the first reservation.
func gunzipBody(r *request, zipped []byte, limit int64) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		return nil, errBodyNotGzip
	}
	body, err := readAtMost(r, z, limit, 4*int64(len(zipped)))
	if err != nil && !errors.Is(err, errBodyTooLarge) && !errors.Is(err, errNoMemory) {
		return nil, errBodyNotGzip
	}
	return body, err
}

// readAtMost reads from to its end, or until there is more than limit. It reserves memory as the bytes arrive. The
// size is a hint from outside, so at most a quarter of a megabyte is reserved because of it.
func readAtMost(r *request, from io.Reader, limit, size int64) ([]byte, error) {
	const believed = 256 << 10
	b, err := r.grown(nil, min(max(size, 0), limit, believed)+bytes.MinRead)
	for err == nil {
		if len(b) == cap(b) {
			b, err = r.grown(b, 2*int64(cap(b)))
			continue
		}
		var n int
		n, err = from.Read(b[len(b):cap(b)])
		if b = b[:len(b)+n]; int64(len(b)) > limit {
			return nil, errBodyTooLarge
		}
	}
	if errors.Is(err, io.EOF) {
		return b, nil
	}
	return nil, err
}

// grown copies b to a slice with a capacity of size bytes.
func (r *request) grown(b []byte, size int64) ([]byte, error) {
	if !r.memory.take(size) {
		return nil, errNoMemory
	}
	larger := append(make([]byte, 0, size), b...)
	r.memory.give(int64(cap(b)))
	return larger, nil
}

// unreadableBody returns the answer to an error of readBody.
func unreadableBody(err error, tooLarge answer) answer {
	switch {
	case errors.Is(err, errNoMemory):
		return crowded
	case errors.Is(err, errBodyTooLarge):
		return tooLarge
	case errors.Is(err, errBodyNotGzip):
		return refuse(http.StatusBadRequest, "invalid_gzip", "The body is not gzip, although its Content-Encoding says so.")
	case errors.Is(err, errBodyEncoding):
		return refuse(http.StatusBadRequest, "unknown_encoding", "The body's Content-Encoding is not supported. Send it plain or as gzip.")
	}
	// The sender did not choose this. Segment and its SDKs retry after 408.
	return answer{status: http.StatusRequestTimeout, code: "incomplete_body", message: "The connection ended before the whole body arrived. Retry."}
}

// spoilt says what a proxy, most probably, did to a body that cannot be what Segment sent; "" if that is not known.
func spoilt(body []byte) string {
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return "The body is empty. If Segment sent one, a proxy on the way has dropped it."
	case bytes.HasPrefix(body, []byte{0x1f, 0x8b}):
		return "The body is gzip, and no Content-Encoding says so. If Segment's request had one, a proxy on the way has removed it."
	}
	return ""
}

// notEvents returns the answer to a body that package segment could not split into events.
func notEvents(body []byte, err error, tooLarge int) answer {
	var notJSON *segment.NotJSON
	switch {
	case errors.As(err, &notJSON):
		return refuse(http.StatusBadRequest, "invalid_json", cmp.Or(spoilt(body), "The body is "+notJSON.Error()+"."))
	case errors.Is(err, segment.ErrTooMany):
		return refuse(tooLarge, "too_many_events", "There are "+err.Error()+". Send fewer at a time.")
	case errors.Is(err, segment.ErrTooLarge):
		return refuse(tooLarge, "batch_too_large", "For one request, "+err.Error()+". Send fewer at a time.")
	}
	return refuse(http.StatusBadRequest, "no_batch", "A batch is an object with the events in its batch array.")
}
