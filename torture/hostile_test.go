package torture

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"personasync/sync/sandbox"
)

// idlers is the number of concurrent idle connections.
const idlers = 10_000

// victim is a released agent under attack, with one honest client.
type victim struct {
	*host
	t      *testing.T
	box    *sandbox.Sandbox
	admin  string
	client *http.Client

	stop   context.CancelFunc
	honest sync.WaitGroup
	sent   int // by the honest client
	err    error
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	dir, err := os.MkdirTemp("", "victim")
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{
		host: &host{dir: dir, binary: product, answers: map[int]int{}, odd: map[string]int{}}, t: t,
		box:    sandbox.New(sandbox.Options{WorkspaceID: "WS", APIKey: "key", Strict: true, UsersPerMinute: -1, EventsPerMinute: -1}),
		client: &http.Client{Timeout: patience},
	}
	p := newPeer(t, v.box)
	v.ingest, v.admin = freeAddress(t), freeAddress(t)
	config := fmt.Sprintf(`[log]
level = "debug"
format = "text"
[ingest]
listen = %q
shared_secret = "secret"
write_keys = ["wk"]
[admin]
listen = %q
socket = "%s/admin.sock"
[moengage]
workspace_id = "WS"
api_key = "key"
base_url = "http://%s"
users_per_minute = 60000000
events_per_minute = 60000000
[schedule]
max_delay = "20ms"
[defaults]
send = "attribute"
`, v.ingest, v.admin, dir, p.address)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "agent.toml"), []byte(config), 0o600), os.Mkdir(v.data(), 0o700)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.kill()
		p.leave()
		v.client.CloseIdleConnections()
		if t.Failed() {
			text := v.log.Bytes()
			t.Logf("the agent's log ends:\n%s", text[max(0, len(text)-4000):])
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := v.start(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.until("the agent", idle); err != nil {
		t.Fatal(err)
	}
	v.beHonest()
	return v
}

func sign(body string) string {
	mac := hmac.New(sha1.New, []byte("secret"))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func entering(user, key string) string {
	return fmt.Sprintf(`{"type":"identify","userId":%q,"messageId":%q,"originalTimestamp":"2026-03-14T09:26:53Z","traits":{%q:true},`+
		`"context":{"personas":{"computation_class":"audience","computation_id":"aud_1","computation_key":%q,"space_id":"spa_1"}}}`, user, "m-"+user, key, key)
}

// beHonest starts the honest client, which delivers events of new users one after the other.
func (v *victim) beHonest() {
	ctx, cancel := context.WithCancel(context.Background())
	v.stop = cancel
	v.honest.Go(func() {
		for ; ctx.Err() == nil && v.err == nil; time.Sleep(20 * time.Millisecond) {
			body := entering(fmt.Sprint("honest-", v.sent), "vip")
			req, err := http.NewRequest(http.MethodPost, "http://"+v.ingest+"/segment/webhook", strings.NewReader(body))
			if err != nil {
				v.err = err
				return
			}
			req.Header.Set("X-Signature", sign(body))
			resp, err := v.client.Do(req)
			if err != nil {
				v.err = err
				return
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if v.sent++; resp.StatusCode != http.StatusOK {
				v.err = fmt.Errorf("answered %s %s", resp.Status, text)
			}
		}
	})
}

// ask writes text to an address and returns the status, header and body of the answer. Status 0 means no
// answer.
func ask(t *testing.T, address, text string) (status int, head http.Header, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	go func() { _, _ = io.WriteString(conn, text) }()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer resp.Body.Close()
	all, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(all)
}

// request formats a request. Header lines have no line ends.
func request(line, body string, header ...string) string {
	header = append([]string{line, "Host: agent", "Connection: close", fmt.Sprint("Content-Length: ", len(body))}, header...)
	return strings.Join(header, "\r\n") + "\r\n\r\n" + body
}

func (v *victim) rss() float64 { return procStatus(v.cmd.Process.Pid, "RssAnon:") / 1024 }

// TestHostileClients attacks a running agent as strangers who reach its port, while one honest client delivers.
// The honest client must get 200 each time and lose nothing, and the attackers must change nothing.
func TestHostileClients(t *testing.T) {
	v := newVictim(t)
	pid := v.cmd.Process.Pid
	for _, attack := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"ten thousand connections that say nothing, or half a header", v.idleConnections},
		{"bodies of eight megabytes that nobody signed", v.largeBodies},
		{"requests that are none, paths and methods", v.oddRequests},
		{"bodies that are hard to read", v.oddBodies},
		{"signatures forged and replayed", v.forgedSignatures},
		{"pages of other origins", v.foreignPages},
		{"names that write log lines and terminals", v.injectedNames},
	} {
		t.Run(attack.name, func(t *testing.T) {
			attack.run(t)
			t.Logf("%.0f MiB of anonymous memory afterwards", v.rss())
		})
	}
	v.stop()
	v.honest.Wait()
	if v.err != nil {
		t.Fatalf("the honest client, after %d deliveries: %v", v.sent, v.err)
	}
	s, err := v.until("everything to be delivered", idle)
	if err != nil {
		t.Fatal(err)
	}
	for i := range v.sent {
		if u, _ := v.box.User(fmt.Sprint("honest-", i)); string(u.Attributes["vip"]) != "true" {
			t.Errorf("delivery %d of the honest client did not reach MoEngage", i)
		}
	}
	if !s.Events.Balances() || !s.Changes.Balances() || v.ended() || v.cmd.Process.Pid != pid {
		t.Errorf("afterwards: %+v", s)
	}
	if list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err != nil || len(list) > 100 {
		t.Errorf("%d descriptors are left open: %v", len(list), err)
	}
	if n := v.log.Len(); n > 4<<20 {
		t.Errorf("they made the agent write %d bytes of log", n)
	}
	t.Logf("%d deliveries of the honest client, all answered 200 and delivered; %d requests refused", v.sent, s.Rejected)
}

// idleConnections opens up to ten thousand connections, as many as descriptors allow, and leaves them idle.
func (v *victim) idleConnections(t *testing.T) {
	n := idlers
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < idlers+1000 {
		n = int(limit.Cur) - 1000
		t.Logf("only %d connections: the limit of descriptors is %d", n, limit.Cur)
	}
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for i := range n {
		c, err := net.Dial("tcp", v.ingest)
		if err != nil {
			t.Fatalf("after %d connections: %v", i, err)
		}
		conns = append(conns, c)
		switch i % 4 {
		case 1:
			_, _ = io.WriteString(c, "POST /segment/webhook HTTP/1.1\r\nHost: agent\r\nX-Pad: ")
		case 2:
			_, _ = io.WriteString(c, request("POST /segment/webhook HTTP/1.1", "", "X-Signature: 00")[:60])
		case 3:
			_, _ = io.WriteString(c, "\x16\x03\x01\x02\x00\x01") // the start of a TLS handshake
		}
	}
	if rss := v.rss(); rss > 400 {
		t.Errorf("%d connections take %.0f MiB", n, rss)
	} else {
		t.Logf("%d connections take %.0f MiB", n, rss)
	}
	if status, _, body := ask(t, v.ingest, request("POST /v1/m HTTP/1.1", "")); status != 200 {
		t.Errorf("one more is answered %d %s", status, body)
	}
	for i, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection %d is left open", i)
		}
	}
}

