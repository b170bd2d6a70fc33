package agent

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
)

// Errors of readDoorBody.
var (
	errBodyTooLarge = errors.New("the body is too large")
	errBodyCutOff   = errors.New("the body ended early")
	errBodyEncoding = errors.New("the body's encoding is not known")
	errBodyNotGzip  = errors.New("the body is not gzip, though its Content-Encoding says so")
)

// readDoorBody reads a body of at most limit bytes, as sent and after unzipping: a small body that
// unzips to gigabytes is read no further than one that is as large itself. The memory is the caller's
// own, so events may keep pointing into it.
func readDoorBody(r *http.Request, limit int64) ([]byte, error) {
	body, err := readAtMost(r.Body, limit, r.ContentLength)
	if errors.Is(err, errBodyTooLarge) {
		// A sender that is still writing when the connection closes sees a reset instead of the answer,
		// and takes it for a network error that is worth hours of retries.
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
		return gunzipBody(body, limit)
	}
	return nil, errBodyEncoding
}

func gunzipBody(zipped []byte, limit int64) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		return nil, errBodyNotGzip
	}
	body, err := readAtMost(z, limit, 4*int64(len(zipped)))
	if err != nil && !errors.Is(err, errBodyTooLarge) {
		return nil, errBodyNotGzip
	}
	return body, err
}

// readAtMost reads r to its end, or until there is more than limit. The size is a hint from outside: it
// is believed for a quarter of a megabyte.
func readAtMost(r io.Reader, limit, size int64) ([]byte, error) {
	const believed = 256 << 10
	size = min(max(size, 0), limit, believed)
	var b bytes.Buffer
	b.Grow(int(size) + bytes.MinRead)
	n, err := b.ReadFrom(io.LimitReader(r, limit+1))
	if n > limit {
		return nil, errBodyTooLarge
	}
	return b.Bytes(), err
}

// unreadableBody answers for an error of readDoorBody.
func unreadableBody(err error, tooLarge doorAnswer) doorAnswer {
	switch {
	case errors.Is(err, errBodyTooLarge):
		return tooLarge
	case errors.Is(err, errBodyNotGzip):
		return doorRefusal(http.StatusBadRequest, "invalid_gzip", "The body is not what gzip makes, though its Content-Encoding says so.")
	case errors.Is(err, errBodyEncoding):
		return doorRefusal(http.StatusBadRequest, "unknown_encoding", "The body's Content-Encoding is not known here. Send it plain or as gzip.")
	}
	// Not the sender's choice, and worth another try: 408 is retried by Segment and by its SDKs.
	return doorAnswer{status: http.StatusRequestTimeout, code: "incomplete_body", message: "The connection ended before the whole body was here. Send it again."}
}
