package torture

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/sync/sandbox"
)

// host is a machine with one agent, whose data is on a Disk, and its MoEngage.
type host struct {
	dir, binary, ingest string
	env                 []string // of the agent
	broken              bool     // the binary is broken on purpose, so its answers are not checked
	rnd                 *rand.Rand
	box                 *sandbox.Sandbox
	moengage            string // address of box

	disk    *Disk
	lives   int
	unmount func() error

	mu   sync.Mutex
	cmd  *exec.Cmd
	gone chan struct{}
	log  lockedBuffer // of the current life

	rounds  int
	posted  uint64         // transitions on this disk
	answers map[int]int    // count by status; 0 means no answer
	odd     map[string]int // answers that break the contract
	repeats int
	refused int // compactions
}

func newHost(t *testing.T, binary string, seed uint64) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: a file system of one's own takes root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	dir, err := os.MkdirTemp("", "host") // the path of a unix socket must stay short
	if err != nil {
		t.Fatal(err)
	}
	h := &host{dir: dir, binary: binary, rnd: rand.New(rand.NewPCG(seed, 5)), answers: map[int]int{}, odd: map[string]int{}}
	h.box = sandbox.New(sandbox.Options{WorkspaceID: "TORTURE", APIKey: "key", Strict: true, KeepAll: true, UsersPerMinute: -1, EventsPerMinute: -1})
	server := httptest.NewServer(h.box)
	h.moengage = server.URL
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.ingest = l.Addr().String()
	l.Close()
	config := fmt.Sprintf(`[ingest]
listen = %q
shared_secret = "secret"
[admin]
listen = ""
socket = "%s/admin.sock"
[moengage]
workspace_id = "TORTURE"
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
[guard]
exit_share = 0
[retention]
received_bytes = 1048576
max_data_bytes = 300000000
`, h.ingest, dir, server.URL)
	if err := os.WriteFile(filepath.Join(dir, "agent.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.down()
		server.Close()
		if t.Failed() {
			text := h.log.Bytes()
			t.Logf("the agent's last log ends:\n%s", text[max(0, len(text)-6000):])
		}
		for code, n := range h.odd {
			if h.broken {
				break
			}
			t.Errorf("answered %d times: %s", n, code)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return h
}

// data returns the mount point of the disk in this life.
func (h *host) data() string { return filepath.Join(h.dir, fmt.Sprintf("data%d", h.lives)) }

// up mounts disk and starts the agent on it.
func (h *host) up(disk *Disk) error {
	if err := h.mount(disk, disk.Mount); err != nil {
		return err
	}
	return h.start()
}

// mount begins another life, with what by mounts of disk.
func (h *host) mount(disk *Disk, by func(dir string) (unmount func() error, err error)) error {
	h.lives++
	h.disk = disk
	if err := os.Mkdir(h.data(), 0o700); err != nil {
		return err
	}
	var err error
	h.unmount, err = by(h.data())
	return err
}

func (h *host) command(args ...string) *exec.Cmd {
	c := exec.Command(h.binary, args...)
	c.Env = append(os.Environ(), "PERSONASYNC_CONFIG="+filepath.Join(h.dir, "agent.toml"), "PERSONASYNC_DATA_DIR="+h.data())
	c.Env = append(c.Env, h.env...)
	return c
}

func (h *host) start() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log.Reset()
	c := h.command("run")
	c.Stdout, c.Stderr = &h.log, &h.log
	c.WaitDelay = time.Second // a child of the killed agent may still hold the log
	if err := c.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() { _ = c.Wait(); close(gone) }()
	h.cmd, h.gone = c, gone
	return nil
}

// kill kills the agent if it is running.
func (h *host) kill() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cmd != nil {
		_ = h.cmd.Process.Kill()
		<-h.gone
	}
}

func (h *host) ended() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.gone:
		return true
	default:
		return false
	}
}

// down kills the agent and unmounts the disk.
func (h *host) down() {
	h.kill()
	if h.unmount != nil {
		_ = h.unmount()
		_ = os.Remove(h.data())
		h.unmount = nil
	}
}

