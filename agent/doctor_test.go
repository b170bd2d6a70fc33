package agent

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/sync/sandbox"
)

// said finds what a check found.
func saidBy(findings []Finding, check, state string) string {
	var all []string
	for _, f := range findings {
		if f.Check == check && f.State == state {
			all = append(all, f.Message)
		}
	}
	return strings.Join(all, "; ")
}

func TestTheDoctorFindsWhatIsWrong(t *testing.T) {
	s := newSite(t)
	c := s.load("PERSONASYNC_RETRY_MIN_BACKOFF=1h", "PERSONASYNC_RETRY_MAX_BACKOFF=1h", "PERSONASYNC_RETENTION_PARKED=100h")
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	a.tell(news("eve", true, time.Now()))
	eventually(t, i, "the first is delivered", func(st condition.Status) bool { return st.Delivered == 1 })
	for _, f := range Diagnose(t.Context(), c, nil, "1.0") {
		if f.State != "ok" && f.Check != "disk" && f.Check != "volume" && f.Check != "config" { // the disk is the machine's that tests, and write_keys are not set
			t.Errorf("of a healthy agent: %+v", f)
		}
	}

	s.box.Fail(sandbox.Fault{Status: 401})
	a.tell(news("ann", true, time.Now()))
	a.tell(strings.Replace(news("cid", true, time.Now()), `"vip":true`, `"x":1`, 1))
	eventually(t, i, "MoEngage refuses", func(st condition.Status) bool { return st.MoEngage.State == "failing" && st.Parked == 1 })
	must := func(check, state, want string) {
		t.Helper()
		if got := saidBy(Diagnose(t.Context(), c, nil, "1.0"), check, state); !strings.Contains(got, want) || got == "" {
			t.Errorf("%s %s: %q, want %q", state, check, got, want)
		}
	}
	must("moengage", "fail", "credentials")
	must("delivery", "fail", "refuses everything")
	must("outbox", "warn", "1 item could not")
	must("outbox", "warn", "1 expires within a week")
	s.box.Heal()
	a.stop()
	must("agent", "fail", "not running")

	if err := os.Chmod(c.DataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	must("permissions", "warn", "open to everybody")
	if err := os.Truncate(filepath.Join(c.DataDir, "state.db"), 100); err != nil {
		t.Fatal(err)
	}
	must("agent", "fail", "")
}

// TestTheDoctorComparesTheClocks: MoEngage takes no events from its future.
func TestTheDoctorComparesTheClocks(t *testing.T) {
	s := newSite(t)
	skewed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-2*time.Hour).UTC().Format(http.TimeFormat))
		s.box.ServeHTTP(w, r)
	}))
	defer skewed.Close()
	found := Diagnose(t.Context(), s.load("PERSONASYNC_MOENGAGE_BASE_URL="+skewed.URL), nil, "1.0")
	if got := saidBy(found, "clock", "fail"); !strings.Contains(got, "differs from MoEngage's by 2h0m") {
		t.Errorf("two hours apart: %+v", found)
	}
}

func TestTheDoctorAsksNothingOfMoEngageWithoutItsSecrets(t *testing.T) {
	s := newSite(t)
	found := Diagnose(t.Context(), s.load(), os.ErrPermission, "1.0")
	if saidBy(found, "config", "skip") == "" || saidBy(found, "moengage", "skip") == "" || s.box.Stats().Requests > 0 {
		t.Errorf("found %+v", found)
	}
}

// TestTheDoctorWaitsForOneSilence: it asked a frozen agent three times, and waited for 15 s.
func TestTheDoctorWaitsForOneSilence(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	c := s.load()
	l, err := net.Listen("unix", c.Admin.Socket)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			defer conn.Close()
		}
	}()
	found := Diagnose(t.Context(), c, nil, "1.0")
	l.Close()
	if n := asked.Load(); n > 2 || // the greeting, and the look at whose socket it is
		!strings.Contains(saidBy(found, "agent", "fail"), "does not answer") {
		t.Errorf("asked %d times, the doctor found %+v", n, found)
	}
}

// TestTheDoctorNamesTheSecretsThatTheAgentHas: the shell that runs it may not read them.
func TestTheDoctorNamesTheSecretsThatTheAgentHas(t *testing.T) {
	for borrowed, want := range map[string]string{"the agent has moengage.api_key": ". the agent has moengage.api_key", "": "defaults and environment"} {
		d := &doctor{config: newSite(t).load()}
		d.checkConfig(nil, borrowed)
		if got := saidBy(d.findings, "config", "ok"); !strings.HasSuffix(got, want) {
			t.Errorf("of %q the doctor says %q", borrowed, got)
		}
	}
}
