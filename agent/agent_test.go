package agent

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/sending"
	"personasync/store"
	"personasync/store/domain"
	"personasync/store/testdir"
	"personasync/sync/sandbox"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	_ = flag.Set("test.parallel", "16") // the parallel tests of this package wait
	goleak.VerifyTestMain(m)
}

// site is a folder with a configuration, and MoEngage somewhere.
type site struct {
	t   *testing.T
	dir string
	box *sandbox.Sandbox
	url string // of the box
}

func newSite(t *testing.T) *site {
	box := sandbox.New(sandbox.Options{Strict: true})
	server := httptest.NewServer(box)
	t.Cleanup(server.Close)
	return &site{t: t, dir: t.TempDir(), box: box, url: server.URL}
}

// load reads a configuration that differs from the defaults by lines, KEY=VALUE in environment form.
func (s *site) load(lines ...string) *config.Config {
	s.t.Helper()
	c, err := config.Load("", append([]string{
		"PERSONASYNC_DATA_DIR=" + filepath.Join(s.dir, "data"),
		"PERSONASYNC_INGEST_LISTEN=127.0.0.1:0",
		"PERSONASYNC_INGEST_SHARED_SECRET=hush",
		"PERSONASYNC_ADMIN_LISTEN=127.0.0.1:0",
		"PERSONASYNC_ADMIN_SOCKET=" + filepath.Join(s.dir, "s"),
		"PERSONASYNC_MOENGAGE_WORKSPACE_ID=WS",
		"PERSONASYNC_MOENGAGE_API_KEY=key",
		"PERSONASYNC_MOENGAGE_BASE_URL=" + s.url,
		"PERSONASYNC_SCHEDULE_MAX_DELAY=5ms",
		"PERSONASYNC_RETRY_MIN_BACKOFF=5ms",
		"PERSONASYNC_RETRY_MAX_BACKOFF=20ms",
	}, lines...))
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// started is an agent that runs until stop.
type started struct {
	Addresses
	t     *testing.T
	end   context.CancelFunc
	ended chan error
}

func (s *site) start(c *config.Config, o RunOptions) *started {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a := &started{t: s.t, end: cancel, ended: make(chan error, 1)}
	ready := make(chan Addresses, 1)
	if o.Log == nil {
		o.Log = quiet()
	}
	o.Version = "1.0"
	o.Ready = func(at Addresses) { ready <- at }
	go func() { a.ended <- Run(ctx, c, o) }()
	s.t.Cleanup(a.stop)
	select {
	case a.Addresses = <-ready:
	case err := <-a.ended:
		a.ended <- err
		s.t.Fatalf("the agent did not start: %v", err)
	case <-time.After(time.Minute):
		s.t.Fatal("the agent never took events")
	}
	return a
}

func (a *started) stop() {
	a.t.Helper()
	if a.end == nil {
		return
	}
	a.end()
	a.end = nil
	select {
	case err := <-a.ended:
		if err != nil {
			a.t.Errorf("the agent ended with %v", err)
		}
	case <-time.After(time.Minute):
		a.t.Error("the agent never ended")
	}
}

// news is an audience's identify call.
func news(user string, in bool, at time.Time) string {
	stamp := at.UTC().Format(time.RFC3339Nano)
	return fmt.Sprintf(`{"type":"identify","userId":%q,"messageId":"m-%s-%s","originalTimestamp":%q,"traits":{"vip":%v},
		"context":{"personas":{"computation_class":"audience","computation_id":"aud_1","computation_key":"vip","space_id":"spa_1"}}}`,
		user, user, stamp, stamp, in)
}

func (a *started) post(client *http.Client, scheme, body string) int {
	a.t.Helper()
	mac := hmac.New(sha1.New, []byte("hush"))
	mac.Write([]byte(body))
	req, err := http.NewRequest(http.MethodPost, scheme+"://"+a.Ingest.String()+"/segment/webhook", strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	req.Close = true
	resp, err := client.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func (a *started) tell(body string) {
	a.t.Helper()
	if code := a.post(http.DefaultClient, "http", body); code != http.StatusOK {
		a.t.Fatalf("a delivery was answered %d", code)
	}
}

// eventually waits for what the agent tells of itself.
func eventually(t *testing.T, i api.Inspector, what string, ok func(condition.Status) bool) {
	t.Helper()
	var s condition.Status
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		var err error
		if s, err = i.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ok(s) {
			return
		}
	}
	t.Fatalf("waited in vain until %s: %+v", what, s)
}

func open(t *testing.T, c *config.Config) (i api.Inspector, running bool) {
	t.Helper()
	i, done, running, err := Open(t.Context(), c, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = done.Close() })
	return i, running
}

func TestAnswersAreTheSameUpAndDown(t *testing.T) {
	s := newSite(t)
	c := s.load("PERSONASYNC_RETRY_MIN_BACKOFF=1h", "PERSONASYNC_RETRY_MAX_BACKOFF=1h") // one refusal, then it waits
	a := s.start(c, RunOptions{})
	up, running := open(t, c)
	if !running {
		t.Fatal("the running agent was not asked")
	}
	now := time.Now()
	a.tell(news("ann", true, now))
	a.tell(news("ann", true, now))
	a.tell(news("bob", true, now))
	eventually(t, up, "all is delivered", func(s condition.Status) bool { return s.Events.Accepted == 3 && s.Pending == 0 })
	s.box.Fail(sandbox.Fault{Status: http.StatusServiceUnavailable})
	a.tell(news("ann", false, now.Add(time.Second)))
	a.tell(strings.Replace(news("cid", true, now), `"vip":true`, `"x":1`, 1))
	eventually(t, up, "one waits", func(s condition.Status) bool { return s.Parked == 1 && s.Pending == 1 && s.MoEngage.State == "failing" })
	eventually(t, up, "its refusal is on disk", func(condition.Status) bool {
		page, _, err := up.Changes(t.Context(), domain.OutboxFilter{})
		return err == nil && len(page) == 1 && page[0].Attempts > 0
	})

	// What changes by itself while the agent runs is looked at when it no longer can.
	_, err := up.User(t.Context(), "nobody")
	heard := everything(t, up)
	a.stop()
	local, running := open(t, c)
	if running {
		t.Fatal("a stopped agent answered")
	}
	if diff := cmp.Diff(everything(t, local), heard); diff != "" {
		t.Errorf("up and down differ (-down +up):\n%s", diff)
	}
	_, err2 := local.User(t.Context(), "nobody")
	if !errors.Is(err, store.ErrNotFound) || !errors.Is(err2, store.ErrNotFound) || err.Error() != err2.Error() {
		t.Errorf("an unknown user is %q up and %q down", err, err2)
	}
}

// everything asks all there is to ask, ages aside.
func everything(t *testing.T, i api.Inspector) map[string]any {
	t.Helper()
	ctx := t.Context()
	all := make(map[string]any)
	note := func(what string, v any, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		all[what] = v
	}
	status, err := i.Status(ctx)
	note("events", status.Events, err)
	note("changes", status.Changes, err)
	list, err := i.Computations(ctx)
	note("computations", list, err)
	members, _, err := i.Members(ctx, "vip", "", 10)
	note("members", members, err)
	for _, state := range []domain.State{domain.StatePending, domain.StateDelivered, domain.StateParked, domain.StateHeld} {
		page, next, err := i.Changes(ctx, domain.OutboxFilter{State: state})
		note(state.String(), page, err)
		if next != "" {
			t.Errorf("more than a hundred are %s", state)
		}
		for _, line := range page {
			id, err := domain.ParseID(line.ID)
			if err != nil {
				t.Fatal(err)
			}
			one, err := i.Change(ctx, id)
			note("change "+line.ID, one, err)
		}
	}
	user, err := i.User(ctx, "ann")
	note("user", user, err)
	dry, err := i.DryRun(ctx, "vip", 10)
	note("dry run", dry, err)
	return all
}

func TestSecondAgentOnTheSameDataIsRefused(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	s.start(s.load(), RunOptions{})
	err := Run(t.Context(), s.load("PERSONASYNC_ADMIN_SOCKET="+filepath.Join(s.dir, "other")), RunOptions{Log: quiet()})
	if !errors.Is(err, store.ErrInUse) {
		t.Errorf("it ended with %v", err)
	}
}

func TestCronHoldsChangesUntilAFlush(t *testing.T) {
	s := newSite(t)
	c := s.load("PERSONASYNC_SCHEDULE_MODE=cron", "PERSONASYNC_SCHEDULE_CRON=0 0 1 1 *")
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	a.tell(news("ann", true, time.Now()))
	eventually(t, i, "it waits", func(s condition.Status) bool { return s.Pending == 1 })
	status, err := i.Status(t.Context())
	if err != nil || status.NextFlush == nil || status.NextFlush.Month() != time.January {
		t.Errorf("next flush is %v, %v", status.NextFlush, err)
	}
	if n := len(s.box.Requests()); n != 0 {
		t.Errorf("%d requests left before their time", n)
	}
	receipt, err := i.(*api.Client).Flush(t.Context(), "vip")
	if err != nil || receipt != (api.FlushReceipt{Job: sending.DefaultJob, Pending: 1}) {
		t.Errorf("flush: %+v, %v", receipt, err)
	}
	eventually(t, i, "it has left", func(s condition.Status) bool { return s.Pending == 0 && s.Delivered == 1 })
	if _, err := i.(*api.Client).Flush(t.Context(), "nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("flush of an unknown computation: %v", err)
	}
}

func TestOwnCronLetsItsComputationLeave(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	path := filepath.Join(s.dir, "agent.toml")
	text := "[schedule]\nmode = \"cron\"\ncron = \"0 0 1 1 *\"\n[[computation]]\nkey = \"vip\"\nschedule = \"@every 1s\"\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := s.load()
	own, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Schedule, c.Computations = own.Schedule, own.Computations
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	a.tell(news("ann", true, time.Now()))
	a.tell(strings.ReplaceAll(news("ann", true, time.Now()), "vip", "slow"))
	eventually(t, i, "the one with its own schedule has left, and the other waits", func(s condition.Status) bool {
		return s.Delivered == 1 && s.Pending == 1
	})
}

// TestALongRunOfAScheduleKeepsNoLaterChangeFromItsTime: an import takes hours at the limit, and one user's change may
// fail for ever. What Segment said meanwhile of an audience with a schedule waited for the end of that run.
func TestALongRunOfAScheduleKeepsNoLaterChangeFromItsTime(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	c := s.load("PERSONASYNC_SCHEDULE_MODE=cron", "PERSONASYNC_SCHEDULE_CRON=@every 1s")
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	s.box.Fail(sandbox.Fault{Hang: true, User: "ann"})
	t.Cleanup(s.box.Heal)
	a.tell(news("ann", true, time.Now()))
	eventually(t, i, "a run is under way", func(condition.Status) bool { return s.box.Stats().InFlight > 0 })
	time.Sleep(1100 * time.Millisecond) // receipts are compared in whole seconds
	a.tell(news("bob", true, time.Now()))
	eventually(t, i, "what came later has left at its time", func(st condition.Status) bool {
		p, known := s.box.User("bob")
		return known && string(p.Attributes["vip"]) == "true" && st.Pending == 1
	})
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	c := s.load()
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	s.box.Fail(sandbox.Fault{Slow: 300 * time.Millisecond})
	a.tell(news("ann", true, time.Now()))
	eventually(t, i, "a request is on its way, unless this host is very slow", func(st condition.Status) bool {
		return s.box.Stats().InFlight > 0 || st.Delivered > 0
	})
	a.stop()
	after, _ := open(t, c)
	status, err := after.Status(t.Context())
	if err != nil || status.Delivered != 1 || status.Pending != 0 {
		t.Errorf("after the stop: %+v, %v", status.Changes, err)
	}
}

func TestReloadPutsInForceWhatItCan(t *testing.T) {
	s := newSite(t)
	c := s.load("PERSONASYNC_SCHEDULE_MODE=cron", "PERSONASYNC_SCHEDULE_CRON=0 0 1 1 *")
	var mu sync.Mutex
	var log bytes.Buffer
	var next atomic.Pointer[config.Config]
	var loads atomic.Int32
	hangup := make(chan os.Signal)
	var wanted atomic.Pointer[config.Log]
	a := s.start(c, RunOptions{
		Log: slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(p)
		}), nil)),
		Relog:  func(c config.Log) { wanted.Store(&c) },
		Reload: hangup,
		Load: func() (*config.Config, error) {
			loads.Add(1)
			if n := next.Load(); n != nil {
				return n, nil
			}
			return nil, errors.New("agent.toml:3: nonsense")
		},
	})
	logged := func() string {
		mu.Lock()
		defer mu.Unlock()
		return log.String()
	}
	i, _ := open(t, c)
	a.tell(news("ann", true, time.Now()))
	eventually(t, i, "it waits", func(s condition.Status) bool { return s.Pending == 1 })

	hangup <- os.Interrupt // a bad file changes nothing
	eventually(t, i, "the bad file is logged", func(condition.Status) bool { return contains(logged(), "agent.toml:3: nonsense") })

	next.Store(s.load("PERSONASYNC_INGEST_LISTEN=127.0.0.1:1", "PERSONASYNC_LOG_LEVEL=debug", "PERSONASYNC_LOG_FORMAT=json",
		"PERSONASYNC_DEFAULTS_SEND=both"))
	hangup <- os.Interrupt
	eventually(t, i, "the new mode lets it leave", func(s condition.Status) bool { return s.Delivered == 1 })
	eventually(t, i, "the log names what changed", func(condition.Status) bool {
		return contains(logged(), "key=ingest.listen") && contains(logged(), "(defaults)")
	})
	if got := wanted.Load(); got == nil || *got != (config.Log{Level: "debug", Format: "json"}) {
		t.Errorf("the log is to follow %v", got)
	}
	a.tell(news("bob", true, time.Now()))
	eventually(t, i, "the new rules hold", func(s condition.Status) bool { return s.Delivered == 3 })
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestIngestOverTLS(t *testing.T) {
	cert, key, pool := selfSigned(t)
	s := newSite(t)
	a := s.start(s.load("PERSONASYNC_INGEST_TLS_CERT="+cert, "PERSONASYNC_INGEST_TLS_KEY="+key), RunOptions{})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	if code := a.post(&http.Client{Transport: transport}, "https", news("ann", true, time.Now())); code != http.StatusOK {
		t.Errorf("answered %d", code)
	}
	old := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11}}
	defer old.CloseIdleConnections()
	if _, err := (&http.Client{Transport: old}).Get("https://" + a.Ingest.String()); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
}

func TestAdminSideOfALiveAgent(t *testing.T) {
	s := newSite(t)
	a := s.start(s.load(), RunOptions{})
	for _, path := range []string{"/healthz", "/readyz", "/", "/api/status"} {
		resp, err := http.Get("http://" + a.Admin.String() + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s answered %d", path, resp.StatusCode)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// awaited returns what comes from c, and fails the test if nothing does.
func awaited[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
