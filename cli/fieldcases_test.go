package cli

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
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/sync/sandbox"
)

// fieldCase is one entry of testdata/field-cases/MANIFEST.json, whose note explains the fields. The inputs
// were made outside this project, from bug reports about other systems; so were the outcomes.
type fieldCase struct {
	Name, File, Path, Config, About string

	Bodies    []string
	OneByOne  bool `json:"one_by_one"`
	SignWhole bool `json:"sign_whole"`
	AsIs      bool `json:"as_is"`
	Import    *struct{ Key, File string }
	Expect    fieldOutcome
}

type fieldOutcome struct {
	Attrs          map[string]map[string]any
	Events         map[string][]string
	Cohorts        map[string][]string
	Users          []string
	UnknownUsers   []string `json:"unknown_users"`
	Members        map[string][]string
	Parked         []string
	Held           *uint64
	Status         int
	NoDoubledNames bool     `json:"no_doubled_names"`
	NotOnTheWire   []string `json:"not_on_the_wire"`
	InLog          []string `json:"in_log"`
	Exit           *int
}

func TestFieldCases(t *testing.T) {
	var manifest struct{ Cases []fieldCase }
	readJSON(t, filepath.Join("testdata", "field-cases", "MANIFEST.json"), &manifest)
	if len(manifest.Cases) == 0 {
		t.Fatal("there are no cases")
	}
	for _, c := range manifest.Cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			f := runFieldCase(t, c)
			for _, w := range f.wrong {
				t.Error(w)
			}
			if t.Failed() {
				t.Logf("%s\nthe agent's log:\n%s", c.About, f.log.String())
			}
		})
	}
}

// field is a case under way: the program as it is shipped, and a MoEngage that keeps what it is sent.
type field struct {
	t       *testing.T
	dir     string
	box     *sandbox.Sandbox
	url     string // of the box
	prelude int    // requests that the case itself made of the box
	log     safeBuffer
	wrong   []string
}

func runFieldCase(t *testing.T, c fieldCase) *field {
	box := sandbox.New(sandbox.Options{Strict: true, KeepBodies: true})
	server := httptest.NewServer(box)
	t.Cleanup(server.Close)
	dir, err := os.MkdirTemp("", "field") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &field{t: t, dir: dir, box: box, url: server.URL}
	f.configure(c.Config)
	f.introduce(slices.Sorted(maps.Keys(c.Expect.Cohorts)), c.Expect.Cohorts)
	stop := f.start()
	f.deliver(c)
	f.settle()
	if c.Import != nil {
		f.importList(c)
		f.settle()
	}
	f.check(c.Expect)
	stop()
	f.checkLog(c.Expect.InLog)
	return f
}

func (f *field) configure(more string) {
	text := `data_dir = "data"
[log]
format = "text"
[ingest]
listen = "unix:in.sock"
[admin]
socket = "a.sock"
listen = ""
[schedule]
max_delay = "5ms"
` + more
	if err := os.WriteFile(filepath.Join(f.dir, "agent.toml"), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// introduce makes the members of cohorts known to MoEngage, which skips unknown users in silence.
func (f *field) introduce(names []string, members map[string][]string) {
	for _, name := range names {
		for _, user := range members[name] {
			body := fmt.Sprintf(`{"type":"customer","customer_id":%q,"attributes":{"known":true}}`, user)
			req, err := http.NewRequest(http.MethodPost, f.url+"/v1/customer/WS", strings.NewReader(body))
			if err != nil {
				f.t.Fatal(err)
			}
			req.SetBasicAuth("WS", "key")
			req.Header.Set("Content-Type", "application/json")
			if code := do(f.t, http.DefaultClient, req); code != http.StatusOK {
				f.t.Fatalf("the sandbox answered %d to %s", code, body)
			}
			f.prelude++
		}
	}
}

func (f *field) command(args ...string) *exec.Cmd {
	c := exec.Command("personasync", args...)
	c.Dir = f.dir
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "PERSONASYNC_MOENGAGE_BASE_URL="+f.url,
		"PERSONASYNC_INGEST_SHARED_SECRET=hush", "PERSONASYNC_INGEST_WRITE_KEYS=wk",
		"PERSONASYNC_MOENGAGE_WORKSPACE_ID=WS", "PERSONASYNC_MOENGAGE_API_KEY=key")
	return c
}

func (f *field) start() (stop func()) {
	c := f.command("run")
	c.Stdout, c.Stderr = &f.log, &f.log
	if err := c.Start(); err != nil {
		f.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			f.wrong = append(f.wrong, fmt.Sprintf("the agent ended with %v", err))
		}
	})
	f.t.Cleanup(stop)
	f.until("the agent is ready", func(s condition.Status) bool { return s.Ready })
	return stop
}

