package cli

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store/crashpoint"
	"personasync/store/testdir"
	"personasync/sync/sandbox"
)

// The scripts in testdata run the program as people do. Besides testscript's own commands they have
//
//	exits CODE COMMAND...  runs a command that must end with this exit code
//	ready                  waits until the agent of ./agent.toml accepts events
//	post FILE              delivers a file to it, signed
//	lose USER [ATTRIBUTE]  makes the sandbox forget what it accepted
//	until FIELD N          waits until a top-level number of its status is N
//	until moengage STATE   waits until its status says this of MoEngage
//	repeat PATTERN COMMAND...  runs a command again until its output matches
//	stranger CODE PATTERN COMMAND...  runs the program as a user who may see nothing; root can
//	unmarked ARCHIVE MARKS looks for every line of MARKS in an archive for support, in every form
//	unread COMMAND...      runs the program with nobody to read what it says
//	every STATE            runs every command, which must be as states says of this state
//
// and a sandbox of their own.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits,
			"ready": scriptReady,
			"post":  scriptPost,
			"until": scriptUntil, "repeat": scriptRepeat,
			"lose":  scriptLose,
			"fault": scriptFault, "unmarked": scriptUnmarked,
			"every": scriptEvery, "stranger": scriptStranger, "unread": scriptUnread,
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("there is no condition %q", name)
		},
	})
}

func TestMain(m *testing.M) {
	testdir.InMemory()
	_ = flag.Set("test.parallel", "8") // the parallel tests of this package mostly wait
	testscript.Main(leakChecked{m}, map[string]func(){"personasync": func() {
		if os.Getenv("SLOW_CHECK") != "" {
			os.Exit(Main(slowly))
		}
		if armed := os.Getenv("KILLED_MIDWAY"); armed != "" {
			crashpoint.OnPoint(midway(armed))
		}
		if os.Getenv("CHILDREN") != "" {
			os.Exit(Main(children))
		}
		os.Exit(Main(nil))
	}})
}

// midway kills this process at a point between two writes that the file armed names, as "COUNT POINT": the COUNTth time that it
// comes there once the file exists. It removes the file. Only an order, a delivery or a reload commits to the inbox.
func midway(armed string) func(crashpoint.Point) {
	var mu sync.Mutex
	met := 0
	return func(p crashpoint.Point) {
		mu.Lock()
		defer mu.Unlock()
		text, err := os.ReadFile(armed)
		count, point, named := strings.Cut(strings.TrimSpace(string(text)), " ")
		if err != nil || !named || p != crashpoint.Point(point) {
			return
		}
		if met++; strconv.Itoa(met) != count {
			return
		}
		_ = os.Remove(armed)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// leakChecked fails a run of tests that left goroutines behind.
type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "leaked:", err)
		return 1
	}
	return code
}

func setupScript(env *testscript.Env) error {
	box := httptest.NewServer(sandbox.New(sandbox.Options{Strict: true}))
	env.Defer(box.Close)
	echo := httptest.NewServer(http.HandlerFunc(echoes))
	env.Defer(echo.Close)
	env.Setenv("ECHO_URL", echo.URL)
	binary, err := exec.LookPath("personasync") // testscript has put it on the path
	if err != nil {
		return err
	}
	env.Setenv("BINARY", binary)
	env.Setenv("GORACE", "atexit_sleep_ms=0") // a program under the race detector would linger for 1 s
	env.Setenv("PERSONASYNC_MOENGAGE_BASE_URL", box.URL)
	// The scripts' agent.toml needs no secrets: files of a script are readable by everybody.
	env.Setenv("PERSONASYNC_INGEST_SHARED_SECRET", "hush")
	env.Setenv("PERSONASYNC_MOENGAGE_WORKSPACE_ID", "WS")
	env.Setenv("PERSONASYNC_MOENGAGE_API_KEY", "key-that-must-not-show")
	return nil
}

// stranger is a user who owns nothing here.
const stranger = 65534

// scriptStranger runs the program, which lies where a stranger has no way to, through its open file.
func scriptStranger(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: stranger CODE PATTERN COMMAND...")
	}
	work := ts.MkAbs(".")
	for _, dir := range []string{work, filepath.Dir(work)} {
		ts.Check(os.Chmod(dir, 0o755))
	}
	program, err := os.Open(ts.Getenv("BINARY"))
	ts.Check(err)
	defer program.Close()
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	defer cancel()
	c := exec.CommandContext(ctx, "/proc/self/fd/3", args[2:]...)
	c.Args[0] = "personasync" // by which testscript knows what to be
	c.Dir, c.ExtraFiles = work, []*os.File{program}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	c.Env = []string{"PERSONASYNC_INGEST_SHARED_SECRET=hush", "PERSONASYNC_MOENGAGE_WORKSPACE_ID=WS", "PERSONASYNC_MOENGAGE_API_KEY=key-that-must-not-show"}
	out, _ := c.CombinedOutput() // its exit code tells
	if code := c.ProcessState.ExitCode(); strconv.Itoa(code) != args[0] || !regexp.MustCompile(args[1]).Match(out) || unfit.Match(out) {
		ts.Fatalf("a stranger's %q ended with %d, not %s and %q; it said:\n%s", args[2:], code, args[0], args[1], out)
	}
}

