package socket

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
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

// Stream does something long, and streams messages of its progress.
func (h *Handlers) Stream(w http.ResponseWriter, r *http.Request, do func(ctx context.Context, progress func(done, total int64)) (any, error)) {
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
			h.Log.Error("an order failed", "path", r.URL.Path, "error", err)
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

// StreamFile does something whose answer is bytes of contentType instead, which do writes to out. The total of its progress
// counts until the first byte leaves. The report, or the problem, comes in a trailer.
func (h *Handlers) StreamFile(w http.ResponseWriter, r *http.Request, contentType string, do func(ctx context.Context, out io.Writer, progress func(done, total int64)) (any, error)) {
	w.Header().Set("Trailer", reportTrailer+", "+problemTrailer)
	w.Header().Set("Content-Type", contentType)
	report, err := do(r.Context(), newPatientWriter(w), func(_, total int64) {
		w.Header().Set(totalHeader, strconv.FormatInt(total, 10))
	})
	var text []byte
	if err == nil {
		text, err = json.Marshal(report)
	}
	if err == nil {
		w.Header().Set(reportTrailer, string(text))
		return
	}
	h.Log.Error("upkeep failed", "path", r.URL.Path, "error", err)
	p, _ := newProblem(err)
	if text, err = json.Marshal(p); err == nil {
		w.Header().Set(problemTrailer, string(text))
	}
}
