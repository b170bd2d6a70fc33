package page

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"personasync/agent/api"
)

// pageFiles are the page: they load nothing from elsewhere, and read JSON and a stream of server-sent events.
//
//go:embed index.html page.css page.js charts.js dom.js icon.svg
var pageFiles embed.FS

const (
	// streamEvery is how often an open page receives a snapshot. One snapshot serves every page.
	streamEvery = 2 * time.Second
	// maxStreams bounds the open pages. Each is a connection and a goroutine.
	maxStreams = 64
)

// Page serves the status page. Its methods may be called concurrently.
type Page struct {
	Source
	streams atomic.Int32
	closed  chan struct{} // ends the streams
	once    sync.Once

	mu   sync.Mutex // covers what follows
	last *Snapshot
	text []byte // of last, as JSON
}

// New returns a page that shows what from has. Its caller closes it.
func New(from Source) *Page {
	return &Page{Source: from, closed: make(chan struct{})}
}

// Close ends every stream, so that a stop need not wait for them.
func (s *Page) Close() { s.once.Do(func() { close(s.closed) }) }

// Routes adds the page to admin.listen.
func (s *Page) Routes(mux *http.ServeMux, answer func(api.Question) http.HandlerFunc) {
	for path, file := range map[string]struct{ name, kind string }{
		"GET /{$}":       {"index.html", "text/html; charset=utf-8"},
		"GET /page.css":  {"page.css", "text/css; charset=utf-8"},
		"GET /page.js":   {"page.js", "text/javascript; charset=utf-8"},
		"GET /charts.js": {"charts.js", "text/javascript; charset=utf-8"},
		"GET /dom.js":    {"dom.js", "text/javascript; charset=utf-8"},
		"GET /icon.svg":  {"icon.svg", "image/svg+xml"},
	} {
		text, err := pageFiles.ReadFile(file.name)
		if err != nil {
			panic(err) // it is embedded
		}
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", file.kind)
			_, _ = w.Write(text) // an error: the browser has gone
		})
	}
	mux.HandleFunc("GET /api/page", answer(func(*http.Request) (any, error) { return s.snapshot(time.Now()) }))
	mux.HandleFunc("GET /api/page/series", answer(s.series))
	mux.HandleFunc("GET /api/page/user", answer(s.user))
	mux.HandleFunc("GET /api/page/items", answer(s.items))
	mux.HandleFunc("GET /api/page/stream", s.stream)
}

// snapshot is the state of at most a second ago.
func (s *Page) snapshot(now time.Time) (*Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && now.Sub(s.last.Now) < time.Second && !now.Before(s.last.Now) {
		return s.last, nil
	}
	snap, err := s.read(now)
	if err != nil {
		return nil, err
	}
	if s.text, err = json.Marshal(snap); err != nil {
		return nil, err
	}
	s.last = snap
	return snap, nil
}

// current is the snapshot as JSON.
func (s *Page) current(now time.Time) ([]byte, error) {
	if _, err := s.snapshot(now); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text, nil
}

// series answers with the charts of the last seconds, in columns so that a day is small.
func (s *Page) series(r *http.Request) (any, error) {
	seconds, err := strconv.Atoi(r.URL.Query().Get("seconds"))
	if err != nil || seconds <= 0 || seconds > int(minutesKept/time.Second) {
		return nil, fmt.Errorf("%w: seconds is a number from 1 to %d", api.ErrUsage, int(minutesKept/time.Second))
	}
	return newSeries(s.Recorder.series(time.Now().Add(-time.Duration(seconds) * time.Second))), nil
}

// stream sends snapshots to a page until it is closed or the agent stops.
func (s *Page) stream(w http.ResponseWriter, r *http.Request) {
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		api.WriteProblem(w, http.StatusServiceUnavailable, api.Problem{Code: "busy", Message: "too many status pages are open: close some"})
		return
	}
	defer s.streams.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	tick := time.NewTicker(streamEvery)
	defer tick.Stop()
	for {
		if err := s.tell(w, control); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-s.closed:
			return
		}
	}
}

// tell sends one snapshot. A browser that reads nothing for ten seconds is disconnected.
func (s *Page) tell(w http.ResponseWriter, control *http.ResponseController) error {
	event := "now"
	text, err := s.current(time.Now())
	if err != nil {
		event = "fault" // the agent runs, and its store gives no answer: the condition store_unreadable
		if text, err = json.Marshal(s.unreadable(err)); err != nil {
			return err
		}
	}
	if err := control.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, text); err != nil {
		return err
	}
	return control.Flush()
}
