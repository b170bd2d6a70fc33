package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
	"personasync/sync/sandbox"
)

// TestStartThatFailsLeavesNothingBehind: no socket, no lock, no listener. The error names the key of the configuration.
func TestStartThatFailsLeavesNothingBehind(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	for name, tt := range map[string]struct {
		line, says string
		err        error
	}{
		"ingest.listen taken":      {"PERSONASYNC_INGEST_LISTEN=" + taken.Addr().String(), "ingest.listen = " + taken.Addr().String(), syscall.EADDRINUSE},
		"admin.listen taken":       {"PERSONASYNC_ADMIN_LISTEN=" + taken.Addr().String(), "admin.listen = " + taken.Addr().String(), syscall.EADDRINUSE},
		"no folder for the socket": {"PERSONASYNC_ADMIN_SOCKET=" + filepath.Join(t.TempDir(), "none", "s"), "open socket in ", syscall.ENOENT},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits
			s := newSite(t)
			if err := Run(t.Context(), s.load(tt.line), RunOptions{Log: quiet()}); !errors.Is(err, tt.err) || !contains(err.Error(), tt.says) {
				t.Fatalf("it ended with %v", err)
			}
			if _, err := os.Stat(filepath.Join(s.dir, "s")); !os.IsNotExist(err) {
				t.Errorf("the socket is still there: %v", err)
			}
			s.start(s.load(), RunOptions{})
		})
	}
}

// TestAStopDuringAStartIsNoFailure: systemd must not count it as one.
func TestAStopDuringAStartIsNoFailure(t *testing.T) {
	s := newSite(t)
	c := s.load()
	data, err := store.Open(c.DataDir, store.Options{Log: quiet(), Command: "db compact"})
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c, RunOptions{Log: quiet()}) }()
	time.Sleep(2 * lockPoll) // it waits for the command, or will
	stop()
	if err := awaited(t, "the end", ended); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestALockIsWaitedForAsLongAsItsHolderMayHaveIt: a command ends, and an agent does not. A holder that did not say what it
// is may be either.
func TestALockIsWaitedForAsLongAsItsHolderMayHaveIt(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		by            store.Holding
		free          time.Duration // when the lock is free
		from, at      time.Duration // when the wait ends
		fails, telles bool
	}{
		"an agent":               {store.Holding{PID: 7}, time.Hour, 500 * time.Millisecond, 2 * time.Second, true, false},
		"an agent that stops":    {store.Holding{PID: 7}, 600 * time.Millisecond, 600 * time.Millisecond, 700 * time.Millisecond, false, false},
		"a command":              {store.Holding{PID: 7, Command: "db compact"}, time.Hour, time.Hour, time.Hour + time.Second, false, true},
		"an unknown one":         {store.Holding{}, time.Hour, 10 * time.Second, time.Minute, true, true},
		"an unknown one, for 8s": {store.Holding{}, 8 * time.Second, 8 * time.Second, 9 * time.Second, false, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			begun, told := time.Now(), false
			err := waitForCommand(t.Context(), dir, func(by store.Holding, since time.Duration) {
				told = true
				if by != tt.by || since <= 0 {
					t.Errorf("%s: waits for %+v since %v", name, by, since)
				}
			}, func() error {
				if time.Since(begun) < tt.free {
					return &store.InUseError{Dir: dir, Holding: tt.by}
				}
				return nil
			})
			if took := time.Since(begun); errors.Is(err, store.ErrInUse) != tt.fails || (err != nil) != tt.fails || told != tt.telles || took < tt.from || took > tt.at {
				t.Errorf("%s: after %v: %v, told %v", name, took, err, told)
			}
		})
	}
	broken, cause := errors.New("broken"), errors.New("enough")
	if err := waitForCommand(t.Context(), dir, nil, func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("another error: %v", err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	stop(cause)
	if err := waitForCommand(ctx, dir, nil, func() error { return store.ErrInUse }); !errors.Is(err, cause) {
		t.Errorf("at a stop: %v", err)
	}
}

// TestAnOrderForAnAgentThatDoesNotAnswerSaysWhy: it is starting, a command works on its data, or none runs.
func TestAnOrderForAnAgentThatDoesNotAnswerSaysWhy(t *testing.T) {
	for name, tt := range map[string]struct {
		command string
		held    bool
		err     error
		says    string
	}{
		"starting":  {"", true, ErrStarting, "try again in a moment"},
		"a command": {"db compact", true, api.ErrNotRunning, "(`personasync db compact`) works on its data: start it when that has ended"},
		"none":      {"", false, api.ErrNotRunning, ""},
	} {
		s := newSite(t)
		c := s.load()
		data, err := store.Open(c.DataDir, store.Options{Log: quiet(), Command: tt.command})
		if err != nil {
			t.Fatal(err)
		}
		if !tt.held {
			data.Close()
		}
		client, err := DialAgent(t.Context(), c, "1.0")
		if client != nil || !errors.Is(err, tt.err) || !contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, %v", name, client, err)
		}
		if says := absent(c.DataDir); !contains(says, tt.err.Error()) || tt.command != "" && !contains(says, "works on its data") {
			t.Errorf("%s: %s", name, says)
		}
		data.Close()
	}
}