func (v *victim) largeBodies(t *testing.T) {
	const n, size = 150, 8 << 20
	body := bytes.Repeat([]byte("[1, "), size/4-1)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	var most float64
	for range n {
		c, err := net.Dial("tcp", v.ingest)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		_, _ = fmt.Fprintf(c, "POST /segment/webhook HTTP/1.1\r\nHost: agent\r\nX-Signature: 00\r\nContent-Length: %d\r\n\r\n", size)
		_, _ = c.Write(body)
		most = max(most, v.rss())
	}
	if most > 900 {
		t.Errorf("%d bodies of %d MiB took %.0f MiB", n, size>>20, most)
	}
	t.Logf("%d bodies of %d MiB took %.0f MiB at most", n, size>>20, most)
}

func (v *victim) oddRequests(t *testing.T) {
	event := entering("odd", "vip")
	signed := "X-Signature: " + sign(event)
	for _, c := range []struct {
		name, text string
		status     int
	}{
		{"a path that goes up", request("POST /v1/../../etc/passwd HTTP/1.1", event, signed), 404},
		{"a path that comes back", request("POST /v1/../segment/webhook HTTP/1.1", event, signed), 404},
		{"two slashes", request("POST //segment/webhook HTTP/1.1", event, signed), 404},
		{"capitals", request("POST /Segment/Webhook HTTP/1.1", event, signed), 404},
		{"a semicolon", request("POST /segment/webhook;x HTTP/1.1", event, signed), 404},
		{"a zero byte", request("POST /segment/webhook%00 HTTP/1.1", event, signed), 404},
		{"the admin's routes", request("POST /api/flush HTTP/1.1", "{}", "Personasync-Version: dev"), 404},
		{"the admin's page", request("GET /metrics HTTP/1.1", ""), 404},
		{"asterisk", request("OPTIONS * HTTP/1.1", ""), 404},
		{"another method", request("TRACE /segment/webhook HTTP/1.1", ""), 405},
		{"a method in the header", request("GET /segment/webhook HTTP/1.1", event, signed, "X-HTTP-Method-Override: POST"), 405},
		{"a tunnel", request("CONNECT 127.0.0.1:22 HTTP/1.1", ""), 404},
		{"no escape", request("POST /%zz HTTP/1.1", ""), 400},
		{"two lengths", request("POST /segment/webhook HTTP/1.1", event, signed, "Content-Length: 7"), 400},
		{"a length below zero", "POST /segment/webhook HTTP/1.1\r\nHost: agent\r\nContent-Length: -1\r\n\r\n", 400},
		{"two hosts", request("POST /v1/m HTTP/1.1", "", "Host: other"), 400},
		{"no host", "POST /v1/m HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400},
		{"a header without a name", request("POST /v1/m HTTP/1.1", "", ": x"), 400},
		{"a header with a zero byte", request("POST /v1/m HTTP/1.1", "", "X: \x00"), 400},
		{"headers of a megabyte", request("POST /v1/m HTTP/1.1", "", "X: "+strings.Repeat("x", 1<<20)), 431},
		{"a thousand headers", request("POST /v1/m HTTP/1.1", "", strings.Split(strings.TrimSuffix(strings.Repeat("X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n", 1000), "\n"), "\n")...), 431},
		{"an expectation", request("POST /v1/m HTTP/1.1", "", "Expect: the unexpected"), 417},
		{"a protocol of the future", request("POST /v1/m HTTP/3.0", ""), 505},
		{"HTTP/0.9", "GET /\r\n\r\n", 400},
		{"garbage", "\x00\xff\x17\r\n\r\n", 400},
	} {
		if status, _, body := ask(t, v.ingest, c.text); status != c.status {
			t.Errorf("%s: answered %d %s, want %d", c.name, status, body, c.status)
		}
	}
	// A chunked body with a length: what a proxy might read as a second request must not be executed.
	smuggled := "POST /segment/webhook HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n" + signed + "\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" +
		fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(event), event)
	conn, err := net.Dial("tcp", v.ingest)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, smuggled)
	answers, _ := io.ReadAll(conn)
	if n := bytes.Count(answers, []byte("HTTP/1.1 ")); n != 1 {
		t.Errorf("%d answers to one request with two lengths:\n%s", n, answers)
	}
}

