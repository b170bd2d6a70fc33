package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"personasync/sync/sandbox"
)

// TestKilledThriceWithMoEngageOfflineHalfTheTime posts deliveries to a real agent process that is
// killed with SIGKILL three times, while MoEngage refuses everything during the first half. In the
// end every attribute is the last membership posted, every transition is there as an event in order,
// and the ledger balances.
func TestKilledThriceWithMoEngageOfflineHalfTheTime(t *testing.T) {
	t.Parallel() // it waits
	deliveries := 10_000
	if testing.Short() {
		deliveries = 2_000
	}
	w := newWorld(t)
	w.box.Fail(sandbox.Fault{Status: http.StatusServiceUnavailable})
	w.start()
	posters := newPosters(8, 50)

	var posting sync.WaitGroup
	var posted atomic.Int64
	for _, p := range posters {
		posting.Go(func() {
			for range deliveries / len(posters) {
				w.post(p.next())
				posted.Add(1)
			}
		})
	}
	healed := false
	for _, share := range []int{20, 45, 50, 80} {
		w.until("posting to go on", func() bool { return posted.Load() >= int64(deliveries*share/100) })
		if share == 50 {
			w.box.Heal()
			healed = true
			continue
		}
		w.kill()
		w.start()
	}
	posting.Wait()
	if !healed {
		t.Fatal("MoEngage never came back")
	}
	status := w.drained()

	repeats := 0
	for _, p := range posters {
		repeats += p.compare(t, w.box)
	}
	status.balance(t)
	if events := status.Events; events.Accepted < uint64(deliveries) || events.Parked != 0 || events.Transitions != uint64(deliveries) {
		t.Errorf("posted %d deliveries, each a transition; the ledger says %+v", deliveries, events)
	}
	requests := w.box.Stats()
	t.Logf("%d deliveries, 3 kills: %d requests %v, %d events repeated, ledger %+v", deliveries, requests.Requests, requests.ByStatus, repeats, status.Changes)
	for _, v := range w.box.Violations() {
		t.Errorf("MoEngage would object: %s %s", v.Rule, v.Detail)
	}
}

// world is an agent process, its folder, and the MoEngage it talks to.
type world struct {
	*testing.T
	dir, config, secret string
	ingest              string
	env                 []string    // of its processes
	header              http.Header // of deliveries, besides their signature
	box                 *sandbox.Sandbox

	mu    sync.Mutex
	agent *exec.Cmd
	gone  chan struct{} // closed when agent has ended
	log   *os.File

	front atomic.Pointer[http.HandlerFunc] // before the box, if there is one
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "kill") // a unix socket's path must stay short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &world{T: t, dir: dir, config: filepath.Join(dir, "agent.toml"), secret: "kill-test", ingest: freeAddress(t)}
	w.box = sandbox.New(sandbox.Options{WorkspaceID: "KILL", APIKey: "key", Strict: true, KeepAll: true, UsersPerMinute: -1, EventsPerMinute: -1})
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if front := w.front.Load(); front != nil {
			(*front)(rw, r)
			return
		}
		w.box.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	text := fmt.Sprintf(`data_dir = "%s/data"
[ingest]
listen = %q
shared_secret = %q
[admin]
listen = ""
[moengage]
workspace_id = "KILL"
api_key = "key"
base_url = %q
timeout = "5s"
users_per_minute = 60000000
events_per_minute = 60000000
[schedule]
max_delay = "20ms"
[retry]
min_backoff = "50ms"
max_backoff = "500ms"
[defaults]
send = "both"
`, dir, w.ingest, w.secret, server.URL)
	if err := os.WriteFile(w.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if w.log, err = os.OpenFile(filepath.Join(dir, "agent.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.end)
	return w
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (w *world) command(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = append(append(os.Environ(), asMain+"=1"), w.env...)
	return c
}

// start starts the agent; posters find out by themselves when it is ready.
func (w *world) start() {
	w.Helper()
	c := w.command("run", "--config", w.config)
	c.Stderr, c.Stdout = w.log, w.log
	if err := c.Start(); err != nil {
		w.Fatal(err)
	}
	gone := make(chan struct{})
	go func() { _ = c.Wait(); close(gone) }()
	w.mu.Lock()
	w.agent, w.gone = c, gone
	w.mu.Unlock()
}

func (w *world) kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.agent.Process.Kill() // or it has ended already
	<-w.gone
	w.agent = nil
}

func (w *world) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.agent != nil {
		_ = w.agent.Process.Signal(os.Interrupt)
		<-w.gone
	}
	if w.Failed() {
		text, _ := os.ReadFile(w.log.Name())
		w.Logf("the agent's log ends:\n%s", text[max(0, len(text)-4000):])
	}
	w.log.Close()
}

// patience bounds every wait of these tests; none of them expects to come near it.
const patience = 90 * time.Second

func (w *world) until(what string, holds func() bool) {
	w.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("waited %s for %s, in vain", patience, what)
		}
	}
}

// post delivers as Segment does: again and again until the answer is 200.
func (w *world) post(body []byte) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		switch code := w.postOnce(body); code {
		case http.StatusOK:
			return
		case 0, http.StatusServiceUnavailable: // killed, not up yet, or not well
		default:
			w.Errorf("a good delivery was answered %d", code)
			return
		}
	}
	w.Error("a delivery was never accepted")
}