// TestAPauseOutlastsARestart: nothing is sent until it is resumed.
func TestAPauseOutlastsARestart(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	c := s.load()
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	nothingLeaves := func(i api.Inspector) {
		t.Helper()
		a.tell(news("ann", true, time.Now()))
		eventually(t, i, "it is overdue", func(st condition.Status) bool { return st.Pending == 1 && st.OldestPendingS >= 1 })
		if n := s.box.Stats().Requests; n != 0 {
			t.Errorf("%d requests left", n)
		}
	}
	if _, err := i.(*api.Client).Pause(t.Context(), domain.Pause{Since: time.Now(), Until: time.Now().Add(time.Hour), Why: "freeze"}); err != nil {
		t.Fatal(err)
	}
	nothingLeaves(i)
	a.stop()
	a = s.start(c, RunOptions{})
	i, _ = open(t, c)
	nothingLeaves(i)
	if _, err := i.(*api.Client).Resume(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, i, "it has left", func(st condition.Status) bool { return st.Pending == 0 && st.Delivered == 1 })
}

// TestAReloadTakesTheSchedule: the jobs of the old one do not go on.
func TestAReloadTakesTheSchedule(t *testing.T) {
	s := newSite(t)
	c := s.load("PERSONASYNC_SCHEDULE_MODE=cron", "PERSONASYNC_SCHEDULE_CRON=0 0 1 1 *")
	_, _, reload := s.reloadable(c)
	i, _ := open(t, c)
	next := func(m time.Month) func(condition.Status) bool {
		return func(st condition.Status) bool { return st.NextFlush != nil && st.NextFlush.Month() == m }
	}
	eventually(t, i, "it flushes in January", next(time.January))
	reload(s.load("PERSONASYNC_SCHEDULE_MODE=cron", "PERSONASYNC_SCHEDULE_CRON=0 0 1 6 *"))
	eventually(t, i, "it flushes in June", next(time.June))
}

// TestOnlyCatchUpOnceRunsAMissedScheduleAtTheStart. With skip a run that was missed while the agent was down stays missed.
func TestOnlyCatchUpOnceRunsAMissedScheduleAtTheStart(t *testing.T) {
	for word, want := range map[string]bool{"once": true, "skip": false} {
		c := newSite(t).load("PERSONASYNC_SCHEDULE_MODE=cron", "PERSONASYNC_SCHEDULE_CRON=@hourly", "PERSONASYNC_SCHEDULE_CATCH_UP="+word)
		list, err := jobsOf(c, nil, nil, nil, nil)
		if err != nil || len(list) != 1 || list[0].CatchUp != want {
			t.Errorf("catch_up = %s: %+v, %v", word, list, err)
		}
	}
}

// TestLostLinesOfTheLogAreACondition for an hour.
func TestLostLinesOfTheLogAreACondition(t *testing.T) {
	s := newSite(t)
	c := s.load()
	var dropped atomic.Uint64
	s.start(c, RunOptions{LinesDropped: dropped.Load})
	i, _ := open(t, c)
	lost := func(st condition.Status) bool {
		for _, c := range st.Conditions {
			if c.Name == "log_dropped" {
				return contains(c.Text, "485 since the start")
			}
		}
		return false
	}
	if st, err := i.Status(t.Context()); err != nil || lost(st) {
		t.Errorf("before any was lost: %+v, %v", st.Conditions, err)
	}
	dropped.Store(485)
	eventually(t, i, "the status says so", lost)
}