func (v *victim) oddBodies(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write([]byte(`{"batch":[`))
	_, _ = z.Write(bytes.Repeat([]byte(" "), 200<<20))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	double := `{"type":"identify","userId":"twice-a","userId":"twice-b","messageId":"t1","traits":{"vip":true,"vip":false,"vip":true},"traits":{"vip":true},` +
		`"context":{"personas":{"computation_class":"audience","computation_id":"aud_1","computation_key":"vip","space_id":"spa_1"}}}`
	for _, c := range []struct {
		name, path, body string
		header           []string
		status           int
	}{
		{"a gzip bomb of 200 MiB", "/v1/batch", bomb.String(), []string{"Content-Encoding: gzip"}, 400},
		{"eight million brackets", "/segment/webhook", strings.Repeat("[", 8<<20-1), nil, 400},
		{"a million objects", "/segment/webhook", strings.Repeat(`{"a":`, 1<<20), nil, 400},
		{"deep and closed", "/segment/webhook", strings.Repeat("[", 3<<20) + strings.Repeat("]", 3<<20), nil, 200},
		{"a number of eight million digits", "/segment/webhook", strings.Repeat("1", 8<<20-1), nil, 200},
		{"a number beyond all", "/segment/webhook", `{"userId":1e999999999,"messageId":"n1"}`, nil, 200},
		{"names twice", "/segment/webhook", double, nil, 200},
		{"no UTF-8", "/segment/webhook", `{"userId":"` + "\xff\xfe" + `","messageId":"u1"}`, nil, 200},
		{"half a surrogate", "/segment/webhook", strings.Replace(entering("SURROGATE", "vip"), "SURROGATE", `\ud800`, 1), nil, 200},
		{"too many elements", "/segment/webhook", "[" + strings.Repeat("1,", 1<<20) + "1]", nil, 413},
		{"nine megabytes", "/segment/webhook", strings.Repeat(" ", 9<<20), nil, 413},
		{"a batch of a megabyte", "/v1/batch", strings.Repeat(" ", 1<<20), nil, 400},
	} {
		header := append([]string{"X-Signature: " + sign(c.body), "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("wk:"))}, c.header...)
		if status, _, body := ask(t, v.ingest, request("POST "+c.path+" HTTP/1.1", c.body, header...)); status != c.status {
			t.Errorf("%s: answered %d %s, want %d", c.name, status, body, c.status)
		}
	}
	if _, err := v.until("them to be delivered", idle); err != nil {
		t.Fatal(err)
	}
	first, _ := v.box.User("twice-a")
	second, _ := v.box.User("twice-b")
	if string(first.Attributes["vip"]) != "" || string(second.Attributes["vip"]) != "true" {
		t.Errorf("of names given twice the last does not count: %v %v", first.Attributes, second.Attributes)
	}
}

func (v *victim) forgedSignatures(t *testing.T) {
	event, other := entering("forged", "vip"), entering("forged-other", "vip")
	good := sign(event)
	for name, header := range map[string]string{
		"none": "X-Other: 1", "empty": "X-Signature: ", "of another body": "X-Signature: " + sign(other), "cut short": "X-Signature: " + good[:38],
		"with more behind": "X-Signature: " + good + "00", "in a list": "X-Signature: 00, " + good, "second of two": "X-Signature: 00\r\nX-Signature: " + good,
		"with its kind": "X-Signature: sha1=" + good, "no hexadecimal": "X-Signature: " + strings.Repeat("z", 40), "of zero bytes": "X-Signature: " + strings.Repeat("0", 40),
		"in the query": "X-Query: ?X-Signature=" + good, "a write key instead": "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("wk:")),
	} {
		if status, _, body := ask(t, v.ingest, request("POST /segment/webhook HTTP/1.1", event, header)); status != 401 {
			t.Errorf("a signature %s: answered %d %s", name, status, body)
		}
	}
	for name, text := range map[string]string{
		"the secret of the webhook": request("POST /v1/identify HTTP/1.1", event, "X-Signature: "+good),
		"a wrong key":               request("POST /v1/identify HTTP/1.1", event, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("wK:"))),
		"half a key in the body":    request("POST /v1/identify HTTP/1.1", `{"writeKey":"w",`+event[1:]),
		"a key that is an object":   request("POST /v1/identify HTTP/1.1", `{"writeKey":{"wk":"wk"},`+event[1:]),
	} {
		if status, _, body := ask(t, v.ingest, text); status != 401 {
			t.Errorf("a write key: %s: answered %d %s", name, status, body)
		}
	}
	if u, known := v.box.User("forged"); known {
		t.Errorf("a forged event reached MoEngage: %v", u.Attributes)
	}

	erase := `{"batch":[{"type":"delete","userId":"honest-0","messageId":"d1"}]}`
	if status, _, body := ask(t, v.ingest, request("POST /v1/batch HTTP/1.1", erase, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("wk:")))); status != 200 {
		t.Errorf("a delete under a write key: answered %d %s", status, body)
	}
	behind := "[" + event + `,{"type":"delete","userId":"honest-1","messageId":"d2"}]` // Segment signs only the first
	if status, _, body := ask(t, v.ingest, request("POST /segment/webhook HTTP/1.1", behind, "X-Signature: "+good)); status != 200 {
		t.Errorf("a delete behind a signed event: answered %d %s", status, body)
	}
	for _, user := range []string{"honest-0", "honest-1"} {
		if out, err := v.command("user", "show", user).CombinedOutput(); err != nil {
			t.Errorf("%s was erased by somebody who may not: %s", user, out)
		}
	}

	before := v.transitions(t)
	for range 200 {
		if status, _, body := ask(t, v.ingest, request("POST /segment/webhook HTTP/1.1", other, "X-Signature: "+sign(other))); status != 200 {
			t.Fatalf("a replay: answered %d %s", status, body)
		}
	}
	if got := v.transitions(t) - before; got != 1 {
		t.Errorf("one delivery, replayed 200 times, made %d transitions", got)
	}
}

