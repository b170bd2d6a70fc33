package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/agent/ingest"
	"personasync/store/domain"
)

// pipes is a network within the process, for a clock that a test moves.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.once.Do(func() { close(p.done) }); return nil }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// loggedHandler is a handler of deliveries whose inbox keeps nothing, with its log.
type loggedHandler struct {
	*ingest.Handler
	log bytes.Buffer
}

// nowhere is an inbox that keeps nothing.
type nowhere struct{}

func (nowhere) Append(context.Context, ...*domain.Event) error { return nil }
func (nowhere) CountRefusal(domain.Refusal)                    {}

func newLoggedHandler() *loggedHandler {
	w := &loggedHandler{}
	w.Handler = ingest.New(ingest.Config{SharedSecrets: []string{"secret"}, AuthRequired: true}, nowhere{}, slog.New(slog.NewTextHandler(&w.log, nil)))
	return w
}

// connectionsAtIngest serves a handler as the agent does, at most so many connections at a time.
func connectionsAtIngest(t *testing.T, most int, do func(w *loggedHandler, p *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, p := newLoggedHandler(), newPipes()
		s := host.NewServer(slog.New(slog.NewTextHandler(&w.log, nil)), "ingest", p, most, w)
		ended := make(chan error)
		go func() { ended <- s.Run() }()
		do(w, p)
		if err := s.Stop(0); err != nil {
			t.Error(err)
		}
		if err := awaited(t, "the end", ended); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // net/http lingers a moment over a connection that it cuts
		if open, places := s.Connections(); open != 0 || places != 0 {
			t.Errorf("%d connections are left, %d places taken", open, places)
		}
	})
}

// lasts is how long a connection is left open while trickle writes to it, once a second, and nothing
// of the answer is read.
func lasts(p *pipes, first string, trickle string, reads bool) time.Duration {
	c := p.dial()
	defer c.Close()
	began, over := time.Now(), make(chan struct{})
	if reads {
		go func() {
			defer close(over)
			_, _ = io.Copy(io.Discard, c)
		}()
	}
	_, err := io.WriteString(c, first)
	for err == nil && time.Since(began) < time.Hour {
		select {
		case <-over:
			return time.Since(began)
		case <-time.After(time.Second):
		}
		if trickle != "" {
			_, err = io.WriteString(c, trickle)
		}
	}
	return time.Since(began)
}

func TestWhoIsSlowOrSilentIsLetGo(t *testing.T) {
	const head = "POST /segment/webhook HTTP/1.1\r\nHost: agent\r\nX-Signature: 00\r\n"
	for _, c := range []struct {
		name, first, trickle string
		within               time.Duration
	}{
		{"says nothing", "", "", host.HeaderTimeout},
		{"half a line, and nothing more", "POST /segm", "", host.HeaderTimeout},
		{"a header that drips", head + "X-Pad: ", "x", host.HeaderTimeout},
		{"headers that drip", head, "X-Pad: x\r\n", host.HeaderTimeout},
		{"a body that never comes", head + "Content-Length: 100000\r\n\r\n", "", host.BodyTimeout},
		{"a body that drips", head + "Content-Length: 100000\r\n\r\n", " ", host.BodyTimeout},
		{"chunks that drip", head + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", host.BodyTimeout},
		{"an answer, and then nothing", "POST /v1/m HTTP/1.1\r\nHost: agent\r\nContent-Length: 0\r\n\r\n", "", host.IdleTimeout},
		{"an answer, and then a header that drips", "POST /v1/m HTTP/1.1\r\nHost: agent\r\nContent-Length: 0\r\n\r\nPOST /v1/m HTTP/1.1\r\nX-Pad: ", "x", host.HeaderTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			connectionsAtIngest(t, 10, func(_ *loggedHandler, p *pipes) {
				if took := lasts(p, c.first, c.trickle, true); took > c.within+2*time.Second {
					t.Errorf("was left open for %s, not %s", took, c.within)
				}
			})
		})
	}
	t.Run("takes no answer", func(t *testing.T) {
		connectionsAtIngest(t, 10, func(_ *loggedHandler, p *pipes) {
			ask := strings.Repeat("POST /v1/m HTTP/1.1\r\nHost: agent\r\nContent-Length: 0\r\n\r\n", 2)
			if took := lasts(p, ask, "POST", false); took > host.AnswerWithin+2*time.Second {
				t.Errorf("was waited for for %s, not %s", took, host.AnswerWithin)
			}
		})
	})
}

