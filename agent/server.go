package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"personasync/agent/config"
)

// Timeouts of every server. A delivery is at most a few megabytes, and Segment gives up after 5 s to
// 10 s; what takes minutes is a connection that somebody forgot or means to wear us out with.
const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = time.Minute
	answerWithin  = 2 * time.Minute
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10

	// maxStreams2 bounds the requests under way on one connection of HTTP/2.
	maxStreams2 = 100
)

// server is an HTTP server with its listener.
type server struct {
	name     string
	listener *gate
	http     *http.Server

	draining atomic.Bool
	open     atomic.Int64 // connections
}

// newServer makes a server for h, which keeps at most so many connections open. What is no HTTP request
// net/http refuses by itself, with 400 or 431 in plain text, before a handler could answer in JSON; it says
// so in the log, at debug, because anybody who reaches the port can make it.
func newServer(log *slog.Logger, name string, l net.Listener, most int, h http.Handler) *server {
	log = log.With("part", name)
	s := &server{name: name, listener: newGate(l, most, log)}
	s.http = &http.Server{
		Handler:           s.lastAnswers(h),
		ConnState:         s.count,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      answerWithin,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,

		DisableGeneralOptionsHandler: true, // net/http would answer OPTIONS * itself, and not in JSON
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: maxStreams2},
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// Addr is where the server is reached.
func (s *server) Addr() net.Addr { return s.listener.Addr() }

// Connections counts the open connections, and the places that they take of those there are: the same but for
// a moment.
func (s *server) Connections() (open, places int) { return int(s.open.Load()), len(s.listener.places) }

// Close lets go of the address of a server that never ran.
func (s *server) Close() error { return s.listener.Close() }

// count keeps the number of open connections.
func (s *server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
		s.listener.leave()
	}
}

// lastAnswers has every answer of a server that is draining be the last one on its connection.
func (s *server) lastAnswers(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

const (
	// drainIdle is how long a drain waits for connections that nobody uses. Closing one in the very
	// moment in which its owner sends a request loses the request; after this silence that is unlikely.
	drainIdle = 2 * time.Second
	drainPoll = 10 * time.Millisecond
)

// drain gives an inherited socket back: new connections are left to whoever has it next, and the open
// ones get an answer to one more request, which tells their owners to connect again.
func (s *server) drain() {
	s.draining.Store(true)
	_ = s.listener.Close()
	for end := time.Now().Add(drainIdle); s.open.Load() > 0 && time.Now().Before(end); {
		time.Sleep(drainPoll)
	}
}

// run serves until stop.
func (s *server) run() error {
	var err error
	if s.http.TLSConfig != nil {
		err = s.http.ServeTLS(s.listener, "", "")
	} else {
		err = s.http.Serve(s.listener)
	}
	if errors.Is(err, http.ErrServerClosed) || s.draining.Load() && errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("serve %s on %s: %w", s.name, s.listener.Addr(), err)
}

// stop takes no new connection, waits for the requests under way at most for patience, then cuts
// them. A nil server has stopped already.
func (s *server) stop(patience time.Duration) error {
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer s.listener.Close() // Shutdown knows of it only once it is served
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

// certificates is a key pair on disk, read again on a reload: connections from then on get the new one.
type certificates struct {
	current atomic.Pointer[tls.Certificate]
}

func newCertificates(in *config.Ingest) (*certificates, error) {
	c := new(certificates)
	pair, err := c.read(in)
	if err != nil {
		return nil, err
	}
	c.use(pair)
	return c, nil
}

// read returns what the files of in hold now; without TLS, on a nil c, there is nothing to read.
func (c *certificates) read(in *config.Ingest) (*tls.Certificate, error) {
	if c == nil {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(in.TLSCert, in.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("read ingest.tls_cert and ingest.tls_key: %w", err)
	}
	return &pair, nil
}

// use presents pair from now on.
func (c *certificates) use(pair *tls.Certificate) {
	if c != nil {
		c.current.Store(pair)
	}
}

func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}