// until waits for what the agent's status says.
func (f *field) until(what string, ok func(condition.Status) bool) {
	var last condition.Status
	for deadline := time.Now().Add(hangs); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		c, err := api.Dial(f.t.Context(), filepath.Join(f.dir, "a.sock"), Version())
		if err != nil {
			continue
		}
		last, err = c.Status(f.t.Context())
		_ = c.Close()
		if err == nil && ok(last) {
			return
		}
	}
	f.t.Fatalf("waited in vain until %s: %+v\n%s", what, last, f.log.String())
}

// settle waits until nothing is under way any more.
func (f *field) settle() {
	f.until("all is applied and sent", func(s condition.Status) bool { return s.Unapplied == 0 && s.Pending == 0 })
}

func (f *field) deliver(c fieldCase) {
	files := append(slices.Clone(c.Bodies), c.File)
	for _, name := range files {
		if name == "" {
			continue
		}
		body, err := os.ReadFile(filepath.Join("testdata", "field-cases", name))
		if err != nil {
			f.t.Fatal(err)
		}
		if !c.AsIs {
			body = moveTimes(body, time.Now())
		}
		for _, one := range f.deliveries(c, body) {
			want := c.Expect.Status
			if want == 0 {
				want = http.StatusOK
			}
			if got := f.post(c.Path, one); got != want {
				f.wrong = append(f.wrong, fmt.Sprintf("a delivery was answered %d, not %d", got, want))
			}
			if c.OneByOne {
				f.settle() // an exit that follows an enter at once would leave nothing to send
			}
		}
	}
}

func (f *field) deliveries(c fieldCase, body []byte) [][]byte {
	if !c.OneByOne {
		return [][]byte{body}
	}
	var list []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil {
		f.t.Fatal(err)
	}
	bodies := make([][]byte, len(list))
	for i, one := range list {
		bodies[i] = one
	}
	return bodies
}

// moveTimes moves the times of a case so that its 10:00:00 is an hour before now.
func moveTimes(body []byte, now time.Time) []byte {
	origin := time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)
	shift := now.UTC().Add(-time.Hour).Truncate(time.Second).Sub(origin)
	return fieldTime.ReplaceAllFunc(body, func(at []byte) []byte {
		was, err := time.Parse(fieldTimeLayout, string(at))
		if err != nil {
			return at
		}
		return was.Add(shift).AppendFormat(nil, fieldTimeLayout)
	})
}

const fieldTimeLayout = "2006-01-02T15:04:05"

var fieldTime = regexp.MustCompile(`2026-11-28T\d\d:\d\d:\d\d`)

func (f *field) post(path string, body []byte) int {
	req, err := http.NewRequest(http.MethodPost, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	mac := hmac.New(sha1.New, []byte("hush"))
	mac.Write(body)
	req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	req.Header.Set("Content-Type", "application/json")
	if strings.HasPrefix(path, "/v1/") {
		req.SetBasicAuth("wk", "")
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(f.dir, "in.sock"))
	}}
	return do(f.t, &http.Client{Transport: transport}, req)
}

func do(t *testing.T, client *http.Client, req *http.Request) int {
	t.Helper()
	req.Close = true
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func (f *field) importList(c fieldCase) {
	text, err := os.ReadFile(filepath.Join("testdata", "field-cases", c.Import.File))
	if err != nil {
		f.t.Fatal(err)
	}
	list := filepath.Join(f.dir, c.Import.File) // written now: a list is as old as its file
	if err := os.WriteFile(list, text, 0o600); err != nil {
		f.t.Fatal(err)
	}
	out, err := f.command("audience", "import", c.Import.Key, list, "--yes").CombinedOutput()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		f.t.Fatal(err)
	} else if want := c.Expect.Exit; want != nil && (err == nil) != (*want == 0) {
		f.wrong = append(f.wrong, fmt.Sprintf("the import ended with %v, not with exit code %d:\n%s", err, *want, out))
	}
}

// check compares what MoEngage and the agent hold with what they should.
func (f *field) check(want fieldOutcome) {
	f.checkMoEngage(want)
	for key, members := range want.Members {
		f.same("members of "+key, members, f.members(key))
	}
	if want.Parked != nil {
		f.same("parked", want.Parked, f.parked())
	}
	if want.Held != nil {
		f.until("its status can be read", func(s condition.Status) bool { f.same("held", *want.Held, s.Held); return true })
	}
}

