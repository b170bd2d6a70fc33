package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/page"
	"personasync/store/domain"
)

// TestAWrongSecretIsNowhereCalledGood: 11 of 11 deliveries were refused for good, and the page said "Good",
// doctor was green, and no metric told of it.
func TestAWrongSecretIsNowhereCalledGood(t *testing.T) {
	s := newSite(t)
	c := s.load()
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	eventually(t, i, "it says that it heard nothing", func(fresh condition.Status) bool {
		return len(fresh.Conditions) == 1 && fresh.Conditions[0].Name == "no_event_yet"
	})
	for range 11 {
		a.deliver("POST", "/segment/webhook", `{}`, "X-Signature", strings.Repeat("0", 40), "User-Agent", "Segment.io/1.0")
	}
	eventually(t, i, "it says that they were refused", func(fresh condition.Status) bool { // a status may be a moment old
		return len(fresh.Conditions) > 0 && fresh.Conditions[0].Name == "intake_refused" && fresh.Conditions[0].Severity == condition.Critical
	})
	waitFor(t, "a snapshot of the page that knows", func() bool { // one is a second old at most
		var snap page.Snapshot
		getJSON(t, "http://"+a.Admin.String()+"/api/page", &snap)
		return snap.Verdicts[0].Level == "bad" && strings.HasPrefix(snap.Verdicts[0].Text, "11 of 11 deliveries")
	})
	findings := Diagnose(t.Context(), c, nil, "1.0")
	if Healthy(findings) || !strings.Contains(saidBy(findings, "intake", "fail"), "11 of 11 deliveries") {
		t.Errorf("the doctor found %+v", findings)
	}
	if text := scrape(t, "http://"+a.Admin.String()+"/metrics"); !strings.Contains(text, `personasync_condition{name="intake_refused",severity="critical"} 1`) ||
		!strings.Contains(text, `personasync_condition{name="parked",severity="warning"} 0`) {
		t.Error("the metrics do not tell of it")
	}
}

// TestAMappingThatLosesThePersonasIsNotGood: 100 of 100 ignored events were "Good".
func TestAMappingThatLosesThePersonasIsNotGood(t *testing.T) {
	s := newSite(t)
	c := s.load()
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	a.tell(news("ann", true, time.Now()))
	eventually(t, i, "the first is applied", func(st condition.Status) bool { return st.Events.Accepted == 1 })
	if st, err := i.Status(t.Context()); err != nil || len(st.Conditions) != 0 {
		t.Errorf("of a healthy agent: %+v, %v", st.Conditions, err)
	}
	a.stop()
	a = s.start(c, RunOptions{})
	i, _ = open(t, c)
	for n := range 100 {
		a.tell(fmt.Sprintf(`{"type":"identify","userId":"ann","messageId":"m%d","traits":{"vip":true}}`, n))
	}
	eventually(t, i, "the others are applied", func(st condition.Status) bool { return st.Events.Ignored == 100 })
	st, err := i.Status(t.Context())
	if err != nil || len(st.Conditions) != 1 || st.Conditions[0].Name != "intake_ignored" || !strings.Contains(st.Conditions[0].Text, "no context.personas") {
		t.Errorf("status has %+v, %v", st.Conditions, err)
	}
}

// TestAKeyConflictNamesBothAndTheCommand: the hint had no arguments.
func TestAKeyConflictNamesBothAndTheCommand(t *testing.T) {
	s := newSite(t)
	c := s.load()
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	a.tell(news("ann", true, time.Now()))
	eventually(t, i, "the first is delivered", func(st condition.Status) bool { return st.Delivered == 1 })
	a.tell(strings.Replace(news("ann", true, time.Now()), `"aud_1"`, `"aud_2"`, 1))
	eventually(t, i, "the second is held", func(st condition.Status) bool { return st.Held > 0 && st.Unapplied == 0 })
	check := func(when string) {
		t.Helper()
		st, err := i.Status(t.Context())
		at := slices.IndexFunc(st.Conditions, func(c condition.Condition) bool { return c.Name == "key_conflict" })
		if err != nil || at < 0 {
			t.Fatalf("%s: status has %+v, %v", when, st.Conditions, err)
		}
		got := st.Conditions[at]
		if !strings.Contains(got.Text, "vip (id aud_2, 1 change held) and vip (id aud_1)") || got.Commands[0] != "personasync audience adopt vip aud_2" {
			t.Errorf("%s: %+v", when, got)
		}
	}
	check("while it runs")
	a.stop()
	i, _ = open(t, c)
	check("from the files")
}

// TestARefusedReloadIsACondition: it left a line of the log, and nothing else.
func TestARefusedReloadIsACondition(t *testing.T) {
	s := newSite(t)
	c := s.load()
	hup := make(chan os.Signal)
	a := s.start(c, RunOptions{Reload: hup, Load: func() (*config.Config, error) { return nil, errors.New("schedule.cron: 61 is no minute") }})
	i, _ := open(t, c)
	hup <- syscall.SIGHUP
	eventually(t, i, "the reload was refused", func(st condition.Status) bool {
		return slices.ContainsFunc(st.Conditions, func(c condition.Condition) bool {
			return c.Name == "config_refused" && strings.Contains(c.Text, "61 is no minute")
		})
	})
	if text := scrape(t, "http://"+a.Admin.String()+"/metrics"); !strings.Contains(text, `personasync_condition{name="config_refused",severity="warning"} 1`) {
		t.Error("the metrics do not tell of it")
	}
}

// TestDataThatWasMovedIsACondition, for as long as it is away.
func TestDataThatWasMovedIsACondition(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	c := s.load()
	s.start(c, RunOptions{})
	i, _ := open(t, c)
	data := filepath.Join(s.dir, "data")
	if err := os.Rename(data, data+".away"); err != nil {
		t.Fatal(err)
	}
	eventually(t, i, "it says that its data is away", func(st condition.Status) bool {
		return len(st.Conditions) > 0 && st.Conditions[0].Name == "data_moved" && strings.Contains(st.Conditions[0].Text, data)
	})
	if err := os.Rename(data+".away", data); err != nil {
		t.Fatal(err)
	}
	eventually(t, i, "it has its data", func(st condition.Status) bool { return st.Ready })
}

func TestShellWords(t *testing.T) {
	for in, want := range map[string]string{"vip": "vip", "aud_1": "aud_1", "big spenders": "'big spenders'", "it's": `'it'\''s'`, "": "''", "-f": "'-f'", "a;rm": "'a;rm'", "éa": "'éa'"} {
		if got := domain.ShellWord(in); got != want {
			t.Errorf("%q is typed as %s, want %s", in, got, want)
		}
	}
}