// transitions counts the transitions of users other than the honest client's.
func (v *victim) transitions(t *testing.T) (n int) {
	t.Helper()
	if _, err := v.until("everything to be applied", idle); err != nil {
		t.Fatal(err)
	}
	out, err := v.command("user", "show", "forged-other", "--json").Output()
	if err != nil {
		return 0
	}
	return strings.Count(string(out), `"transition": "enter"`)
}

func (v *victim) foreignPages(t *testing.T) {
	const origin = "Origin: https://evil.example"
	status, head, _ := ask(t, v.ingest, request("OPTIONS /segment/webhook HTTP/1.1", "", origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: x-signature"))
	if status != 405 || head.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a page may ask the webhook route: %d %v", status, head)
	}
	status, head, _ = ask(t, v.ingest, request("OPTIONS /v1/batch HTTP/1.1", "", origin, "Access-Control-Request-Method: POST"))
	if status != 200 || head.Get("Access-Control-Allow-Origin") != "https://evil.example" || head.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("an SDK in a browser is told %d %v", status, head)
	}
	for name, text := range map[string]string{
		"a page":                      "GET /api/status HTTP/1.1\r\nHost: " + v.admin + "\r\nOrigin: https://evil.example\r\n\r\n",
		"a sandboxed page":            "GET /api/status HTTP/1.1\r\nHost: " + v.admin + "\r\nOrigin: null\r\n\r\n",
		"an image":                    "GET /icon.svg HTTP/1.1\r\nHost: " + v.admin + "\r\nSec-Fetch-Site: cross-site\r\n\r\n",
		"a name that was rebound":     "GET / HTTP/1.1\r\nHost: rebound.example:8481\r\n\r\n",
		"a stream by a rebound name":  "GET /api/page/stream HTTP/1.1\r\nHost: rebound.example\r\n\r\n",
		"an address in its name":      "GET / HTTP/1.1\r\nHost: 127.0.0.1.rebound.example\r\n\r\n",
		"localhost in its name":       "GET / HTTP/1.1\r\nHost: localhost.rebound.example\r\n\r\n",
		"no name":                     "GET / HTTP/1.0\r\n\r\n",
		"a user":                      "GET /api/user?id=honest-0 HTTP/1.1\r\nHost: " + v.admin + "\r\n\r\n",
		"another name in the request": "GET http://rebound.example/ HTTP/1.1\r\nHost: " + v.admin + "\r\n\r\n",
	} {
		if status, head, body := ask(t, v.admin, text); status != 403 || head.Get("Access-Control-Allow-Origin") != "" || strings.Contains(body, "honest") {
			t.Errorf("%s: admin.listen answered %d %v %s", name, status, head, body)
		}
	}
	// Prometheus and load balancers use the names of their services. These answers must not contain user ids.
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		if status, _, body := ask(t, v.admin, "GET "+path+" HTTP/1.1\r\nHost: personasync.monitoring.svc\r\nConnection: close\r\n\r\n"); status != 200 || strings.Contains(body, "honest-") {
			t.Errorf("%s by a service's name: %d", path, status)
		}
	}
	for _, path := range []string{"/api/flush", "/api/order", "/api/user/forget", "/api/outbox/drop", "/api/db/backup"} {
		if status, _, body := ask(t, v.admin, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nPersonasync-Version: dev\r\nContent-Length: 2\r\n\r\n{}", path, v.admin)); status != 404 {
			t.Errorf("an order to admin.listen, %s: %d %s", path, status, body)
		}
	}
}

