package logging

import (
	"bytes"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"personasync/agent/config"
)

// TestLogFollowsItsConfiguration: the loggers that the parts were given change their form too.
func TestLogFollowsItsConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		queue := NewQueue(&b)
		log, follow := New(queue, config.Log{Level: "info", Format: "text"}, false)
		defer queue.Close()
		part := log.With("part", "sync").WithGroup("g").With("k", 1)
		says := func(want ...string) {
			t.Helper()
			synctest.Wait()
			b.Reset()
			part.Debug("quiet", "n", 2)
			part.Info("hello", "n", 2)
			synctest.Wait()
			for _, w := range want {
				if !strings.Contains(b.String(), w) {
					t.Errorf("no %s in %s", w, &b)
				}
			}
		}
		says(`msg=hello part=sync g.k=1 g.n=2`)
		if strings.Contains(b.String(), "quiet") {
			t.Errorf("level info shows %s", &b)
		}
		follow(config.Log{Level: "debug", Format: "json"})
		says(`"msg":"quiet"`, `"msg":"hello","part":"sync","g":{"k":1,"n":2}`)
		follow(config.Log{Level: "info", Format: "text"})
		says(`msg=hello part=sync g.k=1 g.n=2`)
	})
}

// gatedWriter lets lines through while it is open.
type gatedWriter struct {
	bytes.Buffer
	gate sync.Mutex
}

func (w *gatedWriter) Write(p []byte) (int, error) {
	w.gate.Lock()
	defer w.gate.Unlock()
	return w.Buffer.Write(p)
}

// TestAReaderOfTheLogThatStopsCostsLinesAlone: log calls returned only when somebody read the log. Now
// what fits is kept in order, the rest is counted, and the log says so when it goes on.
func TestAReaderOfTheLogThatStopsCostsLinesAlone(t *testing.T) {
	var w gatedWriter
	queue := NewQueue(&w)
	log, _ := New(queue, config.Log{Level: "info", Format: "text"}, false)
	w.gate.Lock()
	const lines = 20_000
	for i := range lines {
		log.Info("line", "n", i, "text", strings.Repeat("x", 200))
	}
	w.gate.Unlock()
	for queue.dropped.Load() > 0 { // until it has caught up
		queue.mu.Lock()
		idle := queue.size == 0
		queue.mu.Unlock()
		if idle {
			break
		}
		time.Sleep(time.Millisecond)
	}
	log.Info("afterwards")
	queue.Close()

	text := w.String()
	found := regexp.MustCompile(`msg="log lines were dropped.*lines=(\d+)\n`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("%d lines were dropped, and the log does not say so", queue.dropped.Load())
	}
	dropped, _ := strconv.Atoi(found[1])
	before, after, _ := strings.Cut(text, found[0])
	kept := strings.Count(before, "msg=line")
	if dropped == 0 || kept+dropped != lines || uint64(dropped) != queue.dropped.Load() {
		t.Errorf("of %d lines %d are there and %d dropped, counted %d", lines, kept, dropped, queue.dropped.Load())
	}
	for i := range kept {
		if !strings.Contains(before, fmt.Sprintf(" n=%d ", i)) {
			t.Fatalf("line %d of the %d first is missing", i, kept)
		}
	}
	if !strings.Contains(after, "msg=afterwards") {
		t.Errorf("what came afterwards is not behind it: %s", after)
	}
}

// slowWriter takes its time for each line.
type slowWriter struct{ bytes.Buffer }

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	return w.Buffer.Write(p)
}

// TestNothingOfTheLogIsLostAtACleanEnd, with a reader that is slow.
func TestNothingOfTheLogIsLostAtACleanEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w slowWriter
		queue := NewQueue(&w)
		log, _ := New(queue, config.Log{Level: "info", Format: "text"}, false)
		for i := range 100 {
			log.Info("line", "n", i)
		}
		log.Warn("repeated")
		log.Warn("repeated")
		queue.Close()
		if n := strings.Count(w.String(), "msg=line"); n != 100 || !strings.Contains(w.String(), "msg=repeated repeated=1") {
			t.Errorf("%d lines of 100 arrived:\n%s", n, &w)
		}
	})
}

