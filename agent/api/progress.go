package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// stallTimeout is how long one piece of an answer may wait for its reader. A backup keeps pages of the state meanwhile.
const stallTimeout = 30 * time.Second

// message is a line of an answer that takes long. The last one has the report or the problem. The answer to a backup is
// its bytes instead, with the report or the problem in a trailer.
type message struct {
	Done    int64           `json:"done"`
	Total   int64           `json:"total"`
	Report  json.RawMessage `json:"report,omitempty"`
	Problem *Problem        `json:"problem,omitempty"`
}

const (
	totalHeader    = "Personasync-Total"
	reportTrailer  = "Personasync-Report"
	problemTrailer = "Personasync-Problem"
	messageEvery   = 100 * time.Millisecond
)

// stream does something long, and streams messages of its progress.
func (f *frame) stream(w http.ResponseWriter, r *http.Request, do func(ctx context.Context, progress func(done, total int64)) (any, error)) {
	out := newPatientWriter(w)
	lines, last := json.NewEncoder(out), time.Time{}
	report, err := do(r.Context(), func(done, total int64) {
		if now := time.Now(); now.Sub(last) > messageEvery {
			last = now
			_ = lines.Encode(message{Done: done, Total: total}) // an error: the client has gone, and r.Context ends
			_ = out.Flush()
		}
	})
	end := message{}
	if err == nil {
		end.Report, err = json.Marshal(report)
	}
	if err != nil {
		p, _ := newProblem(stopped(r.Context(), err))
		if p.Code == "internal" {
			f.log.Error("an order failed", "path", r.URL.Path, "error", err)
		}
		end.Problem = &p
	}
	_ = lines.Encode(end)
}

// patientWriter writes an answer without the server's time limit, as long as its reader keeps up.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func newPatientWriter(w http.ResponseWriter) *patientWriter {
	p := &patientWriter{w, http.NewResponseController(w)}
	_ = p.control.SetReadDeadline(time.Time{}) // the server would take a slow request for lost
	return p
}

// Write implements io.Writer.
func (p *patientWriter) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(stallTimeout))
	return p.ResponseWriter.Write(b)
}

// Flush sends the bytes written so far.
func (p *patientWriter) Flush() error { return p.control.Flush() }

// order posts to path and returns the answer. The caller closes its body.
func (c *Client) order(ctx context.Context, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://personasync"+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set(versionHeader, c.version)
	if body != nil {
		req.Header.Set("Expect", "100-continue") // a list is not sent if the order is refused at once
	}
	v := c.command()
	ctx, end := v.begin(ctx)
	resp, err := c.patient.Do(req.WithContext(ctx))
	if err != nil {
		end()
		return nil, inDoubt(causeOf(ctx, err))
	}
	resp.Body = &watchedBody{resp.Body, ctx, &v.heard, end}
	if resp.StatusCode == http.StatusOK && resp.Header.Get(versionHeader) != "" {
		return resp, nil
	}
	defer resp.Body.Close()
	if err := c.read(resp, nil); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("the agent answered with HTTP %d", resp.StatusCode)
}

// follow gives an order and passes its progress on until the report comes.
func (c *Client) follow(ctx context.Context, path string, body io.Reader, progress func(done, total int64), report any) error {
	resp, err := c.order(ctx, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for lines := bufio.NewReader(resp.Body); ; {
		line, err := lines.ReadBytes('\n')
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, ErrFrozen) {
			return inDoubt(err)
		}
		if err != nil {
			return fmt.Errorf("the agent stopped in the middle of it: %w", err)
		}
		var n message
		switch err := json.Unmarshal(line, &n); {
		case err != nil:
			return fmt.Errorf("read the agent's answer: %w", err)
		case n.Problem != nil:
			return n.Problem.err()
		case n.Report != nil:
			return json.Unmarshal(n.Report, report)
		case progress != nil:
			progress(n.Done, n.Total)
		}
	}
}
