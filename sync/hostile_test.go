package syncer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// badPeer is a MoEngage on a real socket that harms every connection until it is told to behave.
type badPeer struct {
	net.Listener
	t    *testing.T
	harm func(p *badPeer, conn net.Conn)
	tls  *tls.Config // for a harm that uses TLS; nil means no TLS

	met  atomic.Int64 // number of harmed connections
	good atomic.Bool

	mu    sync.Mutex
	conns []net.Conn
	taken map[string]int // customer ids in accepted requests
}

// newBadPeer starts a peer. pair is its certificate, or nil for no TLS.
func newBadPeer(t *testing.T, pair *tls.Certificate, harm func(*badPeer, net.Conn)) (p *badPeer, url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &badPeer{Listener: l, t: t, harm: harm, taken: map[string]int{}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(p.behave))
	_ = server.Listener.Close()
	server.Listener, server.EnableHTTP2, server.Config.ErrorLog = p, true, discardLog()
	if pair == nil {
		server.Start()
	} else {
		p.tls = &tls.Config{Certificates: []tls.Certificate{*pair}, NextProtos: []string{"h2"}}
		server.TLS = p.tls.Clone()
		server.StartTLS()
	}
	t.Cleanup(func() {
		p.hangUp()
		server.Close()
	})
	return p, server.URL
}

// Accept returns connections once the peer behaves, and harms them before.
func (p *badPeer) Accept() (net.Conn, error) {
	for {
		conn, err := p.Listener.Accept()
		if err != nil || p.good.Load() {
			return conn, err
		}
		p.met.Add(1)
		p.mu.Lock()
		p.conns = append(p.conns, conn)
		p.mu.Unlock()
		go p.harm(p, conn)
	}
}