// TestAFaultThatComesAndGoesIsALineAndACount: MoEngage that failed and recovered 242 times in 12 s wrote 485
// lines.
func TestAFaultThatComesAndGoesIsALineAndACount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		queue := NewQueue(&b)
		log, _ := New(queue, config.Log{Level: "info", Format: "text"}, false)
		defer queue.Close()
		part := log.With("part", "sync")
		const times = 242
		for i := range times {
			part.Warn("moengage fails", "code", "http_503", "status", 503, "error", fmt.Sprintf("read 127.0.0.1:%d: reset", 40000+i))
			part.Info("moengage accepts requests again", "since", time.Now())
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(2 * foldFor)
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if len(lines) != 4 {
			t.Fatalf("%d lines, not the first and the last of each:\n%s", len(lines), &b)
		}
		for i, want := range []string{"moengage fails", "accepts requests again", "moengage fails", "accepts requests again"} {
			if !strings.Contains(lines[i], want) || i > 1 && !strings.Contains(lines[i], fmt.Sprintf("repeated=%d", times-1)) {
				t.Errorf("line %d is %s", i, lines[i])
			}
		}

		b.Reset() // it was quiet for long: the next one is news
		part.Warn("moengage fails", "code", "http_503", "status", 503, "error", "read 127.0.0.1:1: reset")
		synctest.Wait()
		if !strings.Contains(b.String(), "moengage fails") {
			t.Error("a fault after a quiet time is not told of at once")
		}
	})
}

// TestAStrangerCannotMakeKindsOfLines: a refusal quotes what was sent.
func TestAStrangerCannotMakeKindsOfLines(t *testing.T) {
	var b bytes.Buffer
	queue := NewQueue(&b)
	log, _ := New(queue, config.Log{Level: "info", Format: "text"}, false)
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		log.Warn("request not taken", "route", "/v1/track", "status", 400, "code", "bad_json", "reason", fmt.Sprintf("invalid character %q", c))
	}
	queue.Close()
	if n := strings.Count(b.String(), "request not taken"); n != 2 {
		t.Errorf("%d lines:\n%s", n, &b)
	}
}

// TestDifferentFaultsAreNotFolded, nor what operators order, nor what goes well.
func TestDifferentFaultsAreNotFolded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		queue := NewQueue(&b)
		log, _ := New(queue, config.Log{Level: "debug", Format: "text"}, false)
		for _, say := range []func(*slog.Logger){
			func(l *slog.Logger) { l.Warn("a file is damaged", "file", "state.db") },
			func(l *slog.Logger) { l.Warn("a file is damaged", "file", "inbox.db") },
			func(l *slog.Logger) { l.With("part", "store").Warn("a file is damaged", "file", "state.db") },
			func(l *slog.Logger) { l.Info("operator's order", "uid", 7, "path", "/api/flush") },
			func(l *slog.Logger) { l.Info("operator's order", "uid", 7, "path", "/api/flush") },
			func(l *slog.Logger) { l.Error("the configuration was not reloaded", "reload", 1, "error", "bad") },
			func(l *slog.Logger) { l.Error("the configuration was not reloaded", "reload", 2, "error", "bad") },
			func(l *slog.Logger) { l.Info("done") },
			func(l *slog.Logger) { l.Info("done") },
			func(l *slog.Logger) { l.Debug("detail") },
			func(l *slog.Logger) { l.Debug("detail") },
		} {
			b.Reset()
			say(log)
			synctest.Wait()
			if b.Len() == 0 {
				t.Error("a line is missing")
			}
		}
		queue.Close()
	})
}