// postOnce returns the answer's status, 0 if there was none.
func (w *world) postOnce(body []byte) (code int) {
	mac := hmac.New(sha1.New, []byte(w.secret))
	mac.Write(body)
	req, err := http.NewRequest(http.MethodPost, "http://"+w.ingest+"/segment/webhook", bytes.NewReader(body))
	if err != nil {
		w.Error(err)
		return 0
	}
	maps.Copy(req.Header, w.header)
	req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// status is what `personasync status --json` prints.
type status struct {
	Unapplied, Pending uint64
	Events             struct{ Accepted, Transitions, Unchanged, Duplicate, Stale, Ignored, Parked, Discarded, Lost uint64 }
	Changes            struct{ Created, Delivered, Superseded, Cancelled, Dropped, Expired, Forgotten, Pending, Held, Parked, Lost uint64 }
}

func (s *status) balance(t *testing.T) {
	t.Helper()
	e, c := s.Events, s.Changes
	if e.Accepted != e.Transitions+e.Unchanged+e.Duplicate+e.Stale+e.Ignored+e.Parked+e.Discarded+e.Lost {
		t.Errorf("events do not balance: %+v", e)
	}
	if c.Created != c.Delivered+c.Superseded+c.Cancelled+c.Dropped+c.Expired+c.Forgotten+c.Pending+c.Held+c.Parked+c.Lost {
		t.Errorf("changes do not balance: %+v", c)
	}
}

// drained waits until nothing is left to send.
func (w *world) drained() (s status) {
	w.Helper()
	w.until("the outbox to drain", func() (ok bool) {
		s, ok = w.status()
		return ok && s.Pending+s.Unapplied == 0
	})
	return s
}

// status asks the agent how it is, and reports whether it answered.
func (w *world) status() (s status, ok bool) {
	w.Helper()
	out, err := w.command("status", "--json", "--config", w.config).Output()
	if err != nil {
		return s, false
	}
	if err := json.Unmarshal(out, &s); err != nil {
		w.Fatalf("status --json printed %q: %v", out, err)
	}
	return s, true
}

// poster posts for users of its own, one delivery after the other, so that their order is known.
type poster struct {
	rnd    *rand.Rand
	users  []string
	in     map[string]bool     // user.audience -> last membership posted
	posted map[string][]string // user -> transitions, in order
	clock  time.Time
	count  int
}

func newPosters(n, users int) (list []*poster) {
	for i := range n {
		p := &poster{rnd: rand.New(rand.NewPCG(uint64(i), 3)), in: map[string]bool{}, posted: map[string][]string{}, clock: time.Now().Add(-24 * time.Hour)}
		for j := range users {
			p.users = append(p.users, fmt.Sprintf("user-%d-%d", i, j))
		}
		list = append(list, p)
	}
	return list
}

// next is the delivery of one more transition of one of p's users.
func (p *poster) next() []byte {
	user, audience := p.users[p.rnd.IntN(len(p.users))], fmt.Sprint("audience_", p.rnd.IntN(2))
	name := user + "." + audience
	p.in[name] = !p.in[name]
	p.count++
	p.clock = p.clock.Add(time.Millisecond)
	word := "exit"
	if p.in[name] {
		word = "enter"
	}
	p.posted[user] = append(p.posted[user], audience+" "+word)
	return fmt.Appendf(nil, `{"type":"identify","userId":%q,"messageId":"m-%s-%d","originalTimestamp":%q,"traits":{%q:%v},`+
		`"context":{"personas":{"computation_class":"audience","computation_id":"aud_%s","computation_key":%q,"space_id":"spa_1"}}}`,
		user, user, p.count, p.clock.UTC().Format(time.RFC3339Nano), audience, p.in[name], audience, audience)
}

// compare looks at what MoEngage holds of p's users, and returns how many events came twice.
func (p *poster) compare(t *testing.T, box *sandbox.Sandbox) (repeats int) {
	t.Helper()
	for name, in := range p.in {
		user, audience := name[:len(name)-11], name[len(name)-10:]
		profile, ok := box.User(user)
		if got := string(profile.Attributes[audience]); !ok || got != fmt.Sprint(in) && !(got == "" && !in) {
			t.Errorf("%s: MoEngage holds %q, the last membership posted is %v", name, got, in)
		}
	}
	for user, want := range p.posted {
		var got []string
		seen := map[string]bool{}
		for _, e := range box.Events(user) {
			var said struct {
				ChangeID string `json:"change_id"`
				Key      string `json:"audience_key"`
			}
			if err := json.Unmarshal(e.Attributes, &said); err != nil {
				t.Fatal(err)
			}
			if seen[said.ChangeID] {
				repeats++
				continue
			}
			seen[said.ChangeID] = true
			word := map[string]string{"Audience Entered": "enter", "Audience Exited": "exit"}[e.Action]
			got = append(got, said.Key+" "+word)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: events at MoEngage %v\nposted %v", user, got, want)
		}
	}
	return repeats
}