func (p *badPeer) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// behave answers as MoEngage does.
func (p *badPeer) behave(w http.ResponseWriter, r *http.Request) {
	var b struct {
		Elements []struct {
			CustomerID string `json:"customer_id"`
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
		p.t.Errorf("a broken request: %v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range b.Elements {
		p.taken[e.CustomerID]++
	}
	_, _ = io.WriteString(w, `{"status":"success","request_id":"R1"}`)
}

// after is a harm that reads requests and writes text after each.
func after(text string) func(*badPeer, net.Conn) {
	return func(_ *badPeer, conn net.Conn) {
		for readRequest(conn) {
			_, _ = io.WriteString(conn, text)
		}
	}
}

// thenClose is after, followed by closing the connection.
func thenClose(text string) func(*badPeer, net.Conn) {
	return func(_ *badPeer, conn net.Conn) {
		if readRequest(conn) {
			_, _ = io.WriteString(conn, text)
		}
		_ = conn.Close()
	}
}

func readRequest(conn net.Conn) bool {
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
	}
	return err == nil
}

// drip is a harm that answers one byte at a time without end.
func drip(head string) func(*badPeer, net.Conn) {
	return func(_ *badPeer, conn net.Conn) {
		if !readRequest(conn) {
			return
		}
		for i := 0; ; i++ {
			next := byte(' ')
			if i < len(head) {
				next = head[i]
			}
			if _, err := conn.Write([]byte{next}); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// flood is a harm that answers with head, followed by size bytes of repeated chunks.
func flood(head, chunk string, size int) func(*badPeer, net.Conn) {
	return func(_ *badPeer, conn net.Conn) {
		if !readRequest(conn) {
			return
		}
		_, err := io.WriteString(conn, head)
		text := []byte(strings.Repeat(chunk, max(1, 64<<10/len(chunk))))
		for sent := 0; sent < size && err == nil; sent += len(text) {
			_, err = conn.Write(text)
		}
		_ = conn.Close()
	}
}

// HTTP/2 frames, by RFC 9113.
const (
	h2Data, h2Headers, h2Reset, h2Settings, h2Ping, h2GoAway, h2Continuation = 0, 1, 3, 4, 6, 7, 9

	h2Status200 = "\x88" // in HPACK's static table
)

func frame(kind, flags byte, stream uint32, payload string) string {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return string(binary.BigEndian.AppendUint32(b, stream)) + payload
}

// over2 speaks HTTP/2 up to a request's headers, and then harms each request.
func over2(settings string, harm func(conn net.Conn, stream uint32)) func(*badPeer, net.Conn) {
	return func(p *badPeer, raw net.Conn) {
		conn := tls.Server(raw, p.tls)
		preface := make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
		if _, err := io.ReadFull(conn, preface); err != nil {
			return
		}
		_, _ = io.WriteString(conn, frame(h2Settings, 0, 0, settings))
		for head := make([]byte, 9); ; {
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			size := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
			if _, err := io.CopyN(io.Discard, conn, size); err != nil {
				return
			}
			if head[3] == h2Headers {
				harm(conn, binary.BigEndian.Uint32(head[5:]))
			}
		}
	}
}

// say2 is a harm that sends frames for the request's stream.
func say2(frames func(stream uint32) string) func(*badPeer, net.Conn) {
	return over2("", func(conn net.Conn, stream uint32) { _, _ = io.WriteString(conn, frames(stream)) })
}

// forever2 is a harm that sends text without end, with the request's stream in place of SSSS.
func forever2(begin func(stream uint32) string, text string) func(*badPeer, net.Conn) {
	return over2("", func(conn net.Conn, stream uint32) {
		go io.Copy(io.Discard, conn)
		_, err := io.WriteString(conn, begin(stream))
		for err == nil {
			_, err = io.WriteString(conn, strings.ReplaceAll(text, "SSSS", string(binary.BigEndian.AppendUint32(nil, stream))))
		}
	})
}

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.String()
}

const success = `{"status":"success","request_id":"R1"}`

// No behaviour of a peer settles a change without an answer, and delivery continues once the peer behaves.
func TestAHostilePeerLosesNothing(t *testing.T) {
	t.Parallel()
	good := issue(t, nil)
	for _, c := range []struct {
		name string
		harm func(*badPeer, net.Conn)
		tls  bool
		code string
	}{
		{name: "garbage", harm: after("\x00\xff\x17 nonsense\r\n\r\n"), code: codeLost},
		{name: "a page", harm: after("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>"), code: codeUnreadable},
		{name: "JSON that is no object", harm: after("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n[\"success\"]"), code: codeUnreadable},
		{name: "a success in UTF-16", harm: after("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n\xff\xfe{\x00}\x00"), code: codeUnreadable},
		{name: "a success with something behind it", harm: after("HTTP/1.1 200 OK\r\nContent-Length: 39\r\n\r\n" + success + "}"), code: codeUnreadable},
		{name: "a success in gzip that nobody asked for", harm: after(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(zipped(success)), zipped(success))), code: codeUnreadable},
		{name: "no content", harm: after("HTTP/1.1 204 No Content\r\n\r\n"), code: codeUnreadable},
		{name: "another protocol", harm: after("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: nonsense\r\n\r\n"), code: codeUnexpected},
		{name: "early hints without end", harm: flood("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 1<<30), code: codeLost},
		{name: "a password for a proxy", harm: after("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"), code: codeUnexpected},
		{name: "headers of 100 MB", harm: flood("HTTP/1.1 200 OK\r\n", "X-Pad: "+strings.Repeat("x", 1000)+"\r\n", 100<<20), code: codeLost},
		{name: "more than it announced, which is cut", harm: thenClose("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + success), code: codeUnreadable},
		{name: "less than it announced", harm: thenClose("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + success), code: codeLost},
		{name: "a length below zero", harm: after("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + success), code: codeLost},
		{name: "two lengths", harm: after("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 38\r\n\r\n" + success), code: codeLost},
		{name: "a chunk beyond counting", harm: after("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + success), code: codeLost},
		{name: "chunks that stop", harm: thenClose("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n26\r\n" + success + "\r\n"), code: codeLost},
		{name: "nothing, and closes", harm: thenClose(""), code: codeLost},
		{name: "closes at once", harm: func(_ *badPeer, c net.Conn) { c.Close() }, code: codeLost},
		{name: "never reads", harm: func(*badPeer, net.Conn) {}, code: codeTimeout},
		{name: "never answers", harm: after(""), code: codeTimeout},
		{name: "an answer that drips in its headers", harm: drip("HTTP/1.1 200 OK\r\nX-Slow: "), code: codeTimeout},
		{name: "an answer that drips in its body", harm: drip("HTTP/1.1 200 OK\r\n\r\n" + success), code: codeTimeout},

		{name: "HTTP/2: goes away, having taken nothing", tls: true, code: codeLost,
			harm: say2(func(uint32) string { return frame(h2GoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x0b") })},
		{name: "HTTP/2: resets the stream", tls: true, code: codeLost,
			harm: say2(func(s uint32) string { return frame(h2Reset, 0, s, "\x00\x00\x00\x02") })},
		{name: "HTTP/2: no frames", tls: true, code: codeLost,
			harm: say2(func(uint32) string { return strings.Repeat("HTTP/1.1 400 Bad Request\r\n", 20) })},
		{name: "HTTP/2: data before headers", tls: true, code: codeLost,
			harm: say2(func(s uint32) string { return frame(h2Data, 1, s, success) })},
		{name: "HTTP/2: headers that no table explains", tls: true, code: codeLost,
			harm: say2(func(s uint32) string { return frame(h2Headers, 4, s, "\xff\xff\xff\xff\xff\x7f") })},
		{name: "HTTP/2: resets behind half an answer", tls: true, code: codeLost,
			harm: say2(func(s uint32) string {
				return frame(h2Headers, 4, s, h2Status200) + frame(h2Data, 0, s, success[:20]) + frame(h2Reset, 0, s, "\x00\x00\x00\x08")
			})},
		{name: "HTTP/2: headers, and then silence", tls: true, code: codeTimeout,
			harm: say2(func(s uint32) string { return frame(h2Headers, 4, s, h2Status200) })},
		{name: "HTTP/2: a window that lets no body through", tls: true, code: codeTimeout,
			harm: over2("\x00\x04\x00\x00\x00\x00", func(net.Conn, uint32) {})},
		{name: "HTTP/2: pings without end", tls: true, code: codeTimeout,
			harm: forever2(func(uint32) string { return "" }, frame(h2Ping, 0, 0, "12345678"))},
		{name: "HTTP/2: headers without end", tls: true, code: codeLost,
			harm: forever2(func(s uint32) string { return frame(h2Headers, 0, s, h2Status200) },
				"\x00\x10\x00\x09\x00SSSS"+strings.Repeat("\x88", 1<<12))},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var pair *tls.Certificate
			if c.tls {
				pair = good.pair
			}
			p, url := newBadPeer(t, pair, c.harm)
			suffer(t, p, url, good.trust, c.code)
		})
	}
}

// suffer sends to a bad peer for a few connections, checks the effects, and then makes the peer behave.
func suffer(t *testing.T, p *badPeer, url string, trust *x509.CertPool, code string) {
	t.Helper()
	const users = 3
	o := newShelf(t)
	for i := range users {
		o.attribute(fmt.Sprint("user-", i))
		o.event(fmt.Sprint("user-", i))
	}
	transport := newTransport()
	transport.TLSClientConfig.RootCAs = trust
	defer transport.CloseIdleConnections()
	var log syncBuffer
	timeout := time.Minute // never reached, even on a busy host
	if code == codeTimeout {
		timeout = 2 * time.Second
	}
	s, stop := runLogged(t, Config{
		BaseURL: url, WorkspaceID: "WS", APIKey: "s3cret", Transport: transport, Concurrency: 2,
		Timeout: timeout, MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond,
	}, o, slog.New(slog.NewTextHandler(&log, nil)))
	defer stop()

	await(t, "the endpoint fails", func() bool { return s.Health().State == stateFailing && o.seen().settles > 0 })
	if !s.Health().Stopped {
		await(t, "it was tried three times", func() bool { return o.seen().settles >= 3 })
	}
	h := s.Health()
	if got, sentence, _ := strings.Cut(h.LastError, ": "); got != code || !strings.HasPrefix(sentence, meanings[code].Means) {
		t.Errorf("status says %q, want %s", h.LastError, code)
	}
	if seen := o.seen(); seen.delivered != 0 || len(seen.parked) != 0 || seen.left != users {
		t.Errorf("while the peer was hostile: %+v", seen)
	}
	if text := log.String(); !strings.Contains(text, "code="+code) {
		t.Errorf("the log does not say %s:\n%s", code, text)
	}

	p.good.Store(true)
	p.hangUp()
	s.Flush(nil, nil) // an open breaker is probed once a minute: see TestAStoppedEndpointParksNothingProbesAndHeals
	await(t, "everything is delivered", o.drained)
	if seen := o.seen(); seen.delivered != 2*users || len(seen.parked) != 0 {
		t.Errorf("in the end: %+v", seen)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.taken) != users {
		t.Errorf("MoEngage has %v", p.taken)
	}
}

// await waits for a condition in real time.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// issued is a certificate with the pool that trusts it.
type issued struct {
	pair  *tls.Certificate
	trust *x509.CertPool
}

// issue returns a certificate for 127.0.0.1 that change may make invalid.
func issue(t *testing.T, change func(*x509.Certificate)) issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	trust := x509.NewCertPool()
	trust.AddCert(leaf)
	return issued{&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, trust}
}

func TestACertificateThatIsWrongStopsSendingAndSaysWhy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, says string
		change     func(*x509.Certificate)
		distrust   bool
	}{
		{name: "expired", says: "expired", change: func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
		}},
		{name: "not valid yet", says: "not yet valid", change: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(24 * time.Hour) }},
		{name: "another host's", says: "127.0.0.1", change: func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.example"} }},
		{name: "nobody's", says: "unknown authority", distrust: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bad := issue(t, c.change)
			if c.distrust {
				bad.trust = x509.NewCertPool()
			}
			arrived := false
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived = true }))
			server.TLS, server.Config.ErrorLog = &tls.Config{Certificates: []tls.Certificate{*bad.pair}}, discardLog()
			server.StartTLS()
			defer server.Close()
			transport := newTransport()
			transport.TLSClientConfig.RootCAs = bad.trust
			defer transport.CloseIdleConnections()
			o := newShelf(t)
			o.attribute("ann")
			s, stop := run(t, Config{BaseURL: server.URL, WorkspaceID: "WS", APIKey: "s3cret", Transport: transport}, o)
			await(t, "sending stops", func() bool { return s.Health().Stopped })
			stop()
			if h := s.Health(); !strings.HasPrefix(h.LastError, codeTLS+": ") || !strings.Contains(h.LastError, c.says) {
				t.Errorf("status says %q, which does not say %q", h.LastError, c.says)
			}
			if seen := o.seen(); seen.left != 1 || seen.notSent == 0 || seen.notSent != seen.settles || len(seen.parked) != 0 || arrived {
				t.Errorf("arrived: %v, %+v", arrived, seen)
			}
		})
	}
}

func TestCredentialsDoNotFollowARedirect(t *testing.T) {
	var followed atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer elsewhere.Close()
	for _, status := range []int{300, 301, 302, 303, 305, 307, 308} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", elsewhere.URL+r.URL.Path)
			w.Header().Set("Refresh", "0; url="+elsewhere.URL)
			w.WriteHeader(status)
		}))
		c := Config{BaseURL: server.URL, WorkspaceID: "WS", APIKey: "s3cret", Transport: newTransport()}
		if a := newClient(c.withDefaults(), c.Transport).post(t.Context(), []byte("{}")); a.Code != codeRedirected || a.act != actStop {
			t.Errorf("%d: %s", status, a.Code)
		}
		if _, err := Authenticate(t.Context(), c); err == nil {
			t.Errorf("%d: credentials were found good", status)
		}
		if _, err := NewReader(c).Read(t.Context(), []string{"ann"}, []string{"vip"}); err == nil {
			t.Errorf("%d: somebody was read back", status)
		}
		c.Transport.(*http.Transport).CloseIdleConnections()
		server.Close()
	}
	if n := followed.Load(); n != 0 {
		t.Errorf("%d requests went where an answer pointed to", n)
	}
}

// Answers of 100 MB cost no more memory than small ones.
func TestLargeAnswersAreNotHeldInMemory(t *testing.T) {
	const size = 100 << 20
	for name, harm := range map[string]func(*badPeer, net.Conn){
		"a body":                flood(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size), " ", size),
		"a body without length": flood("HTTP/1.1 502 Bad Gateway\r\n\r\n", "x", size),
		"headers":               flood("HTTP/1.1 200 OK\r\n", "X-Pad: "+strings.Repeat("x", 1000)+"\r\n", size),
		"one header":            flood("HTTP/1.1 200 OK\r\nX-Pad: ", "x", size),
		"early hints":           flood("", "HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("x", 1000)+"\r\n\r\n", size),
	} {
		_, url := newBadPeer(t, nil, harm)
		c := clientOf(t, url, 5*time.Second)
		var before, behind runtime.MemStats
		runtime.ReadMemStats(&before)
		if a := c.post(t.Context(), []byte("{}")); a.act != actUncertain || len(a.body) > keepBody {
			t.Errorf("%s: %s, %d bytes kept", name, a.Code, len(a.body))
		}
		runtime.ReadMemStats(&behind)
		if took := (behind.TotalAlloc - before.TotalAlloc) >> 10; took > 2<<10 {
			t.Errorf("%s: %d KiB were allocated for one answer", name, took)
		}
	}
}

// An answer that switches protocols has no body, and the connection has no timeouts afterwards. Reading on
// would block the lease, and a stop of the agent, for ever.
func TestAnAnswerThatSwitchesProtocolsHangsNobody(t *testing.T) {
	p, url := newBadPeer(t, nil, after("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: nonsense\r\n\r\n"))
	unstick := time.AfterFunc(30*time.Second, p.hangUp)
	if a := clientOf(t, url, 20*time.Second).post(t.Context(), []byte("{}")); a.Code != codeUnexpected {
		t.Errorf("answer %s (%s)", a.Code, a.message)
	}
	if !unstick.Stop() {
		t.Error("the answer was waited for beyond every timeout")
	}
}