// checkMoEngage compares what MoEngage holds and was sent.
func (f *field) checkMoEngage(want fieldOutcome) {
	for user, attrs := range want.Attrs {
		profile, _ := f.box.User(user)
		for name, value := range attrs {
			f.same("attribute "+name+" of "+user, value, plainJSON(f.t, profile.Attributes[name]))
		}
	}
	for user, names := range want.Events {
		var got []string
		for _, e := range f.box.Events(user) {
			got = append(got, e.Action)
		}
		f.same("events of "+user, names, got)
	}
	for name, members := range want.Cohorts {
		f.same("cohort "+name, members, f.cohort(name))
	}
	if told := f.told(); want.Users != nil {
		f.same("users that MoEngage was told of", slices.Sorted(slices.Values(want.Users)), told)
	}
	for _, user := range want.UnknownUsers {
		if _, known := f.box.User(user); known {
			f.wrong = append(f.wrong, "MoEngage was told of "+user)
		}
	}
	f.checkWire(want)
}

func (f *field) same(what string, want, got any) {
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		f.wrong = append(f.wrong, what+" (-want +got):\n"+d)
	}
}

// cohort lists who is in the custom segments of a name, as MoEngage shows them to a marketer.
func (f *field) cohort(name string) []string {
	members := []string{}
	for _, r := range f.box.Requests() {
		var body struct {
			Parameters struct {
				CohortID string `json:"cohort_id"`
			}
		}
		_ = json.Unmarshal([]byte(r.Body), &body)
		if c, ok := f.box.Cohort(body.Parameters.CohortID); ok && (c.Name == name || c.ID == name) {
			members = append(members, c.Members...)
		}
	}
	slices.Sort(members)
	return slices.Compact(members)
}

// requests are those that the agent made.
func (f *field) requests() []sandbox.Request { return f.box.Requests()[f.prelude:] }

// told lists the users of all requests, accepted or not.
func (f *field) told() []string {
	users := []string{}
	for _, r := range f.requests() {
		for _, m := range toldUser.FindAllStringSubmatch(r.Body, -1) {
			var user string
			if json.Unmarshal([]byte(m[1]), &user) == nil {
				users = append(users, user)
			}
		}
	}
	slices.Sort(users)
	return slices.Compact(users)
}

var toldUser = regexp.MustCompile(`"(?:customer_id|uid)"\s*:\s*("(?:[^"\\]|\\.)*")`)

func (f *field) members(key string) []string {
	var list []struct{ User string }
	f.ask(&list, "audience", "members", key, "--json")
	users := []string{}
	for _, m := range list {
		users = append(users, m.User)
	}
	slices.Sort(users)
	return users
}

func (f *field) parked() []string {
	var list []struct{ Reason string }
	f.ask(&list, "outbox", "list", "--state", "parked", "--json")
	reasons := []string{}
	for _, p := range list {
		reasons = append(reasons, p.Reason)
	}
	return reasons
}

// ask runs a command that prints JSON.
func (f *field) ask(into any, args ...string) {
	c := f.command(args...)
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		f.t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

func (f *field) checkWire(want fieldOutcome) {
	for _, r := range f.requests() {
		if name := doubledName([]byte(r.Body)); want.NoDoubledNames && name != "" {
			f.wrong = append(f.wrong, fmt.Sprintf("a JSON object has the name %s twice: %s", name, r.Body))
		}
		for _, text := range want.NotOnTheWire {
			if strings.Contains(r.Body, text) {
				f.wrong = append(f.wrong, fmt.Sprintf("%q was sent: %s", text, r.Body))
			}
		}
	}
}

func (f *field) checkLog(patterns []string) {
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(f.log.String()) {
			f.wrong = append(f.wrong, "nothing in the log matches "+p)
		}
	}
}

// doubledName returns a name that an object of this JSON has twice, or "".
func doubledName(text []byte) string {
	d := json.NewDecoder(bytes.NewReader(text))
	type level struct {
		names  map[string]bool // nil: an array
		isName bool
	}
	var open []level
	for {
		token, err := d.Token()
		if err != nil {
			return ""
		}
		top := len(open) - 1
		if name, ok := token.(string); ok && top >= 0 && open[top].names != nil && open[top].isName {
			if open[top].names[name] {
				return name
			}
			open[top].names[name], open[top].isName = true, false
			continue
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}, isName: true})
			continue
		case json.Delim('['):
			open = append(open, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:top]
		}
		if top := len(open) - 1; top >= 0 {
			open[top].isName = true
		}
	}
}

func plainJSON(t *testing.T, raw json.RawMessage) (value any) {
	if raw == nil {
		return nil
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// safeBuffer is a process's output that can be read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
