package agent

import (
	"context"
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
	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
)

// The status page: three files that need nothing else, fed by JSON and a stream of server-sent events.
// It changes nothing, and no user id is in it unless admin.show_users says so.
//
//go:embed page/index.html page/page.css page/page.js page/icon.svg
var pageFiles embed.FS

const (
	// streamEvery is how often an open page is told how things are; a snapshot serves every page of that
	// time.
	streamEvery = 2 * time.Second
	// maxStreams bounds how many pages are open: each is a connection and a goroutine.
	maxStreams = 64

	// pageRows bounds a table of the page.
	pageRows = 100
)

// statusPage serves the status page. Its methods may be called concurrently.
type statusPage struct {
	p       *process
	streams atomic.Int32
	closed  chan struct{} // ends the streams
	once    sync.Once

	mu   sync.Mutex // covers what follows
	last *Snapshot
	text []byte // of last, as JSON
}

func newStatusPage(p *process) *statusPage { return &statusPage{p: p, closed: make(chan struct{})} }

// close ends every stream, so that a stop need not wait for them.
func (s *statusPage) close() { s.once.Do(func() { close(s.closed) }) }

// routes adds the page to admin.listen.
func (s *statusPage) routes(mux *http.ServeMux, answer func(api.Question) http.HandlerFunc) {
	for path, file := range map[string]struct{ name, kind string }{
		"GET /{$}":      {"page/index.html", "text/html; charset=utf-8"},
		"GET /page.css": {"page/page.css", "text/css; charset=utf-8"},
		"GET /page.js":  {"page/page.js", "text/javascript; charset=utf-8"},
		"GET /icon.svg": {"page/icon.svg", "image/svg+xml"},
	} {
		text, err := pageFiles.ReadFile(file.name)
		if err != nil {
			panic(err) // it is embedded
		}
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", file.kind)
			_, _ = w.Write(text) // whoever asked has gone
		})
	}
	mux.HandleFunc("GET /api/page", answer(func(*http.Request) (any, error) { return s.snapshot(time.Now()) }))
	mux.HandleFunc("GET /api/page/series", answer(s.series))
	mux.HandleFunc("GET /api/page/user", answer(s.user))
	mux.HandleFunc("GET /api/page/stream", s.stream)
}

// Snapshot is what the status page shows of this moment.
type Snapshot struct {
	Now       time.Time          `json:"now"`
	ShowUsers bool               `json:"show_users"`
	Status    condition.Status   `json:"status"`
	Verdicts  []Verdict          `json:"verdicts"`
	Forecast  condition.Forecast `json:"forecast"`
	Space     DiskSpace          `json:"space"`

	ReceivedPerMinute  float64 `json:"received_per_minute"`
	DeliveredPerMinute float64 `json:"delivered_per_minute"`
	LatencyP50Ms       float64 `json:"latency_p50_ms"` // of the last minute; 0 without a request
	LatencyP95Ms       float64 `json:"latency_p95_ms"`
	RequestsLastMinute uint64  `json:"requests_last_minute"`
	FailuresLastMinute uint64  `json:"failures_last_minute"`

	Parked       []Cause                  `json:"parked"`
	ParkedMore   int                      `json:"parked_more"` // causes that are left out
	Jobs         []PlannedJob             `json:"jobs"`
	Computations []domain.ComputationInfo `json:"computations"` // those with the most members
	More         int                      `json:"more"`         // computations that are left out
}

// PlannedJob is a scheduled job as the page shows it.
type PlannedJob struct {
	Job     string `json:"job"`
	Spec    string `json:"spec"`
	Running bool   `json:"running"`
	Last    string `json:"last"` // RFC 3339; empty before the first run
	Next    string `json:"next"` // in UTC …
	Local   string `json:"local"`
	Missed  uint64 `json:"missed"`
}

// DiskSpace is what the data takes.
type DiskSpace struct {
	DataBytes    int64 `json:"data_bytes"`
	MaxDataBytes int64 `json:"max_data_bytes"`
	FreeBytes    int64 `json:"free_bytes"`
	ReserveBytes int64 `json:"reserve_bytes"`
}

// snapshot says how things are, at most a second ago.
func (s *statusPage) snapshot(now time.Time) (*Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && now.Sub(s.last.Now) < time.Second && !now.Before(s.last.Now) {
		return s.last, nil
	}
	snap, err := s.look(now)
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
func (s *statusPage) current(now time.Time) ([]byte, error) {
	if _, err := s.snapshot(now); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text, nil
}

func (s *statusPage) look(now time.Time) (*Snapshot, error) {
	c := s.p.config.Load()
	status, err := s.p.inspector().Status(context.Background())
	if err != nil {
		return nil, err
	}
	sample, err := s.p.recorder.now(now)
	if err != nil {
		return nil, err
	}
	list, err := s.p.store.Computations()
	if err != nil {
		return nil, err
	}
	all := len(list)
	list = byMembers(list)
	causes, space := s.p.recorder.parked(), s.p.store.Space()
	hour := append(s.p.recorder.series(now.Add(-time.Hour)), sample)
	snap := &Snapshot{
		Now: now.UTC(), ShowUsers: c.Admin.ShowUsers, Status: status,
		Space:              DiskSpace{space.DataBytes, space.MaxDataBytes, space.FreeBytes, space.FloorBytes},
		Forecast:           forecast(hour, space, min(c.MoEngage.UsersPerMinute, c.MoEngage.EventsPerMinute)),
		ReceivedPerMinute:  perMinute(hour, func(s *store.Sample) uint64 { return s.Received }),
		DeliveredPerMinute: perMinute(hour, func(s *store.Sample) uint64 { return s.Delivered }),
		LatencyP50Ms:       milliseconds(sample.LatencyP50), LatencyP95Ms: milliseconds(sample.LatencyP95),
		RequestsLastMinute: sample.Requests, FailuresLastMinute: sample.Failures,
		Parked: causes[:min(len(causes), pageRows)], ParkedMore: max(len(causes)-pageRows, 0),
		Jobs: plannedJobs(s.p.scheduler.Plan()), Computations: list, More: all - len(list),
	}
	snap.Verdicts = verdicts(&status)
	return snap, nil
}

// series answers with what the charts show of the last seconds: columns, so that a day is small.
func (s *statusPage) series(r *http.Request) (any, error) {
	seconds, err := strconv.Atoi(r.URL.Query().Get("seconds"))
	if err != nil || seconds <= 0 || seconds > int(minutesKept/time.Second) {
		return nil, fmt.Errorf("%w: seconds is a number from 1 to %d", api.ErrUsage, int(minutesKept/time.Second))
	}
	return newSeries(s.p.recorder.series(time.Now().Add(-time.Duration(seconds) * time.Second))), nil
}

// stream tells a page how things are until it goes away or the agent stops.
func (s *statusPage) stream(w http.ResponseWriter, r *http.Request) {
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

// tell writes one event. A reader that takes none for a while is let go.
func (s *statusPage) tell(w http.ResponseWriter, control *http.ResponseController) error {
	text, err := s.current(time.Now())
	if err != nil {
		return err
	}
	if err := control.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := fmt.Fprintf(w, "event: now\ndata: %s\n\n", text); err != nil {
		return err
	}
	return control.Flush()
}
