package syncer

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"personasync/store/domain"
)

// logged runs a sender with an outbox and a wire, and returns the lines of its log. act has fake time.
func logged(t *testing.T, w *wire, act func(o *shelf, s *Sender)) (lines []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := newShelf(t)
		w.t = t
		s, stop := runLogged(t, testConfig(w), o, slog.New(slog.NewTextHandler(&log, nil)))
		act(o, s)
		stop()
		lines = strings.Split(strings.TrimSpace(log.String()), "\n")
	})
	return lines
}

// wantLines checks the lines that contain message: each must have the parts given for it, and there are no others.
func wantLines(t *testing.T, lines []string, message string, want ...[]string) {
	t.Helper()
	var found []string
	for _, l := range lines {
		if strings.Contains(l, message) {
			found = append(found, l)
		}
	}
	if len(found) != len(want) {
		t.Fatalf("%q is logged %d times, want %d:\n%s", message, len(found), len(want), strings.Join(lines, "\n"))
	}
	for i, parts := range want {
		for _, part := range parts {
			if !strings.Contains(found[i], part) {
				t.Errorf("line %d of %q does not have %s: %s", i, message, part, found[i])
			}
		}
	}
}

// The first failure of the outbox in a row is logged and the others are not, when it is read and when it is
// written.
func TestAFailingOutboxIsLoggedOnce(t *testing.T) {
	broken := func() error { return errors.New("disk on fire") }
	lines := logged(t, &wire{}, func(o *shelf, s *Sender) {
		for range 2 {
			o.fail(broken, nil)
			o.attribute("ann")
			time.Sleep(5 * time.Minute)
			o.fail(nil, nil)
			time.Sleep(5 * time.Minute)
		}
	})
	wantLines(t, lines, "cannot read due changes from the outbox; retrying",
		[]string{"level=ERROR", `error="disk on fire"`}, []string{`error="disk on fire"`})

	lines = logged(t, &wire{}, func(o *shelf, s *Sender) {
		o.fail(nil, broken)
		o.attribute("ann")
		time.Sleep(5 * time.Minute)
		o.fail(nil, nil)
		time.Sleep(time.Minute)
		if !o.drained() {
			t.Error("the outcome was not written in the end")
		}
	})
	wantLines(t, lines, "cannot write an outcome to the outbox; retrying", []string{"level=ERROR", "lease=1", `error="disk on fire"`})
	wantLines(t, lines, "an outcome was not written")
}

// A stop does not wait for a full disk, and says that changes may be sent twice.
func TestAnOutcomeThatAStopGivesUpIsLogged(t *testing.T) {
	lines := logged(t, &wire{}, func(o *shelf, s *Sender) {
		o.fail(nil, func() error { return fmt.Errorf("write: %w", domain.ErrFull) })
		o.attribute("ann")
		time.Sleep(time.Minute)
	})
	wantLines(t, lines, "an outcome was not written; its changes may be sent twice", []string{"level=ERROR", "lease=1", "write: "})
}

// Each change of the breaker's state is one line, with the code, MoEngage's message and what follows from it.
func TestEachChangeOfTheBreakerIsLoggedOnce(t *testing.T) {
	answers := map[time.Duration]func() *http.Response{
		0:                func() *http.Response { return fail(503, "Server Error", "come later") },
		10 * time.Minute: func() *http.Response { return fail(401, "Authentication required", "wrong key") },
		20 * time.Minute: ok,
		30 * time.Minute: func() *http.Response { return reply(502, "") },
		40 * time.Minute: ok,
	}
	var start time.Time
	w := &wire{}
	w.answer = func(sentRequest) (*http.Response, error) {
		now := ok
		for since, answer := range answers {
			if d := time.Since(start); d >= since && d < since+10*time.Minute {
				now = answer
			}
		}
		return now(), nil
	}
	lines := logged(t, w, func(o *shelf, s *Sender) {
		start = time.Now()
		for i := range 50 {
			o.attribute(fmt.Sprint("user-", i))
			time.Sleep(time.Minute)
		}
	})
	wantLines(t, lines, "moengage does not accept requests; retrying with backoff",
		[]string{"level=WARN", "code=http_503", "status=503", "come later"}, []string{"code=http_502", "status=502"})
	wantLines(t, lines, "moengage refuses everything; sending has stopped and is probed once a minute",
		[]string{"level=ERROR", "code=http_401", "status=401", "wrong key", "next_probe="})
	wantLines(t, lines, "moengage accepts requests again", []string{"level=INFO", "since="}, []string{"since="})
}

// A network error has no status, and the line has none.
func TestAnOutageIsLoggedWithoutAStatus(t *testing.T) {
	lines := logged(t, &wire{answer: func(sentRequest) (*http.Response, error) { return nil, cut() }}, func(o *shelf, s *Sender) {
		o.attribute("ann")
		time.Sleep(time.Minute)
	})
	wantLines(t, lines, "moengage does not accept requests", []string{"code=unreachable"})
	wantLines(t, lines, "status=")
}

// A poisoned payload is logged once, however often it fails, and without the user.
func TestAPoisonedPayloadIsLoggedOnce(t *testing.T) {
	lines := logged(t, &wire{answer: poisoned(map[string]bool{"ann": true}, func() *http.Response { return reply(500, "") })}, func(o *shelf, s *Sender) {
		o.attribute("ann")
		for i := range 60 {
			o.attribute(fmt.Sprint("user-", i))
			time.Sleep(10 * time.Second)
		}
	})
	wantLines(t, lines, "one user's changes fail alone while others are accepted; they are sent alone from now on",
		[]string{"level=WARN", "code=http_500", "status=500"})
	wantLines(t, lines, "ann")
}

// A payload warning has the code and the name, once, and never the value.
func TestAPayloadWarningIsLoggedOnce(t *testing.T) {
	lines := logged(t, &wire{}, func(o *shelf, s *Sender) {
		for range 2 {
			o.attribute("ann")
			o.mu.Lock()
			o.byName["ann"].attributes[0].Value = []byte(`"` + strings.Repeat("secret", 100) + `"`)
			o.mu.Unlock()
			time.Sleep(time.Minute)
		}
	})
	wantLines(t, lines, "moengage does not store this unchanged; see `personasync outbox explain-code CODE`", []string{"level=WARN", "code=value_too_long", "name=vip"})
	wantLines(t, lines, "secret")
}
