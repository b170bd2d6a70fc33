package ingest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
)

// Errors of readBody.
var (
	errBodyTooLarge = errors.New("the body is too large")
	errBodyCutOff   = errors.New("the body ended early")
	errBodyEncoding = errors.New("the body's encoding is not known")
	errBodyNotGzip  = errors.New("the body is not gzip, though its Content-Encoding says so")
	errNoRoom       = errors.New("too much is being received")
)

// readBody reads a body of at most limit bytes, as sent and after unzipping: a small body that
// unzips to gigabytes is read no further than one that is as large itself. The memory is the caller's
// own, so events may keep pointing into it.
func readBody(k *knock, limit int64) ([]byte, error) {
	body, err := readAtMost(k, k.Body, limit, k.ContentLength)
	if errors.Is(err, errBodyTooLarge) || errors.Is(err, errNoRoom) {
		// A sender that is still writing when the connection closes sees a reset instead of the answer,
		// and takes it for a network error that is worth hours of retries.
		io.CopyN(io.Discard, k.Body, limit)
		return nil, err
	}
	if err != nil {
		return nil, errBodyCutOff
	}
	switch strings.ToLower(strings.TrimSpace(k.Header.Get("Content-Encoding"))) {
	case "", "identity":
		return body, nil
	case "gzip", "x-gzip":
		return gunzipBody(k, body, limit)
	}
	return nil, errBodyEncoding
}

// withoutMark cuts a byte order mark off a body. RFC 8259 lets a reader ignore one, and some senders and
// proxies put it before JSON.
func withoutMark(body []byte) []byte { return bytes.TrimPrefix(body, []byte("\ufeff")) }

func gunzipBody(k *knock, zipped []byte, limit int64) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		return nil, errBodyNotGzip
	}
	body, err := readAtMost(k, z, limit, 4*int64(len(zipped)))
	if err != nil && !errors.Is(err, errBodyTooLarge) && !errors.Is(err, errNoRoom) {
		return nil, errBodyNotGzip
	}
	return body, err
}

// readAtMost reads r to its end, or until there is more than limit. The size is a hint from outside: it
// is believed for a quarter of a megabyte. Room is claimed as the body comes.
func readAtMost(k *knock, r io.Reader, limit, size int64) ([]byte, error) {
	const believed = 256 << 10
	b, err := k.grown(nil, min(max(size, 0), limit, believed)+bytes.MinRead)
	for err == nil {
		if len(b) == cap(b) {
			b, err = k.grown(b, 2*int64(cap(b)))
			continue
		}
		var n int
		n, err = r.Read(b[len(b):cap(b)])
		if b = b[:len(b)+n]; int64(len(b)) > limit {
			return nil, errBodyTooLarge
		}
	}
	if errors.Is(err, io.EOF) {
		return b, nil
	}
	return nil, err
}

// grown moves b to where there is room for size bytes.
func (k *knock) grown(b []byte, size int64) ([]byte, error) {
	if !k.claim.take(size) {
		return nil, errNoRoom
	}
	larger := append(make([]byte, 0, size), b...)
	k.claim.give(int64(cap(b)))
	return larger, nil
}

// unreadableBody answers for an error of readBody.
func unreadableBody(err error, tooLarge answer) answer {
	switch {
	case errors.Is(err, errNoRoom):
		return crowded
	case errors.Is(err, errBodyTooLarge):
		return tooLarge
	case errors.Is(err, errBodyNotGzip):
		return refuse(http.StatusBadRequest, "invalid_gzip", "The body is not what gzip makes, though its Content-Encoding says so.")
	case errors.Is(err, errBodyEncoding):
		return refuse(http.StatusBadRequest, "unknown_encoding", "The body's Content-Encoding is not known here. Send it plain or as gzip.")
	}
	// Not the sender's choice, and worth another try: 408 is retried by Segment and by its SDKs.
	return answer{status: http.StatusRequestTimeout, code: "incomplete_body", message: "The connection ended before the whole body was here. Send it again."}
}
