package syncer

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// serve starts a MoEngage on a real socket and returns a client for it.
func serve(t *testing.T, h http.HandlerFunc) *client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return clientOf(t, server.URL, 5*time.Second)
}

func clientOf(t *testing.T, url string, timeout time.Duration) *client {
	t.Helper()
	transport := newTransport()
	t.Cleanup(transport.CloseIdleConnections)
	return newClient(Config{BaseURL: url, WorkspaceID: "WS/1", APIKey: "s3cret-key", Timeout: timeout}, transport)
}

func TestARequestBearsWhatMoEngageAsksFor(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, key, _ := r.BasicAuth()
		for what, pair := range map[string][2]string{
			"method":       {r.Method, "POST"},
			"path":         {r.URL.EscapedPath(), "/v1/transition/WS%2F1"},
			"user":         {user, "WS/1"},
			"key":          {key, "s3cret-key"},
			"MOE-APPKEY":   {r.Header.Get("MOE-APPKEY"), "WS/1"},
			"content type": {r.Header.Get("Content-Type"), "application/json"},
			"encoding":     {r.Header.Get("Accept-Encoding"), ""},
			"body":         {string(body), "{}"},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s is %q, want %q", what, pair[0], pair[1])
			}
		}
		io.WriteString(w, `{"status":"success","request_id":"R1"}`)
	})
	a := c.post(t.Context(), []byte("{}"))
	if a.act != actAccept || a.requestID != "R1" || a.status != 200 || a.at.IsZero() {
		t.Errorf("answer %+v", a)
	}
}

// TestARequestThatIsNotAllowedDoesNotLeave: the agent's term is over by its clock, and nobody has told it yet.
func TestARequestThatIsNotAllowedDoesNotLeave(t *testing.T) {
	asked, came := 0, 0
	c := serve(t, func(http.ResponseWriter, *http.Request) { came++ })
	c.allowed = func() error { asked++; return ErrTakenOver }
	if a := c.post(t.Context(), []byte("{}")); a.act == actAccept || came != 0 || asked != 1 {
		t.Errorf("%d requests came, asked %d times: %+v", came, asked, a)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	followed := false
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			followed = true
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	if a := c.post(t.Context(), []byte("{}")); a.Code != codeRedirected || followed {
		t.Errorf("answer %s, followed %v", a.Code, followed)
	}
}

func TestAHugeAnswerIsReadInPart(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(502)
		chunk := strings.Repeat("x", 1<<20)
		for range 20 {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
	})
	if a := c.post(t.Context(), []byte("{}")); a.Code != "http_502" || len(a.body) != keepBody {
		t.Errorf("answer %s with %d bytes kept", a.Code, len(a.body))
	}
}

func TestOurSecretsAreNotKept(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, key, _ := r.BasicAuth()
		w.WriteHeader(401)
		// The key crosses the boundary of the stored part.
		io.WriteString(w, `{"status":"fail","error":{"type":"x","message":"`+r.Header.Get("Authorization")+`"},"pad":"`+strings.Repeat("p", keepBody-130)+key+`"}`)
	})
	a := c.post(t.Context(), []byte("{}"))
	for _, kept := range []string{a.body, a.message, a.sentence()} {
		if strings.Contains(kept, "s3cret") || strings.Contains(kept, "V1MvMTpzM2NyZXQta2V5") {
			t.Errorf("kept %q", kept)
		}
	}
}

