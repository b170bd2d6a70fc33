package host

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestWhatNoHandlerHearsOfIsReported: a proxy that speaks HTTPS to a port that speaks HTTP, or adds headers beyond the limit, left no
// trace in anything that an operator reads. What the handler refuses itself is counted by it.
func TestWhatNoHandlerHearsOfIsReported(t *testing.T) {
	large := "POST / HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("c", maxHeader+headerSlop) + "\r\n\r\n"
	refusedByHandler := fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 40_000, strings.Repeat("x", 40_000))
	for _, c := range []struct {
		name        string
		https, over bool // what the server speaks, and the client
		say         string
		want        string
	}{
		{"too large headers", false, false, large, "431 headers_too_large"},
		{"too large headers in TLS", true, true, large, "431 headers_too_large"},
		{"no request", false, false, "PROXY TCP4 1.2.3.4 1.2.3.4 5 6\r\n\r\n", "400 not_http"},
		{"an expectation", false, false, "POST / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\nx", "417 not_http"},
		{"HTTPS to HTTP", false, true, "", "400 https_to_http"},
		{"HTTP to HTTPS", true, false, "POST / HTTP/1.1\r\nHost: x\r\n\r\n", "400 http_to_https"},
		{"an answer of the handler", false, false, refusedByHandler, ""},
		{"an answer of the handler in TLS", true, true, refusedByHandler, ""},
		{"a connection that only asks whether somebody is there", false, false, "", ""},
		{"the same where TLS is spoken", true, true, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := NewServer(slog.New(slog.DiscardHandler), "test", l, 10, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusUnauthorized)
			}))
			if c.https {
				certs := httptest.NewUnstartedServer(nil)
				certs.StartTLS()
				s.HTTP.TLSConfig = &tls.Config{Certificates: certs.TLS.Certificates}
				certs.Close()
			}
			var mu sync.Mutex
			got := make(map[string]int)
			s.ReportUnread(func(status int, why Unread) {
				mu.Lock()
				defer mu.Unlock()
				got[fmt.Sprintf("%d %s", status, map[Unread]string{NotHTTP: "not_http", HeadersTooLarge: "headers_too_large", HTTPSToHTTP: "https_to_http", HTTPToHTTPS: "http_to_https"}[why])]++
			})
			ended := make(chan error, 1)
			go func() { ended <- s.Run() }()
			tell(t, s.Addr().String(), c.over, c.say)
			if err := s.Stop(time.Minute); err != nil {
				t.Error(err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
			until(t, "the connection is closed", func() bool { open, _ := s.Connections(); return open == 0 })
			want := map[string]int{}
			if c.want != "" {
				want[c.want] = 1
			}
			mu.Lock()
			defer mu.Unlock()
			if !maps.Equal(got, want) {
				t.Errorf("%v is reported, %v should be", got, want)
			}
		})
	}
}

// tell writes to a server, and reads until it ends the connection, or has answered.
func tell(t *testing.T, address string, https bool, say string) {
	t.Helper()
	var c net.Conn
	var err error
	if https {
		c, err = tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	} else {
		c, err = net.Dial("tcp", address)
	}
	if err != nil {
		return // it did not want HTTPS
	}
	defer c.Close()
	if say == "" {
		return
	}
	_, _ = io.WriteString(c, say)
	buf := make([]byte, 4096)
	_, _ = c.Read(buf)
}
