package host

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
)

// Unread is why a request was refused before the handler got it. net/http does that by itself, in plain text.
type Unread int

// The reasons.
const (
	NotHTTP Unread = iota
	HeadersTooLarge
	HTTPSToHTTP // the client speaks HTTPS, and the address HTTP
	HTTPToHTTPS
)

// ReportUnread has report called for each request that was refused before the handler got it, with the status. Of those
// inside TLS only too large headers are noticed. Call it before Run, and after TLSConfig is set.
func (s *Server) ReportUnread(report func(status int, why Unread)) {
	secure := s.HTTP.TLSConfig != nil // net/http sets it, too, once it serves
	s.listener.watch = func(c net.Conn) net.Conn { return &watchedConn{Conn: c, tls: secure, report: report} }
	s.HTTP.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, watchedKey{}, watchedIn(c))
	}
}

type watchedKey struct{}

// watchedConn notices how a connection's requests end that no handler gets.
type watchedConn struct {
	net.Conn
	tls    bool
	report func(status int, why Unread)

	begun bool         // a byte was read; of the one goroutine that reads at a time
	read  atomic.Int64 // bytes since the connection was last idle
	heard atomic.Bool  // the handler has got a request since then
}

// watchedIn returns the connection below TLS; nil if it is not watched.
func watchedIn(c net.Conn) *watchedConn {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	w, _ := c.(*watchedConn)
	return w
}

const (
	tlsHandshake = 0x16 // the first byte of a client that speaks TLS, and of no request
	headerSlop   = 4096 // net/http reads so much more than MaxHeaderBytes

	httpWanted = "HTTP/1.0 400 Bad Request\r\n\r\nThis address speaks HTTP, and the client HTTPS.\n"
)

// Read implements net.Conn. It answers a client that speaks TLS where nobody does at once: net/http would wait for the end
// of a line.
func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	if n > 0 && !c.begun && !c.tls && p[0] == tlsHandshake {
		c.report(http.StatusBadRequest, HTTPSToHTTP)
		_, _ = io.WriteString(c.Conn, httpWanted)
		return 0, io.EOF
	}
	c.begun = c.begun || n > 0
	return n, err
}

// Write implements net.Conn. An answer that is not JSON is one of net/http.
func (c *watchedConn) Write(p []byte) (int, error) {
	if head, _, _ := bytes.Cut(p, []byte("\r\n\r\n")); bytes.HasPrefix(head, []byte("HTTP/1.")) && len(head) >= 12 && !bytes.Contains(head, []byte("application/json")) {
		status, _ := strconv.Atoi(string(head[9:12]))
		switch {
		case c.tls:
			c.report(status, HTTPToHTTPS)
		case status == http.StatusRequestHeaderFieldsTooLarge:
			c.report(status, HeadersTooLarge)
		case status >= 400:
			c.report(status, NotHTTP)
		}
	}
	return c.Conn.Write(p)
}

// idle is called when an answer is complete, with what is left of its request.
func (c *watchedConn) idle() {
	c.read.Store(0)
	c.heard.Store(false)
}

// closed is called once the connection is closed. The answers of net/http inside TLS cannot be seen, but it reads just so
// much of headers that are too large.
func (c *watchedConn) closed() {
	if c.tls && !c.heard.Load() && c.read.Load() >= maxHeader+headerSlop {
		c.report(http.StatusRequestHeaderFieldsTooLarge, HeadersTooLarge)
	}
}