// TestDeliveriesDuringAStopWaitForTheNextProcess: the service manager keeps its socket, so a connection that comes after
// the stop began gets its answer from the next process, and no 503.
func TestDeliveriesDuringAStopWaitForTheNextProcess(t *testing.T) {
	t.Parallel() // it waits
	kept, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	file, err := kept.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	inherited, err := net.FileListener(file)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	c := s.load()
	a := s.start(c, RunOptions{Ingest: inherited})
	i, _ := open(t, c)
	s.box.Fail(sandbox.Fault{Hang: true})
	a.tell(news("ann", true, time.Now()))
	eventually(t, i, "a request is on its way", func(condition.Status) bool { return s.box.Stats().InFlight > 0 })
	a.end()
	eventually(t, i, "it is stopping", func(st condition.Status) bool { return st.Unready == "stopping" })
	if s.box.Stats().InFlight == 0 {
		t.Fatal("the request landed too early for this test to see anything")
	}
	code := make(chan int, 1)
	go func() { code <- a.post(http.DefaultClient, "http", news("bob", true, time.Now())) }()
	next := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })}
	go func() { _ = next.Serve(kept) }()
	defer next.Close()
	if got := awaited(t, "an answer", code); got != http.StatusAccepted {
		t.Errorf("answered %d", got)
	}
	s.box.Heal()
	a.stop()
}

// TestAStopEndsAnOrderAndSaysSo: its connection was cut, and the command reported that.
func TestAStopEndsAnOrderAndSaysSo(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	c := s.load("PERSONASYNC_DEFAULTS_SEND=attribute")
	a := s.start(c, RunOptions{})
	a.tell(news("ann", true, time.Now()))
	i, _ := open(t, c)
	eventually(t, i, "there is a user to verify", func(st condition.Status) bool { return st.Delivered == 1 })
	s.box.Fail(sandbox.Fault{Hang: true})
	defer s.box.Heal()
	ended := make(chan error, 1)
	go func() {
		_, err := i.(*api.Client).Verify(context.Background(), api.VerifyOrder{Key: "vip"}, nil)
		ended <- err
	}()
	eventually(t, i, "MoEngage is asked", func(condition.Status) bool { return s.box.Stats().InFlight > 0 })
	a.stop()
	if err := awaited(t, "the end", ended); err == nil || !contains(err.Error(), "the agent is stopping") {
		t.Errorf("it ended with %v", err)
	}
}

// TestAStartWithAScheduleThatIsNoneLeavesTheDataUnlocked: the configuration is checked before, but a reload may race with it.
func TestAStartWithAScheduleThatIsNoneLeavesTheDataUnlocked(t *testing.T) {
	s := newSite(t)
	c := s.load()
	c.Verify.Schedule = "never"
	if err := Run(t.Context(), c, RunOptions{Log: quiet()}); err == nil || !contains(err.Error(), "schedule of [verify]") {
		t.Fatalf("it ended with %v", err)
	}
	if _, held := store.Holder(c.DataDir); held {
		t.Error("the data is still locked")
	}
	s.start(s.load(), RunOptions{})
}

// TestAnAgentWhoseFilesTurnOutToBeDamagedEnds: the next start salvages them, which cannot be done while they are in use. The
// files are damaged in a process of their own, because bbolt may never return from them.
func TestAnAgentWhoseFilesTurnOutToBeDamagedEnds(t *testing.T) {
	const inside = "PERSONASYNC_TEST_DAMAGED_FILES"
	if os.Getenv(inside) == "" {
		child := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
		child.Env = append(os.Environ(), inside+"=yes")
		if out, _ := child.CombinedOutput(); !contains(string(out), "it ended: the data is damaged: restart the agent, which salvages it") {
			t.Errorf("%s", out)
		}
		return
	}
	c := newSite(t).load()
	p, err := start(t.Context(), c, life{RunOptions: RunOptions{Log: quiet()}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.endWhenBroken(t.Context()) }()
	f, err := os.OpenFile(filepath.Join(c.DataDir, "state.db"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err == nil {
		_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, int(info.Size())-8192), 8192) // all but the meta pages
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	_ = p.store.Append(t.Context(), &domain.Event{Raw: []byte(`{}`), Received: time.Now(), Fault: "undetermined"})
	fmt.Println("it ended:", awaited(t, "the end", ended))
	os.Exit(1)
}