// TestManyConnectionsLeaveRoomForFiles: a client that connects beyond the limit waits, and is served once
// somebody was let go for being silent.
func TestManyConnectionsLeaveRoomForFiles(t *testing.T) {
	connectionsAtIngest(t, 3, func(w *loggedHandler, p *pipes) {
		for range 3 {
			go lasts(p, "POST", "", true)
		}
		synctest.Wait()
		late := p.dialLate()
		began := time.Now()
		_, _ = io.WriteString(<-late, "POST /v1/m HTTP/1.1\r\nHost: agent\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		if took := time.Since(began); took == 0 || took > host.HeaderTimeout+time.Second {
			t.Errorf("waited %s", took)
		}
		if !strings.Contains(w.log.String(), "connections=3") {
			t.Errorf("the operator is not told: %s", &w.log)
		}
	})
}

func (p *pipes) dialLate() <-chan net.Conn {
	c := make(chan net.Conn, 1)
	go func() { c <- p.dial() }()
	return c
}

func TestHeadersBeyondTheLimitAreRefused(t *testing.T) {
	connectionsAtIngest(t, 10, func(_ *loggedHandler, p *pipes) {
		c := p.dial()
		defer c.Close()
		go func() {
			_, _ = io.WriteString(c, "POST /v1/m HTTP/1.1\r\nHost: agent\r\n")
			for range 1 << 20 {
				if _, err := fmt.Fprintf(c, "X-Pad: %s\r\n", strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("answered %s", resp.Status)
		}
	})
}

// TestOneConnectionHasSoManyRequests: on HTTP/2 one connection would bring as many as it likes.
func TestOneConnectionHasSoManyRequests(t *testing.T) {
	t.Parallel() // it waits
	cert, key, trust := selfSigned(t)
	pair, err := host.NewCertificates(&config.Ingest{TLSCert: cert, TLSKey: key})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := newLoggedHandler()
	var requests atomic.Int64 // under way
	s := host.NewServer(slog.New(slog.DiscardHandler), "ingest", l, 2, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		defer requests.Add(-1)
		w.ServeHTTP(rw, r)
	}))
	s.HTTP.TLSConfig = pair.Config()
	ended := make(chan error)
	go func() { ended <- s.Run() }()

	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: true, MaxConnsPerHost: 1,
		HTTP2: &http.HTTP2Config{StrictMaxConcurrentRequests: true}} // or it opened another connection
	ctx, cancel := context.WithCancel(t.Context())
	var asked sync.WaitGroup
	for range 2 * host.MaxStreams2 {
		body, never := io.Pipe()
		defer never.Close()
		asked.Go(func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+l.Addr().String()+"/segment/webhook", body)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("X-Signature", "00")
			if resp, err := transport.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		})
	}
	for deadline := time.Now().Add(time.Minute); requests.Load() == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond) // all would be here by now; those beyond were refused
	conns, _ := s.Connections()
	if n := requests.Load(); n > host.MaxStreams2 || n == 0 || conns != 1 {
		t.Errorf("%d requests are under way on %d connections, not up to %d on one", n, conns, host.MaxStreams2)
	}
	cancel()
	asked.Wait()
	transport.CloseIdleConnections()
	if err := s.Stop(time.Second); err != nil {
		t.Error(err)
	}
	if err := awaited(t, "the end", ended); err != nil {
		t.Error(err)
	}
	taken := func() int { _, places := s.Connections(); return places }
	for deadline := time.Now().Add(time.Minute); taken() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := taken(); n != 0 {
		t.Errorf("%d places are taken for ever", n)
	}
}
