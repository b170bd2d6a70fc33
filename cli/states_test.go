package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
)

// states says of every command how it ends and what it says in each state of the agent: testdata/states.txtar
// brings them about, and runs all of it in each. An answer is an exit code and what standard output or
// error must match; INT before it interrupts a command that goes on, once it has said so. {change} is the
// id of a parked change, {file} a member list, {backup} a backup.
var states = []stateCase{
	// command line, and its answers: up, down, starting, crashed
	{"run", "2 in use by another process", "INT 0 msg=ready", "2 in use by another process", "INT 0 msg=ready"},
	{"status", "0 accepted, up", "0 not accepted: stopped", "0 not accepted: starting", "0 not accepted: stopped"},
	{"status --check", "0 ^events are accepted; not all is well: .*parked \\(warning\\).*; `personasync status` shows more$", "4 not running", "0 ^starting$", "4 not running"},
	{"outbox list --state delivered", "0 usr_ann", "0 usr_ann", "0 usr_ann", "0 usr_ann"},
	{"outbox show {change}", "0 undetermined", "0 undetermined", "0 undetermined", "0 undetermined"},
	{"outbox stats", "0 undetermined", "0 undetermined", "0 undetermined", "0 undetermined"},
	{"outbox retry {change}", "0 0 changes retried", "4 start it with", "4 is starting", "4 start it with"},
	{"outbox drop --dry-run {change}", "0 1 change would be dropped", "4 start it with", "4 is starting", "4 start it with"},
	{"outbox export --state parked", "0 undetermined", "0 undetermined", "0 undetermined", "0 undetermined"},
	{"outbox pause --for 1ms --why test", "0 sending is paused until", "0 sending is paused until", "2 in use", "0 sending is paused until"},
	{"outbox resume", "3 not paused", "3 not paused", "2 in use", "3 not paused"},
	{"outbox explain-code 503", "0 http_503", "0 http_503", "0 http_503", "0 http_503"},
	{"audience list", "0 vip", "0 vip", "0 vip", "0 vip"},
	{"audience members vip", "0 usr_ann", "0 usr_ann", "0 usr_ann", "0 usr_ann"},
	{"audience history usr_ann", "0 vip +enter +attribute delivered", "0 vip +enter +attribute delivered", "0 vip +enter +attribute delivered", "0 vip +enter +attribute delivered"},
	{"audience transitions vip", "0 usr_ann +enter +m1", "0 usr_ann +enter +m1", "0 usr_ann +enter +m1", "0 usr_ann +enter +m1"},
	{"user history usr_ann", "0 vip +enter +m1 .*attribute delivered", "0 vip +enter +m1 .*attribute delivered", "0 vip +enter +m1 .*attribute delivered", "0 vip +enter +m1 .*attribute delivered"},
	{"audience verify vip", "0 MoEngage was told of 1 user", "4 start it with", "4 is starting", "4 start it with"},
	{"audience import vip {file} --dry-run", "0 a dry run", "0 a dry run", "2 in use", "0 a dry run"},
	{"audience baseline vip {file} --dry-run", "0 a dry run", "0 a dry run", "2 in use", "0 a dry run"},
	{"audience reconcile vip --dry-run", "0 1 would be told again", "0 1 would be told again", "2 in use", "0 1 would be told again"},
	{"audience close vip --dry-run", "0 1 would leave", "0 1 would leave", "2 in use", "0 1 would leave"},
	{"audience release vip --dry-run", "3 no exits of vip are held", "3 no exits of vip are held", "2 in use", "3 no exits of vip are held"},
	{"audience discard vip --dry-run", "3 no exits of vip are held", "3 no exits of vip are held", "2 in use", "3 no exits of vip are held"},
	{"audience adopt vip aud_2 --dry-run", "3 with that id", "3 with that id", "2 in use", "3 with that id"},
	{"audience forget vip --dry-run", "1 vip has members", "1 vip has members", "2 in use", "1 vip has members"},
	{"user show usr_ann", "0 user usr_ann", "0 user usr_ann", "0 user usr_ann", "0 user usr_ann"},
	{"user verify --settle 0s usr_ann", "0 vip +vip +true +true +agrees", "4 start it with", "4 is starting", "4 start it with"},
	{"user deletions", "0 ", "0 ", "0 ", "0 "},
	{"user forget --yes usr_cid", "3 nothing was known", "3 nothing was known", "2 in use", "3 nothing was known"},
	{"tail", "0 parked +usr_bob", "0 parked +usr_bob", "0 parked +usr_bob", "0 parked +usr_bob"},
	{"flush", "0 flushing everything", "4 --dry-run", "4 is starting", "4 --dry-run"},
	{"schedule", "0 nothing is scheduled", "0 nothing is scheduled", "0 nothing is scheduled", "0 nothing is scheduled"},
	{"db check", "0 everything is as it should be", "0 everything is as it should be", "0 everything is as it should be", "0 everything is as it should be"},
	{"db compact", "0 state.db had", "0 state.db had", "2 in use", "0 state.db had"},
	{"db backup again.tar", "0 again.tar: ", "0 again.tar: ", "0 again.tar: ", "0 again.tar: "},
	{"db restore --yes {backup}", "2 stop it first", "0 restored to", "2 in use", "0 restored to"},
	{"db move data", "2 stop it first", "1 is there already", "2 in use", "1 is there already"},
	{"preview exit.json", "0 comes to +exit", "0 comes to +exit", "0 comes to +exit", "0 comes to +exit"},
	{"config test cases", "0 ok +exit.json", "0 ok +exit.json", "0 ok +exit.json", "0 ok +exit.json"},
	{"config check", "0 ok: ", "0 ok: ", "0 ok: ", "0 ok: "},
	{"config show", "0 data_dir", "0 data_dir", "0 data_dir", "0 data_dir"},
	{"config init -", "0 data_dir", "0 data_dir", "0 data_dir", "0 data_dir"},
	{"sandbox --listen 127.0.0.1:0", "INT 0 sandbox on", "INT 0 sandbox on", "INT 0 sandbox on", "INT 0 sandbox on"},
	{"service install --root tree", "0 .", "0 .", "0 .", "0 ."},
	{"service uninstall --root tree", "0 uninstalled", "0 uninstalled", "0 uninstalled", "0 uninstalled"},
	{"service print", "0 ExecStart", "0 ExecStart", "0 ExecStart", "0 ExecStart"},
	{"demo", "INT 1 .", "INT 1 .", "INT 1 .", "INT 1 ."},
	{"doctor", "0 ok +socket", "1 it is not running", "0 it is starting", "1 it is not running"},
	{"secret set moengage_api_key", "2 is set at env", "2 is set at env", "2 is set at env", "2 is set at env"},
	{"notify test", "2 nobody is told", "2 nobody is told", "2 nobody is told", "2 nobody is told"},
	{"version", "0 personasync ", "0 personasync ", "0 personasync ", "0 personasync "},
	{"completion bash", "0 complete", "0 complete", "0 complete", "0 complete"},
	{"man", "0 EXIT STATUS", "0 EXIT STATUS", "0 EXIT STATUS", "0 EXIT STATUS"},
	{"check-files data", `0 "error":.*in use`, `0 "report":`, `0 "report":`, `0 "report":`},
	{"prove-backup {backup} scratch", `0 "report":`, `0 "report":`, `0 "report":`, `0 "report":`},
	{"put-back data/previous-0", "2 in use", "3 no data", "2 in use", "3 no data"},
}