// scriptUnread expects of a command whose reader has gone that it ends at once, well and in silence.
func scriptUnread(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: unread COMMAND...")
	}
	reader, writer, err := os.Pipe()
	ts.Check(err)
	ts.Check(reader.Close())
	defer writer.Close()
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	defer cancel()
	var said strings.Builder
	c := exec.CommandContext(ctx, ts.Getenv("BINARY"), args...)
	c.Dir, c.Stdout, c.Stderr = ts.MkAbs("."), writer, &said
	c.Env = append(os.Environ(), "PERSONASYNC_INGEST_SHARED_SECRET=hush", "PERSONASYNC_MOENGAGE_WORKSPACE_ID=WS", "PERSONASYNC_MOENGAGE_API_KEY=key-that-must-not-show")
	_ = c.Run() // its exit code tells
	if code := c.ProcessState.ExitCode(); code != 0 || strings.Contains(said.String(), "broken pipe") || unfit.MatchString(said.String()) {
		ts.Fatalf("unread, %q ended with %d and said:\n%s", args, code, said.String())
	}
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		failed := (*exec.ExitError)(nil)
		if !errors.As(err, &failed) {
			ts.Fatalf("%v", err)
		}
		code = failed.ExitCode()
	}
	if code != want {
		ts.Fatalf("%s ended with exit code %d, not %d", strings.Join(args[1:], " "), code, want)
	}
}

// scriptWait polls the status of the agent of the script's agent.toml.
func scriptWait(ts *testscript.TestScript, what string, ok func(condition.Status) bool) {
	conf, err := config.LoadWithoutSecrets(ts.MkAbs("agent.toml"), nil)
	ts.Check(err)
	var last condition.Status
	for deadline := time.Now().Add(hangs); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		c, err := api.Dial(context.Background(), conf.Socket(ts.Getenv), Version())
		if err != nil {
			continue // there is no agent yet
		}
		s, err := c.Status(context.Background())
		_ = c.Close()
		if last = s; err == nil && ok(s) {
			return
		}
	}
	ts.Fatalf("waited in vain until %s: %+v", what, last)
}

func scriptReady(ts *testscript.TestScript, _ bool, _ []string) {
	scriptWait(ts, "the agent is ready", func(s condition.Status) bool { return s.Ready })
}

func scriptUntil(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: until FIELD N, or until moengage STATE")
	}
	if args[0] == "moengage" {
		scriptWait(ts, "MoEngage is "+args[1], func(s condition.Status) bool { return s.MoEngage.State == args[1] })
		return
	}
	want, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	scriptWait(ts, strings.Join(args, " is "), func(s condition.Status) bool {
		return s.Unapplied == 0 && map[string]uint64{
			"accepted": s.Events.Accepted, "pending": s.Pending, "parked": s.Parked, "delivered": s.Delivered, "held": s.Held,
		}[args[0]] == want
	})
}

func scriptRepeat(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: repeat PATTERN COMMAND...")
	}
	says, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(hangs); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		_ = ts.Exec(args[1], args[2:]...) // its output tells
		if says.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("waited in vain for %q of %q", args[0], args[1:])
}

func scriptLose(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: lose USER [ATTRIBUTE]")
	}
	q := url.Values{"user": args[:1], "attribute": args[1:]}
	resp, err := http.Post(ts.Getenv("PERSONASYNC_MOENGAGE_BASE_URL")+"/sandbox/lose?"+q.Encode(), "", nil)
	ts.Check(err)
	ts.Check(resp.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("there was nothing to lose: HTTP %d", resp.StatusCode)
	}
}

// scriptFault has the sandbox misbehave until `fault off`.
func scriptFault(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: fault SPEC, or fault off")
	}
	path := "/sandbox/fail?" + url.Values{"spec": args}.Encode()
	if args[0] == "off" {
		path = "/sandbox/heal"
	}
	resp, err := http.Post(ts.Getenv("PERSONASYNC_MOENGAGE_BASE_URL")+path, "", nil)
	ts.Check(err)
	ts.Check(resp.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("the sandbox does not take the fault %q: HTTP %d", args[0], resp.StatusCode)
	}
}

func scriptPost(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: post FILE")
	}
	body := strings.TrimSpace(ts.ReadFile(args[0]))
	mac := hmac.New(sha1.New, []byte("hush"))
	mac.Write([]byte(body))
	req, err := http.NewRequest(http.MethodPost, "http://agent/segment/webhook", strings.NewReader(body))
	ts.Check(err)
	req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", ts.MkAbs(filepath.FromSlash("in.sock")))
	}}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	ts.Check(err)
	ts.Check(resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		ts.Fatalf("the delivery was answered HTTP %d", resp.StatusCode)
	}
}
