package syncer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"personasync/store"
	"personasync/store/domain"
	"personasync/sync/sandbox"
)

// direct passes requests to a sandbox without a socket, so that fake time applies to both.
type direct struct {
	sandbox *sandbox.Sandbox
	cut     atomic.Bool // the network is down
	tries   atomic.Int64
}

func (d *direct) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	d.tries.Add(1)
	if d.cut.Load() {
		return nil, cut()
	}
	w := httptest.NewRecorder()
	defer func() {
		if broken := recover(); broken == nil {
			return
		} else if err, ok := broken.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
			panic(broken)
		}
		if w.Body.Len() == 0 {
			resp, err = nil, syscall.ECONNRESET
			return
		}
		resp, err = w.Result(), nil
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(w.Body.Bytes()), tornReader{}))
	}()
	d.sandbox.ServeHTTP(w, req)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

type tornReader struct{}

func (tornReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// bounded is an outbox that one sender does not ask for ever in one moment.
type bounded struct {
	Outbox
	moment moment
}

func (b *bounded) Take(ctx context.Context, o domain.TakeOptions) (*domain.Lease, domain.Next, error) {
	b.moment.count()
	return b.Outbox.Take(ctx, o)
}

// station is a store with the senders of both endpoints and a sandbox, in one process and in fake time.
type station struct {
	t        testing.TB
	dir      string
	rules    domain.Rules
	config   Config
	moengage *sandbox.Sandbox
	wire     *direct

	store   *store.Store
	senders []*Sender
	stop    func()
	crash   func() // ends with requests in flight, and restarts
}

func newStation(t testing.TB, rules domain.Rules, so sandbox.Options, c Config) *station {
	so.WorkspaceID, so.APIKey = "WS", "s3cret-key"
	m := sandbox.New(so)
	s := &station{t: t, dir: t.TempDir(), rules: rules, config: c, moengage: m, wire: &direct{sandbox: m}}
	s.config.BaseURL, s.config.WorkspaceID, s.config.APIKey = "http://moengage.invalid", "WS", "s3cret-key"
	s.config.Transport = s.wire
	s.start()
	return s
}

func (s *station) start() {
	s.t.Helper()
	if text, err := os.ReadFile(filepath.Join(s.dir, "running")); err == nil && bytes.Contains(text, []byte("trouble")) {
		s.t.Errorf("the store took for damage what nobody damaged: %s", bytes.TrimSpace(text))
	}
	var err error
	if s.store, err = store.Open(s.dir, store.Options{Log: quiet()}); err != nil {
		s.t.Fatal(err)
	}
	s.must(s.store.SetRules(s.t.Context(), s.rules))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	s.senders = nil
	for _, endpoint := range []domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
		c := s.config
		c.Endpoint = endpoint
		if endpoint == domain.EndpointCohort {
			c.UsersPerMinute, c.EventsPerMinute, c.CallsPerMinute, c.MaxRequestBytes = 0, 0, CohortCallsPerMinute, CohortRequestBytes
		}
		sender := New(c, &bounded{Outbox: s.store}, quiet())
		s.senders = append(s.senders, sender)
		go func() { ended <- sender.Run(ctx) }()
	}
	s.stop = func() {
		cancel()
		s.must(errors.Join(<-ended, <-ended, s.store.Close()))
	}
	s.crash = func() {
		s.must(s.store.Close()) // so that no outcome of a request in flight is written
		for range 2 {
			if err := <-ended; !errors.Is(err, domain.ErrClosed) {
				s.t.Errorf("a sender whose outbox was gone ended with %v", err)
			}
		}
		cancel()
		s.start()
	}
}

func (s *station) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *station) restart() {
	s.t.Helper()
	s.stop()
	s.start()
}

func (s *station) counts() domain.Counts {
	s.t.Helper()
	s.must(s.store.Applied(context.Background()))
	c, err := s.store.Counts()
	s.must(err)
	return c
}

// drain waits, in fake time, until nothing is pending.
func (s *station) drain(most time.Duration) {
	s.t.Helper()
	for end := time.Now().Add(most); s.counts().Changes.Pending > 0; time.Sleep(time.Second) {
		if time.Now().After(end) {
			s.t.Fatalf("not drained within %v: %+v", most, s.counts().Changes)
		}
	}
}

// balanced checks both ledger equations, and the consistency of the store.
func (s *station) balanced() domain.Counts {
	s.t.Helper()
	r, err := s.store.Check(context.Background(), nil)
	s.must(err)
	for _, f := range r.Findings {
		s.t.Errorf("check: %s", f.Message)
	}
	return s.counts()
}
