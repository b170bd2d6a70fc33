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

// Timeouts of every server. A delivery is at most a few megabytes, and Segment gives up after 5 s to 10 s. A request that
// takes minutes is forgotten by its client, or an attack.
const (
	HeaderTimeout = 10 * time.Second // until the headers are there …
	BodyTimeout   = time.Minute      // … and the body, from the first byte on
	AnswerWithin  = 2 * time.Minute  // until the answer is read
	IdleTimeout   = 2 * time.Minute  // until the next request on a connection
	maxHeader     = 16 << 10

	// MaxStreams2 bounds the requests in progress on one connection of HTTP/2.
	MaxStreams2 = 100
)

// Server is an HTTP server with its listener.
type Server struct {
	name     string
	listener *limitListener
	HTTP     *http.Server // its settings may be added to until Run

	draining atomic.Bool
	open     atomic.Int64 // connections
}

// NewServer makes a server for h that keeps at most so many connections open. net/http refuses bytes that are no HTTP
// request by itself, with 400 or 431 in plain text, before a handler could answer in JSON. It logs them at debug, because
// anybody who reaches the port can send them.
func NewServer(log *slog.Logger, name string, l net.Listener, most int, h http.Handler) *Server {
	log = log.With("part", name)
	s := &Server{name: name, listener: newLimitListener(l, most, log)}
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
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Connections counts the open connections, and the slots that they take. The two differ for a moment at most.
func (s *Server) Connections() (open, places int) { return int(s.open.Load()), len(s.listener.slots) }

// Close closes the listener of a server that never ran.
func (s *Server) Close() error { return s.listener.Close() }

// count keeps the number of open connections.
func (s *Server) count(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateIdle:
		if w := watchedIn(c); w != nil {
			w.idle()
		}
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
		s.listener.release()
		if w := watchedIn(c); w != nil {
			w.closed()
		}
	}
}

// lastAnswers makes every answer of a draining server the last one on its connection.
func (s *Server) lastAnswers(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(watchedKey{}).(*watchedConn); ok && c != nil {
			c.heard.Store(true)
		}
		if s.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

const (
	// DrainIdle is how long a drain waits for idle connections. Closing one in the moment in which its client sends a
	// request loses the request. After this silence that is unlikely.
	DrainIdle = 2 * time.Second
	drainPoll = 10 * time.Millisecond
)

// Drain gives an inherited socket back: new connections wait for the next process, and the open ones get an answer to one
// more request, which tells their clients to connect again.
func (s *Server) Drain() {
	s.draining.Store(true)
	_ = s.listener.Close()
	for end := time.Now().Add(DrainIdle); s.open.Load() > 0 && time.Now().Before(end); {
		time.Sleep(drainPoll)
	}
}

// Run serves until Stop.
func (s *Server) Run() error {
	var err error
	if s.HTTP.TLSConfig != nil {
		err = s.HTTP.ServeTLS(s.listener, "", "")
	} else {
		err = s.HTTP.Serve(s.listener)
	}
	if errors.Is(err, http.ErrServerClosed) || s.draining.Load() && errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("serve %s on %s: %w", s.name, s.listener.Addr(), err)
}

// Stop takes no new connection, waits for requests in progress, and cuts them off after patience. A nil server has stopped
// already.
func (s *Server) Stop(patience time.Duration) error {
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer s.listener.Close() // Shutdown knows of it only once it is served
	if err := s.HTTP.Shutdown(ctx); err != nil {
		return s.HTTP.Close()
	}
	return nil
}

// Certificates is a key pair on disk, read again at a reload. Later connections get the new one.
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

// Read returns the key pair in the files of in; nil without TLS, when c is nil.
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
