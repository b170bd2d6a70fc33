package preview

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"regexp"
	"slices"
	"strings"
	"sync"

	"personasync/agent/api"
	"personasync/agent/ingest"
	"personasync/agent/segment"
)

var (
	requestLine = pattern(`^[A-Z]+ \S+ HTTP/\d`)
	httpVersion = pattern(`^([A-Z]+ \S+) HTTP/[\d.]+`)
	emptyLine   = pattern(`\r?\n\r?\n`)
	headerLine  = pattern(`(?i)^(host|content-type|content-length|user-agent|x-signature|authorization|accept|connection): `)
)

// delivery is a body and the way in which it is posted.
type delivery struct {
	method, path string
	header       http.Header
	body         []byte
}

// readDelivery finds out what the query's body is: a body, or a whole request as a proxy or a bin of webhooks shows it.
func readDelivery(q api.PreviewQuery) (d delivery, err error) {
	text := bytes.TrimLeft(q.Body, " \t\r\n\ufeff")
	d = delivery{method: http.MethodPost, header: http.Header{"Content-Type": {"application/json"}}, body: q.Body}
	switch {
	case len(text) == 0:
		return d, fmt.Errorf("%w: there is nothing to preview: the delivery is empty", api.ErrUsage)
	case requestLine().Match(text):
		if d, err = readRequest(text); err != nil {
			return d, err
		}
	case headerLine().Match(text):
		return d, fmt.Errorf("%w: this begins with headers and has no request line: give the body alone, or add a first line such as POST %s HTTP/1.1", api.ErrUsage, ingest.PathWebhook)
	}
	if q.Path != "" {
		d.path = q.Path
	}
	if d.path == "" {
		d.path = pathOf(d.body)
	}
	if !strings.HasPrefix(d.path, "/") {
		return d, fmt.Errorf("%w: the path %q does not begin with a slash: events are posted to %s, or to a route of the Tracking API such as /v1/track", api.ErrUsage, d.path, ingest.PathWebhook)
	}
	return d, nil
}

// readRequest reads a request that was captured. Its credentials are left out, because they are not checked.
func readRequest(text []byte) (d delivery, err error) {
	wrong := func(what string) (delivery, error) {
		return d, fmt.Errorf("%w: this looks like an HTTP request, and %s: give the body alone", api.ErrUsage, what)
	}
	head, body, found := cutHead(text)
	if !found {
		return wrong("has no body")
	}
	head = httpVersion().ReplaceAll(head, []byte("$1 HTTP/1.1")) // bins of webhooks also write HTTP/2
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return wrong("cannot be read as one (" + err.Error() + ")")
	}
	_ = r.Body.Close()
	if len(r.TransferEncoding) > 0 && len(body) > 0 && body[0] != '{' && body[0] != '[' {
		if body, err = io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(body))); err != nil {
			return wrong("its chunks are not whole")
		}
	}
	if n := r.ContentLength; n > int64(len(body)) {
		return wrong(fmt.Sprintf("has only %d of its %d bytes", len(body), n))
	} else if r.Header.Get("Content-Length") != "" && n >= 0 {
		body = body[:n]
	}
	for _, name := range []string{"Authorization", "X-Signature", "Content-Length"} {
		r.Header.Del(name)
	}
	return delivery{method: r.Method, path: r.URL.Path, header: r.Header, body: body}, nil
}

// cutHead cuts a request behind its headers. They end with the first empty line, whichever line ends it has; the body is
// left as it is, because a gzipped one has any bytes.
func cutHead(text []byte) (head, body []byte, found bool) {
	end := emptyLine().FindIndex(text)
	if end == nil {
		return nil, nil, false
	}
	return slices.Concat(text[:end[0]], []byte("\r\n\r\n")), text[end[1]:], true
}

// pathOf is the path that a body looks made for. A single call has no mark: events of a webhook have a writeKey, too.
func pathOf(body []byte) string {
	if _, err := segment.ParseBatch(body); err == nil {
		return "/v1/batch"
	}
	return ingest.PathWebhook
}

// secret stands for the credentials, which Segment has and a person who tries something has not.
const secret = "preview"

// request signs the delivery as Segment does: of an array the first event alone.
func (d *delivery) request() (*http.Request, error) {
	r, err := http.NewRequest(d.method, "http://preview"+d.path, bytes.NewReader(d.body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", api.ErrUsage, err)
	}
	maps.Copy(r.Header, d.header)
	signed := bytes.TrimPrefix(d.unzipped(), []byte("\ufeff"))
	if first := segment.FirstElement(signed); first != nil {
		signed = first
	}
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write(signed)
	r.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	if d.path == ingest.PathWebhook {
		r.Header.Set("Authorization", "Bearer "+secret)
	} else {
		r.SetBasicAuth(secret, "")
	}
	return r, nil
}

// unzipped is the body that a signature is about. A body that cannot be unzipped is left to ingest to refuse.
func (d *delivery) unzipped() []byte {
	if d.header.Get("Content-Encoding") != "gzip" {
		return d.body
	}
	z, err := gzip.NewReader(bytes.NewReader(d.body))
	if err != nil {
		return d.body
	}
	plain, err := io.ReadAll(io.LimitReader(z, api.MaxPreviewBytes))
	if err != nil {
		return d.body
	}
	return plain
}

// advice says what a body that is not JSON looks like, and what to do with it.
func advice(body []byte) string {
	text := strings.TrimSpace(strings.TrimPrefix(string(body[:min(len(body), 64<<10)]), "\ufeff"))
	first, rest, _ := strings.Cut(text, "\n")
	first, rest = strings.TrimSpace(first), strings.TrimSpace(rest)
	fields, err := csv.NewReader(strings.NewReader(first)).Read()
	switch {
	case json.Valid([]byte(first)) && strings.HasPrefix(first, "{") && strings.HasPrefix(rest, "{"):
		return "It has one event on each line. One delivery is one event, or an array: `jq -s . FILE` makes an array of the lines."
	case strings.HasPrefix(text, "{") && !json.Valid([]byte(text)) && strings.Contains(text, "}\n{"):
		return "It has one event after the other. One delivery is one event, or an array: `jq -s . FILE` makes an array of them."
	case strings.HasPrefix(text, "curl "):
		return "This is a command: give the body that stands behind its -d."
	case strings.HasPrefix(text, "<"):
		return "This is HTML or XML: give the JSON that Segment posts."
	case !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "[") && (err == nil && len(fields) > 1 || !strings.ContainsAny(first, "{[\"")):
		return "This looks like a list of members and not like an event: `personasync audience import KEY FILE --dry-run` shows what a list would change."
	}
	return "Give what Segment posts: a JSON object, or an array of them."
}

// pattern returns a regular expression that is compiled when it is first used. Most commands use none, and to compile those of
// all packages takes 0.7 ms of every start.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
