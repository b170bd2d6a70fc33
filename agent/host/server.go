package host

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
	HeaderTimeout = 10 * time.Second // until the headers are there …
	BodyTimeout   = time.Minute      // … and the body, from the first byte on
	AnswerWithin  = 2 * time.Minute  // until the answer was taken
	IdleTimeout   = 2 * time.Minute  // until the next request on a connection
	maxHeader     = 16 << 10

	// MaxStreams2 bounds the requests under way on one connection of HTTP/2.
	MaxStreams2 = 100
)

// Server is an HTTP server with its listener.
type Server struct {
	name string
	gate *gate
	HTTP *http.Server // its settings may be added to until Run

	draining atomic.Bool
	open     atomic.Int64 // connections
}

// NewServer makes a server for h, which keeps at most so many connections open. What is no HTTP request
// net/http refuses by itself, with 400 or 431 in plain text, before a handler could answer in JSON; it says
// so in the log, at debug, because anybody who reaches the port can make it.
func NewServer(log *slog.Logger, name string, l net.Listener, most int, h http.Handler) *Server {
	log = log.With("part", name)
	s := &Server{name: name, gate: newGate(l, most, log)}
	s.HTTP = &http.Server{
		Handler:           s.lastAnswers(h),
		ConnState:         s.count,
		ReadHeaderTimeout: HeaderTimeout,
		ReadTimeout:       BodyTimeout,
		WriteTimeout:      AnswerWithin,
		IdleTimeout:       IdleTimeout,
		MaxHeaderBytes:    maxHeader,

		DisableGeneralOptionsHandler: true, // net/http would answer OPTIONS * itself, and not in JSON
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: MaxStreams2},
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// Addr is where the server is reached.
func (s *Server) Addr() net.Addr { return s.gate.Addr() }

// Connections counts the open connections, and the places that they take of those there are: the same but for
// a moment.
func (s *Server) Connections() (open, places int) { return int(s.open.Load()), len(s.gate.places) }

// Close lets go of the address of a server that never ran.
func (s *Server) Close() error { return s.gate.Close() }

// count keeps the number of open connections.
func (s *Server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
		s.gate.leave()
	}
}

// lastAnswers has every answer of a server that is draining be the last one on its connection.
func (s *Server) lastAnswers(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

const (
	// DrainIdle is how long a drain waits for connections that nobody uses. Closing one in the very
	// moment in which its owner sends a request loses the request; after this silence that is unlikely.
	DrainIdle = 2 * time.Second
	drainPoll = 10 * time.Millisecond
)

// Drain gives an inherited socket back: new connections are left to whoever has it next, and the open
// ones get an answer to one more request, which tells their owners to connect again.
func (s *Server) Drain() {
	s.draining.Store(true)
	_ = s.gate.Close()
	for end := time.Now().Add(DrainIdle); s.open.Load() > 0 && time.Now().Before(end); {
		time.Sleep(drainPoll)
	}
}

// Run serves until Stop.
func (s *Server) Run() error {
	var err error
	if s.HTTP.TLSConfig != nil {
		err = s.HTTP.ServeTLS(s.gate, "", "")
	} else {
		err = s.HTTP.Serve(s.gate)
	}
	if errors.Is(err, http.ErrServerClosed) || s.draining.Load() && errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("serve %s on %s: %w", s.name, s.gate.Addr(), err)
}

// Stop takes no new connection, waits for the requests under way at most for patience, then cuts
// them. A nil server has stopped already.
func (s *Server) Stop(patience time.Duration) error {
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer s.gate.Close() // Shutdown knows of it only once it is served
	if err := s.HTTP.Shutdown(ctx); err != nil {
		return s.HTTP.Close()
	}
	return nil
}

// Certificates is a key pair on disk, read again on a reload: connections from then on get the new one.
type Certificates struct {
	current atomic.Pointer[tls.Certificate]
}

// NewCertificates reads the key pair that in names.
func NewCertificates(in *config.Ingest) (*Certificates, error) {
	c := new(Certificates)
	pair, err := c.Read(in)
	if err != nil {
		return nil, err
	}
	c.Use(pair)
	return c, nil
}

// Read returns what the files of in hold now; without TLS, on a nil c, there is nothing to read.
func (c *Certificates) Read(in *config.Ingest) (*tls.Certificate, error) {
	if c == nil {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(in.TLSCert, in.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("read ingest.tls_cert and ingest.tls_key: %w", err)
	}
	return &pair, nil
}

// Use presents pair from now on.
func (c *Certificates) Use(pair *tls.Certificate) {
	if c != nil {
		c.current.Store(pair)
	}
}

// Config presents the key pair that is in use at each handshake.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}