// injectedNames posts names that imitate a log line or contain terminal escapes.
func (v *victim) injectedNames(t *testing.T) {
	const evil = "x\n\rtime=2026-01-01T00:00:00Z level=ERROR msg=\"all is lost\"\x1b]0;owned\x07\x1b[2J\u202e\x7f"
	before := v.log.Len()
	body := entering("evil-user"+evil, "evil-key"+evil)
	parked := strings.Replace(entering("evil-parked"+evil, "vip"), `"userId"`, `"anonymousId"`, 1)
	odd := `{"type":"evil-type` + "\\n\\u001b[2J" + `","userId":"evil-odd","messageId":"o1"}`
	// Another computation, with a usable user id. A name with control characters is parked.
	key := strings.Replace(entering("evil-member", "evil-key\"\u202e"), "aud_1", "aud_evil", 1)
	for _, b := range []string{body, parked, odd, key} {
		b = strings.NewReplacer(`\x1b`, `\u001b`, `\a`, `\u0007`, `\x7f`, `\u007f`).Replace(b) // as JSON escapes
		if status, _, text := ask(t, v.ingest, request("POST /segment/webhook HTTP/1.1", b, "X-Signature: "+sign(b))); status != 200 {
			t.Fatalf("answered %d %s", status, text)
		}
	}
	line := strings.NewReplacer("\n", "%0a", "\r", "%0d", "\x1b", "%1b", "\x07", "%07", " ", "%20", "\x7f", "%7f").Replace(evil)
	for _, address := range []string{v.ingest, v.admin} {
		ask(t, address, request("POST /"+line+"?"+line+" HTTP/1.1", "", "User-Agent: \x1b[2J", "Origin: https://"+line))
	}
	if _, err := v.until("them to be delivered", idle); err != nil {
		t.Fatal(err)
	}
	log := v.log.String()[before:]
	for l := range strings.Lines(log) {
		if !strings.HasPrefix(l, "time=20") || strings.HasPrefix(l, "time=2026-01-01T00:00:00Z level=ERROR") || strings.ContainsFunc(strings.TrimSuffix(l, "\n"), unicode.IsControl) {
			t.Errorf("somebody else wrote a line of the log: %q", l)
		}
		if strings.Contains(l, "evil-user") || strings.Contains(l, "evil-parked") || strings.Contains(l, "evil-member") {
			t.Errorf("a user id is in the log: %q", l)
		}
	}
	for _, args := range [][]string{
		{"audience", "list"}, {"outbox", "list", "--state", "delivered"}, {"outbox", "list", "--state", "parked"}, {"outbox", "stats"}, {"status"}, {"tail"}, {"doctor"},
	} {
		out, _ := v.command(args...).CombinedOutput()
		if i := bytes.IndexFunc(out, func(r rune) bool { return r != '\n' && (unicode.IsControl(r) || r == '\u202e') }); i >= 0 || len(out) == 0 {
			t.Errorf("%v prints what a terminal obeys: %q", args, out[max(i-40, 0):min(i+40, len(out))])
		}
	}
	if status, _, body := ask(t, v.admin, "GET /metrics HTTP/1.1\r\nHost: "+v.admin+"\r\nConnection: close\r\n\r\n"); status != 200 || !strings.Contains(body, `evil-key\"`) {
		t.Errorf("metrics: %d, the computation is not in them as one label", status)
	}
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) Bytes() []byte { return []byte(l.String()) }

func (l *lockedBuffer) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Len()
}