type stateCase struct{ line, up, down, starting, crashed string }

func (s *stateCase) in(state string) string {
	return map[string]string{"up": s.up, "down": s.down, "starting": s.starting, "crashed": s.crashed}[state]
}

// TestEveryCommandIsTriedInEveryState: a new command needs a line in states.
func TestEveryCommandIsTriedInEveryState(t *testing.T) {
	app := newApp(testShell())
	eachLeaf(app.Commands, nil, func(path []string, _ *urfave.Command) {
		name := strings.Join(path, " ")
		at := slices.IndexFunc(states, func(s stateCase) bool { return strings.HasPrefix(s.line+" ", name+" ") })
		if at < 0 {
			t.Errorf("`personasync %s` has no line in states: how does it end with the agent up, down, starting and crashed?", name)
			return
		}
		for _, state := range []string{"up", "down", "starting", "crashed"} {
			if _, err := parseAnswer(states[at].in(state)); err != nil {
				t.Errorf("`personasync %s`, %s: %v", name, state, err)
			}
		}
	})
}

// stateAnswer is an answer taken apart.
type stateAnswer struct {
	interrupt bool
	code      int
	says      *regexp.Regexp
}

func parseAnswer(text string) (a stateAnswer, err error) {
	text, a.interrupt = strings.CutPrefix(text, "INT ")
	code, says, _ := strings.Cut(text, " ")
	if a.code, err = strconv.Atoi(code); err != nil {
		return a, err
	}
	a.says, err = regexp.Compile("(?m)" + says)
	return a, err
}