// post delivers as Segment does, until the answer is 200 or ctx is done.
func (h *host) post(ctx context.Context, body []byte) error {
	for ctx.Err() == nil {
		if h.postOnce(ctx, body) == http.StatusOK {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("a delivery was never accepted")
}

func (h *host) postOnce(ctx context.Context, body []byte) (code int) {
	mac := hmac.New(sha1.New, []byte("secret"))
	mac.Write(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+h.ingest+"/segment/webhook", bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	odd := ""
	if err == nil {
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		code = resp.StatusCode
		if code != http.StatusOK && (code != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "") {
			odd = fmt.Sprintf("%s, Retry-After %q: %s", resp.Status, resp.Header.Get("Retry-After"), text)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[code]++
	if odd != "" {
		h.odd[odd]++
	}
	return code
}

func (h *host) status() (s condition.Status, err error) {
	c, err := api.Dial(context.Background(), filepath.Join(h.dir, "admin.sock"), "")
	if err != nil {
		return s, err
	}
	defer c.Close()
	return c.Status(context.Background())
}

// patience is the longest wait. No wait should come near it.
const patience = time.Minute

// until waits for a status of the agent. It fails at once if the agent has ended.
func (h *host) until(what string, holds func(condition.Status) bool) (s condition.Status, err error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if s, err = h.status(); err == nil && holds(s) {
			return s, nil
		}
		if h.ended() {
			return s, fmt.Errorf("the agent ended while %s was waited for:\n%s", what, h.log.String())
		}
	}
	return s, fmt.Errorf("waited %s for %s, in vain: %+v %v", patience, what, s, err)
}

func idle(s condition.Status) bool { return s.Ready && s.Pending+s.Unapplied == 0 }

// crowd is the number of concurrent posters, so that a group commit of the inbox has several records.
const crowd = 6

// posting posts a round of transitions of new users until all are accepted or ctx is done.
func (h *host) posting(ctx context.Context, each int) (posters []*poster, wait func() error) {
	posters = h.posters(crowd)
	return posters, h.postingBy(ctx, posters, each)
}

// posters returns n posters with new users.
func (h *host) posters(n int) (posters []*poster) {
	h.rounds++
	for i := range n {
		p := &poster{rnd: rand.New(rand.NewPCG(h.rnd.Uint64(), uint64(i))), in: map[string]bool{}, posted: map[string][]string{}, clock: time.Now().Add(-time.Hour)}
		for j := range 2 {
			p.users = append(p.users, fmt.Sprintf("u-%d-%d-%d", h.rounds, i, j))
		}
		posters = append(posters, p)
	}
	return posters
}

// postingBy makes all posters post that many transitions concurrently.
func (h *host) postingBy(ctx context.Context, posters []*poster, each int) (wait func() error) {
	errs := make(chan error, len(posters))
	for _, p := range posters {
		go func() {
			var err error
			for range each {
				err = errors.Join(err, h.post(ctx, p.next()))
			}
			errs <- err
		}()
	}
	return func() (err error) {
		for range posters {
			err = errors.Join(err, <-errs)
		}
		return err
	}
}

// compare compares MoEngage's data and the ledger with the posted transitions.
func (h *host) compare(posters []*poster, s condition.Status) (err error) {
	for _, p := range posters {
		repeats, wrong := p.compare(h.box)
		h.repeats += repeats
		h.posted += uint64(p.count)
		err = errors.Join(err, wrong)
	}
	if !s.Events.Balances() || !s.Changes.Balances() {
		err = errors.Join(err, fmt.Errorf("the ledger does not balance: %+v %+v", s.Events, s.Changes))
	}
	if s.Events.Transitions != h.posted || s.Events.Lost+s.Events.Parked != 0 {
		err = errors.Join(err, fmt.Errorf("posted %d transitions, the ledger has %+v", h.posted, s.Events))
	}
	if len(s.Salvages) > 0 {
		err = errors.Join(err, fmt.Errorf("salvaged: %+v", s.Salvages))
	}
	return err
}

// poster posts for users of its own, one delivery after the other, so that their order is known.
type poster struct {
	rnd    *rand.Rand
	users  []string
	in     map[string]bool     // user -> last membership posted
	posted map[string][]string // user -> transitions, in order
	clock  time.Time
	now    func() time.Time // replaces clock where the real time matters
	count  int
}

// next returns the delivery of another transition of one of p's users.
func (p *poster) next() []byte {
	user := p.users[p.rnd.IntN(len(p.users))]
	p.in[user] = !p.in[user]
	p.count++
	if p.clock = p.clock.Add(time.Millisecond); p.now != nil {
		p.clock = p.now()
	}
	p.posted[user] = append(p.posted[user], map[bool]string{true: "Audience Entered", false: "Audience Exited"}[p.in[user]])
	return fmt.Appendf(nil, `{"type":"identify","userId":%q,"messageId":"m-%s-%d","originalTimestamp":%q,"traits":{"vip":%v},`+
		`"context":{"personas":{"computation_class":"audience","computation_id":"aud_vip","computation_key":"vip","space_id":"spa_1"},"pad":%q}}`,
		user, user, p.count, p.clock.UTC().Format(time.RFC3339Nano), p.in[user], strings.Repeat("x", p.rnd.IntN(12<<10)))
}

// compare checks MoEngage's data about p's users and counts the repeated events.
func (p *poster) compare(box *sandbox.Sandbox) (repeats int, err error) {
	for user, want := range p.posted {
		profile, _ := box.User(user)
		if got := string(profile.Attributes["vip"]); got != fmt.Sprint(p.in[user]) && (got != "" || p.in[user]) {
			err = errors.Join(err, fmt.Errorf("%s: MoEngage holds %q, the last membership posted is %v", user, got, p.in[user]))
		}
		var got []string
		seen := map[string]bool{}
		for _, e := range box.Events(user) {
			var said struct {
				ChangeID string `json:"change_id"`
			}
			if err := json.Unmarshal(e.Attributes, &said); err != nil {
				return repeats, err
			}
			if seen[said.ChangeID] {
				repeats++
				continue
			}
			seen[said.ChangeID] = true
			got = append(got, e.Action)
		}
		if !slices.Equal(got, want) {
			err = errors.Join(err, fmt.Errorf("%s: events at MoEngage %v, posted %v", user, got, want))
		}
	}
	return repeats, err
}

// brief shortens an error to its first line and the last line of its log.
func brief(err error) string {
	first, rest, more := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	if more {
		first += " … " + rest[strings.LastIndex(rest, "\n")+1:]
	}
	return first[:min(len(first), 600)]
}