func TestConnectionsThatBreak(t *testing.T) {
	hijack := func(w http.ResponseWriter) net.Conn {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
		}
		conn.(*net.TCPConn).SetLinger(0) // makes close send a reset
		return conn
	}
	tests := map[string]struct {
		handle http.HandlerFunc
		code   string
	}{
		"before an answer": {func(w http.ResponseWriter, r *http.Request) { hijack(w).Close() }, codeLost},
		"within an accepting answer": {func(w http.ResponseWriter, r *http.Request) {
			conn := hijack(w)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"status\":\"succ")
			conn.Close()
		}, codeLost},
		"within a refusing answer": {func(w http.ResponseWriter, r *http.Request) {
			conn := hijack(w)
			io.WriteString(conn, "HTTP/1.1 503 Unavailable\r\nContent-Length: 500\r\n\r\nbusy")
			conn.Close()
		}, "http_503"},
		"with nonsense": {func(w http.ResponseWriter, r *http.Request) {
			conn := hijack(w)
			io.WriteString(conn, "SSH-2.0-OpenSSH_9.2\r\n")
			conn.Close()
		}, codeLost},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				tt.handle(w, r)
			})
			if a := c.post(t.Context(), []byte("{}")); a.Code != tt.code {
				t.Errorf("answer %s (%s), want %s", a.Code, a.message, tt.code)
			}
		})
	}
}

func TestAnswersThatDoNotCome(t *testing.T) {
	for name, begin := range map[string]func(http.ResponseWriter){
		"at all": func(http.ResponseWriter) {},
		"to an end": func(w http.ResponseWriter) {
			io.WriteString(w, `{"status":`)
			w.(http.Flusher).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				begin(w)
				<-release
			}))
			defer server.Close()
			defer close(release)
			if a := clientOf(t, server.URL, 500*time.Millisecond).post(t.Context(), []byte("{}")); a.Code != codeTimeout {
				t.Errorf("answer %s (%s)", a.Code, a.message)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	a := clientOf(t, "http://"+l.Addr().String(), 5*time.Second).post(t.Context(), []byte("{}"))
	if a.Code != codeUnreachable || a.mayHaveLeft() {
		t.Errorf("answer %s (%s)", a.Code, a.message)
	}
}

func TestTLSThatIsNotTrusted(t *testing.T) {
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") })
	unknown := httptest.NewUnstartedServer(h)
	unknown.Config.ErrorLog = discardLog()
	unknown.StartTLS()
	defer unknown.Close()
	old := httptest.NewUnstartedServer(h)
	old.Config.ErrorLog = discardLog()
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.StartTLS()
	defer old.Close()
	plain := httptest.NewServer(h)
	defer plain.Close()
	for name, url := range map[string]string{
		"unknown authority": unknown.URL,
		"TLS 1.1":           old.URL,
		"no TLS":            strings.Replace(plain.URL, "http:", "https:", 1),
	} {
		if a := clientOf(t, url, 5*time.Second).post(t.Context(), []byte("{}")); a.Code != codeTLS {
			t.Errorf("%s: answer %s (%s)", name, a.Code, a.message)
		}
	}
}

func TestANameThatDoesNotResolve(t *testing.T) {
	transport := newTransport()
	transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, noSuchHost() }
	c := newClient(Config{BaseURL: "https://moengage.test", Timeout: time.Second}, transport)
	if a := c.post(t.Context(), []byte("{}")); a.Code != codeDNS {
		t.Errorf("answer %s (%s)", a.Code, a.message)
	}
}

func TestABaseURLThatIsNone(t *testing.T) {
	c := newClient(Config{BaseURL: "://", Timeout: time.Second}, newTransport())
	if a := c.post(t.Context(), []byte("{}")); a.Code != codeUnreachable {
		t.Errorf("answer %s (%s)", a.Code, a.message)
	}
}

// A connection is reused after a refusal with a body. Otherwise every attempt in an outage would need a
// handshake.
func TestConnectionsAreUsedAgain(t *testing.T) {
	opened := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(503)
		io.WriteString(w, strings.Repeat("busy", 20<<10))
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened++
		}
	}
	server.Start()
	defer server.Close()
	c := clientOf(t, server.URL, 5*time.Second)
	for range 5 {
		c.post(t.Context(), []byte("{}"))
	}
	if opened != 1 {
		t.Errorf("%d connections for five requests", opened)
	}
}

// discardLog silences a server's complaints about handshakes that fail on purpose.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
