package agent

import (
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/agent/host"
	"personasync/sync/sandbox"
)

// TestIngestAnswersUntilTheLastRequestIsSettled: while a stop waits for MoEngage, Segment is told to
// come again, and finds nobody only when the process is about to end.
func TestIngestAnswersUntilTheLastRequestIsSettled(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	c := s.load()
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	s.box.Fail(sandbox.Fault{Hang: true})
	defer s.box.Heal()
	a.tell(news("ann", true, time.Now()))
	eventually(t, i, "a request is on its way", func(condition.Status) bool { return s.box.Stats().InFlight > 0 })

	a.end()
	eventually(t, i, "it is stopping", func(s condition.Status) bool { return s.Unready == "stopping" })
	resp, err := http.Post("http://"+a.Ingest.String()+"/segment/webhook", "application/json", strings.NewReader(news("bob", true, time.Now())))
	if s.box.Stats().InFlight == 0 {
		t.Fatal("the request landed too early for this test to see anything")
	}
	if err != nil {
		t.Fatalf("while a request is on its way the door is gone: %v", err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("answered %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
}

// TestPartThatFailsEndsTheAgent: the stop that waits for the other parts must tell them first.
func TestPartThatFailsEndsTheAgent(t *testing.T) {
	s := newSite(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	p, err := start(t.Context(), s.load(), life{RunOptions: RunOptions{Log: quiet(), Ingest: brokenListener{l, broken}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("it ended with %v", err)
	}
}

// TestTheUnitWaitsForTheLongestStop: systemd kills what takes longer, with requests to MoEngage under way,
// which are then sent twice. The unit's time must cover the longest moengage.timeout.
func TestTheUnitWaitsForTheLongestStop(t *testing.T) {
	const longestRequest = 45 * time.Second // CONTRACT.md, moengage.timeout
	longest := longestRequest + host.DrainIdle + drainPatience + 2*adminPatience + closePatience
	for path, key := range map[string]string{
		"../packaging/systemd/personasync.service": "TimeoutStopSec=", "../packaging/systemd/personasync@.service": "TimeoutStopSec=",
		"../packaging/container/compose.yaml": "stop_grace_period: ",
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), key)
		value, _, _ := strings.Cut(rest, "\n")
		if given, err := time.ParseDuration(value); err != nil || given < longest {
			t.Errorf("%s gives a stop %s, which may take %s (%v)", path, value, longest, err)
		}
	}
}

// TestAnAgentThatCannotRecordItsRulesEndsWithThat: no event may be taken before the rules are on disk.
func TestAnAgentThatCannotRecordItsRulesEndsWithThat(t *testing.T) {
	s := newSite(t)
	ready := false
	p, err := start(t.Context(), s.load(), life{RunOptions: RunOptions{Log: quiet(), Ready: func(Addresses) { ready = true }}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.store.Close(); err != nil {
		t.Fatal(err)
	}
	defer p.listeners.close()
	if err := p.accept(t.Context()); err == nil || !strings.Contains(err.Error(), "record the rules") || ready {
		t.Errorf("it ended with %v, ready: %v", err, ready)
	}
}