// hangs is how long a command may take before it counts as one that never ends.
const hangs = time.Minute

// unfit is what no person should ever see: a stack trace, a secret.
var unfit = regexp.MustCompile(`goroutine \d|panic:|runtime error|\.go:\d|key-that-must-not-show|hush`)

// scriptEvery runs every command as it should be in a state. Where no agent is at work each finds the
// data as the script left it. While one starts they wait for it, side by side: none changes anything.
func scriptEvery(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: every STATE")
	}
	state := args[0]
	data, kept := ts.MkAbs("data"), ts.MkAbs("data.kept")
	stands := state == "down" || state == "crashed"
	left := ""
	if stands {
		ts.Check(os.RemoveAll(kept))
		ts.Check(os.CopyFS(kept, os.DirFS(data)))
	}
	fill := strings.NewReplacer("{change}", strings.TrimSpace(ts.ReadFile("id")), "{file}", "members.txt", "{backup}", "first.tar")
	complaints := make([]string, len(states))
	var all errgroup.Group
	all.SetLimit(1)
	if state == "starting" {
		all.SetLimit(8)
	}
	for i, s := range states {
		want, err := parseAnswer(s.in(state))
		ts.Check(err)
		all.Go(func() error {
			if stands && (left == "" || versions(data) != left) {
				if err := errors.Join(os.RemoveAll(data), os.CopyFS(data, os.DirFS(kept)), os.Chmod(data, 0o700)); err != nil {
					return err
				}
				left = versions(data)
			}
			code, out := runInState(ts, want, strings.Fields(fill.Replace(s.line)))
			if code != want.code || !want.says.MatchString(out) || unfit.MatchString(out) || (code != 0 && !strings.Contains(out, "personasync: ")) {
				complaints[i] = fmt.Sprintf("%s: `personasync %s` ended with %d, not with %d and %q; it said:\n%s", state, s.line, code, want.code, want.says, out)
			}
			return nil
		})
	}
	ts.Check(all.Wait())
	complaints = slices.DeleteFunc(complaints, func(c string) bool { return c == "" })
	if len(complaints) > 0 {
		ts.Fatalf("%d commands are wrong:\n%s", len(complaints), strings.Join(complaints, "\n"))
	}
}

// versions lists the files of dir with what a write to any of them changes. Most commands only read.
func versions(dir string) string {
	var all strings.Builder
	_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		var s syscall.Stat_t
		err = errors.Join(err, syscall.Lstat(path, &s))
		fmt.Fprintln(&all, path, s.Ino, s.Ctim, err)
		return nil
	})
	return all.String()
}

// runInState runs a command as a process, and returns its exit code, -1 if it had to be killed, and all
// it said.
func runInState(ts *testscript.TestScript, want stateAnswer, args []string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	defer cancel()
	c := exec.CommandContext(ctx, ts.Getenv("BINARY"), args...)
	c.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GORACE", "PERSONASYNC_MOENGAGE_BASE_URL", "PERSONASYNC_INGEST_SHARED_SECRET",
		"PERSONASYNC_MOENGAGE_WORKSPACE_ID", "PERSONASYNC_MOENGAGE_API_KEY"} {
		c.Env = append(c.Env, name+"="+ts.Getenv(name))
	}
	out := &heard{until: want.says}
	if want.interrupt {
		out.then = func() { _ = c.Process.Signal(syscall.SIGINT) }
	}
	c.Stdout, c.Stderr = out, out
	_ = c.Run() // its exit code tells
	return c.ProcessState.ExitCode(), out.String()
}

// heard is what a process says; then is called once, when it matches.
type heard struct {
	mu    sync.Mutex
	text  bytes.Buffer
	until *regexp.Regexp
	then  func()
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text.Write(p)
	if h.then != nil && h.until.Match(h.text.Bytes()) {
		h.then()
		h.then = nil
	}
	return len(p), nil
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

// children lets the program start itself, as it does outside of tests.
func children(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "/proc/self/exe", args...)
	c.Args[0] = "personasync" // by which testscript knows what to be
	return c
}

// slowly has the program check files, as a start after a power failure does, in a process that comes to
// no end while the agent lives. It makes the file in SLOW_CHECK first.
func slowly(ctx context.Context, _ ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "sh", "-c", `touch "$0"; while kill -0 "$PPID" 2>&-; do sleep 0.05; done`, filepath.Clean(os.Getenv("SLOW_CHECK")))
}
