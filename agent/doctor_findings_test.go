package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store"
	"personasync/store/domain"
)

// of are the findings of one check.
func of(findings []Finding, check string) (list []Finding) {
	for _, f := range findings {
		if f.Check == check {
			list = append(list, f)
		}
	}
	return list
}

// theOne is the only finding of a check.
func theOne(t *testing.T, findings []Finding, check string) Finding {
	t.Helper()
	list := of(findings, check)
	if len(list) != 1 {
		t.Fatalf("%d findings of %s: %+v", len(list), check, findings)
	}
	return list[0]
}

// TestTheDoctorJudgesAConfiguration: a configuration that ends the next start fails, and one that only this user may not
// read is skipped. Nothing of it is asked of MoEngage unless it is complete.
func TestTheDoctorJudgesAConfiguration(t *testing.T) {
	for name, tt := range map[string]struct {
		lines     []string
		refused   error
		unread    error
		state     string
		says, do  string
		asksThere bool
	}{
		"sound": {state: "ok", says: "defaults and environment", asksThere: true},
		"a fault that a command works around": {refused: errors.New("log.level: loud"), state: "fail",
			says: "log.level: loud", do: "`personasync config check`"},
		"a fault beside secrets that cannot be read": {refused: errors.New("log.level: loud"), unread: os.ErrPermission, state: "fail",
			says: "log.level: loud", do: "`personasync config check`"},
		"a secret's file that is missing": {unread: &config.Faults{All: []config.Fault{{Key: "moengage.api_key_file", Problem: "there is no such file"}}},
			state: "fail", says: "there is no such file", do: "`personasync config check`"},
		"secrets that this user may not read": {unread: os.ErrPermission, state: "skip", says: "its secrets cannot be read", do: "as the user of the agent"},
		"no workspace":                        {lines: []string{"PERSONASYNC_MOENGAGE_WORKSPACE_ID="}, state: "fail", says: "workspace_id", do: "set the missing values"},
		"no key":                              {lines: []string{"PERSONASYNC_MOENGAGE_API_KEY="}, state: "fail", says: "api_key", do: "set the missing values"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			c := s.load(append(tt.lines, "PERSONASYNC_INGEST_WRITE_KEYS=w")...)
			c.Refuse(tt.refused)
			found := Diagnose(t.Context(), c, tt.unread, "1.0")
			f := theOne(t, found, "config")
			if f.State != tt.state || !strings.Contains(f.Message, tt.says) || !strings.Contains(f.Do, tt.do) {
				t.Errorf("found %+v", f)
			}
			want := "skip"
			if tt.asksThere {
				want = "ok"
			}
			if got := theOne(t, found, "moengage"); got.State != want || (s.box.Stats().Requests > 0) != tt.asksThere {
				t.Errorf("%d requests: %+v", s.box.Stats().Requests, got)
			}
		})
	}
}

func TestTheDoctorListsTheWarningsOfAConfiguration(t *testing.T) {
	list := of(Diagnose(t.Context(), newSite(t).load("PERSONASYNC_INGEST_AUTH=off"), nil, "1.0"), "config")
	if len(list) < 2 || list[0].State != "warn" || !strings.Contains(list[0].Message, "ingest.auth is off") || list[len(list)-1].State != "ok" {
		t.Errorf("found %+v", list)
	}
}

// TestTheDoctorUsesTheSecretsOfTheAgent: the shell that runs it may not read them, and that is no fault, but a fault of the
// file is one all the same.
func TestTheDoctorUsesTheSecretsOfTheAgent(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(s.dir, "key")
	if err := os.WriteFile(file, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"PERSONASYNC_MOENGAGE_API_KEY=", "PERSONASYNC_MOENGAGE_API_KEY_FILE=" + file}
	c := s.load(environ...)
	a := s.start(c, RunOptions{})
	without := func() *config.Config {
		c, err := config.LoadWithoutSecrets("", append([]string{
			"PERSONASYNC_DATA_DIR=" + c.DataDir, "PERSONASYNC_ADMIN_SOCKET=" + c.Admin.Socket, "PERSONASYNC_MOENGAGE_WORKSPACE_ID=WS", "PERSONASYNC_MOENGAGE_BASE_URL=" + s.url,
		}, environ...))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	found := Diagnose(t.Context(), without(), os.ErrPermission, "1.0")
	if got := saidBy(found, "config", "ok"); !strings.Contains(got, "moengage.api_key") {
		t.Errorf("found %+v", found)
	}
	if got := theOne(t, found, "moengage"); got.State != "ok" {
		t.Errorf("found %+v", got)
	}
	faulty := without()
	faulty.Refuse(errors.New("log.level: loud"))
	found = Diagnose(t.Context(), faulty, os.ErrPermission, "1.0")
	if got := theOne(t, found, "config"); got.State != "fail" || !strings.Contains(got.Message, "loud") {
		t.Errorf("beside a fault, found %+v", got)
	}
	if got := theOne(t, found, "moengage"); got.State != "ok" {
		t.Errorf("beside a fault, found %+v", got)
	}
	missing := &config.Faults{All: []config.Fault{{Key: "ingest.tls_cert", Problem: "there is no such file"}}}
	if got := theOne(t, Diagnose(t.Context(), without(), missing, "1.0"), "config"); got.State != "fail" {
		t.Errorf("beside a missing file, found %+v", got)
	}
	a.stop()
	found = Diagnose(t.Context(), without(), os.ErrPermission, "1.0")
	if c, m := theOne(t, found, "config"), theOne(t, found, "moengage"); c.State != "skip" || m.State != "skip" {
		t.Errorf("without an agent, found %+v and %+v", c, m)
	}
	if m := theOne(t, Diagnose(t.Context(), without(), nil, "1.0"), "moengage"); m.State != "skip" {
		t.Errorf("without a key, found %+v", m)
	}
}

func TestTheDoctorLooksAtTheDataDirectory(t *testing.T) {
	with := func(mode os.FileMode) func(string) error {
		return func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)) }
	}
	for name, tt := range map[string]struct {
		make     func(dir string) error
		below    string // what data_dir is below dir
		state    string
		says, do string
		disk     string // "" stands for ok or warn: the machine's that tests
	}{
		"not there yet":          {make: func(string) error { return nil }, below: "a/b", state: "warn", says: "does not exist yet", do: "start the agent"},
		"a file":                 {make: func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, state: "fail", says: "is no folder", do: "name a folder"},
		"below a file":           {make: func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, below: "a", state: "fail", says: "cannot be looked at", do: "be ", disk: "skip"},
		"its user's":             {make: with(0o700), state: "ok", says: "mode -rwx------"},
		"its group's":            {make: with(0o770), state: "ok", says: "mode -rwxrwx---"},
		"readable by everybody":  {make: with(0o704), state: "warn", says: "open to everybody", do: "chmod o-rwx "},
		"writable by everybody":  {make: with(0o702), state: "warn", says: "open to everybody", do: "chmod o-rwx "},
		"entered by everybody":   {make: with(0o701), state: "warn", says: "open to everybody", do: "chmod o-rwx "},
		"everything of everyone": {make: with(0o777), state: "warn", says: "open to everybody", do: "chmod o-rwx "},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			dir := filepath.Join(s.dir, "folder")
			if err := tt.make(dir); err != nil {
				t.Fatal(err)
			}
			found := Diagnose(t.Context(), s.load("PERSONASYNC_DATA_DIR="+filepath.Join(dir, tt.below)), nil, "1.0")
			f := theOne(t, found, "permissions")
			if f.State != tt.state || !strings.Contains(f.Message, tt.says) || !strings.Contains(f.Do, tt.do) {
				t.Errorf("found %+v", f)
			}
			if disk := theOne(t, found, "disk"); tt.disk == "" && !strings.Contains(disk.Message, " are free") || tt.disk != "" && disk.State != tt.disk {
				t.Errorf("found %+v", disk)
			}
		})
	}
}

// TestTheDoctorWarnsOfADiskThatIsNearlyFull: below 1 GiB, or a twentieth of it.
func TestTheDoctorWarnsOfADiskThatIsNearlyFull(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		free, size int64
		state      string
	}{
		{gib, 10 * gib, "ok"},
		{gib - 1, 10 * gib, "warn"},
		{5 * gib, 100 * gib, "ok"},
		{5*gib - 1, 100 * gib, "warn"},
		{0, 0, "warn"},
	} {
		d := &doctor{config: config.Default()}
		d.checkSpace(tt.free, tt.size)
		if f := theOne(t, d.findings, "disk"); f.State != tt.state || (f.Do != "") != (tt.state == "warn") {
			t.Errorf("%d of %d free: %+v", tt.free, tt.size, f)
		}
	}
}

// TestTheDoctorSaysWhichProcessHasTheData: the remedy is another for an agent that starts, for a command, and for nobody.
func TestTheDoctorSaysWhichProcessHasTheData(t *testing.T) {
	for name, tt := range map[string]struct {
		held            string // what the lock file says; "": nobody holds it
		state, says, do string
		condition       string
	}{
		"nobody":             {state: "fail", says: "it is not running; the data can be opened", do: "`personasync run`", condition: condition.NotRunning},
		"an agent, starting": {held: "%d", state: "warn", says: "it is starting", do: "wait, and look at its log"},
		"a command":          {held: "%d\ndb compact\n", state: "warn", says: "`personasync db compact`) works on the data", do: "wait until that command has ended"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			c := s.load()
			data, err := store.Open(c.DataDir, store.Options{Log: quiet()})
			if err == nil {
				err = data.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.held != "" {
				lock := filepath.Join(c.DataDir, "lock")
				if err := os.WriteFile(lock, fmt.Appendf(nil, tt.held, os.Getpid()), 0o600); err != nil {
					t.Fatal(err)
				}
				f, err := os.Open(lock)
				if err == nil {
					err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
				}
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
			}
			found := Diagnose(t.Context(), c, nil, "1.0")
			f := theOne(t, found, "agent")
			if f.State != tt.state || !strings.Contains(f.Message, tt.says) || !strings.Contains(f.Do, tt.do) || f.Condition != tt.condition {
				t.Errorf("found %+v", f)
			}
			if got := theOne(t, found, "data"); got.State != "ok" {
				t.Errorf("found %+v", got)
			}
		})
	}
}

// TestTheDoctorNamesAFileInPlaceOfTheSocket: the agent's data is locked, and nothing can answer at that path.
func TestTheDoctorNamesAFileInPlaceOfTheSocket(t *testing.T) {
	t.Parallel() // it waits
	for name, tt := range map[string]struct {
		put             func(socket string) error
		says, condition string
	}{
		"a file":  {func(socket string) error { return os.WriteFile(socket, nil, 0o600) }, "is a file now", condition.SocketLost},
		"nothing": {func(string) error { return nil }, "is locked by a process, and nothing answers at ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c := s.load()
			data, err := store.Open(c.DataDir, store.Options{Log: quiet()})
			if err != nil {
				t.Fatal(err)
			}
			defer data.Close()
			if err := tt.put(c.Admin.Socket); err != nil {
				t.Fatal(err)
			}
			f := theOne(t, Diagnose(t.Context(), c, nil, "1.0"), "socket")
			if f.State != "fail" || !strings.Contains(f.Message, tt.says) || f.Condition != tt.condition {
				t.Errorf("found %+v", f)
			}
		})
	}
}

// TestTheDoctorJudgesMoEngagesAnswer: MoEngage takes no events from its future, and clocks within a minute do.
func TestTheDoctorJudgesMoEngagesAnswer(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		answer          api.Authentication
		moengage, clock string // states; of clock "" for none
		says, do        string // of moengage
	}{
		"accepted":           {api.Authentication{BaseURL: "https://m", Now: now, Date: now}, "ok", "ok", "https://m takes the credentials", ""},
		"a minute ahead":     {api.Authentication{Now: now.Add(time.Minute), Date: now}, "ok", "ok", "", ""},
		"a minute behind":    {api.Authentication{Now: now, Date: now.Add(time.Minute)}, "ok", "ok", "", ""},
		"further ahead":      {api.Authentication{Now: now.Add(time.Minute + 1), Date: now}, "ok", "fail", "", ""},
		"further behind":     {api.Authentication{Now: now, Date: now.Add(time.Minute + 1)}, "ok", "fail", "", ""},
		"without a clock":    {api.Authentication{Now: now}, "ok", "skip", "", ""},
		"refused":            {api.Authentication{BaseURL: "https://m", Code: "http_401", Sentence: "no such key", Now: now, Date: now}, "fail", "ok", "https://m: no such key", "`personasync outbox explain-code http_401`"},
		"not to be reached":  {api.Authentication{Error: "no route to host", Now: now}, "fail", "skip", "no route to host", ""},
		"refused, and ahead": {api.Authentication{Code: "http_401", Now: now.Add(time.Hour), Date: now}, "fail", "fail", "", ""},
	} {
		d := &doctor{config: config.Default()}
		d.judgeAnswer(tt.answer)
		m, clock := theOne(t, d.findings, "moengage"), theOne(t, d.findings, "clock")
		if m.State != tt.moengage || clock.State != tt.clock || !strings.Contains(m.Message, tt.says) || !strings.Contains(m.Do, tt.do) {
			t.Errorf("%s: %+v", name, d.findings)
		}
	}
}

// TestTheDoctorPassesConditionsOn with their names and commands. Whether the agent runs it finds by itself.
func TestTheDoctorPassesConditionsOn(t *testing.T) {
	for _, tt := range []struct {
		condition condition.Condition
		want      []Finding
	}{
		{condition.Condition{Name: condition.NotRunning, Severity: condition.Critical}, nil},
		{condition.Condition{Name: "disk", Severity: condition.Critical, Text: "full", Commands: []string{"df -h", "personasync status"}},
			[]Finding{{Check: "disk", State: "fail", Message: "full", Do: "`df -h`, `personasync status`", Condition: "disk", Severity: condition.Critical}}},
		{condition.Condition{Name: "held", Severity: "warning", Text: "100 % held", Commands: []string{"personasync status"}},
			[]Finding{{Check: "outbox", State: "warn", Message: "100 % held", Do: "`personasync status`", Condition: "held", Severity: "warning"}}},
		{condition.Condition{Name: "not_ready", Severity: "warning", Commands: []string{"personasync --config a.toml doctor", "df -h"}}, // its reader typed the first
			[]Finding{{Check: "agent", State: "warn", Do: "`df -h`", Condition: "not_ready", Severity: "warning"}}},
		{condition.Condition{Name: "of_a_newer_agent", Severity: "info"},
			[]Finding{{Check: "agent", State: "warn", Condition: "of_a_newer_agent", Severity: "info"}}},
	} {
		d := &doctor{config: config.Default()}
		d.findCondition(&tt.condition)
		if fmt.Sprint(d.findings) != fmt.Sprint(tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.condition.Name, d.findings, tt.want)
		}
	}
}

// TestTheDoctorDoesNotCallAFaultGood: sums that do not add up, and receivers that take no message, are conditions.
func TestTheDoctorDoesNotCallAFaultGood(t *testing.T) {
	failing := condition.Condition{Name: condition.NotifyFailing, Severity: "warning", Text: "url takes none"}
	receivers := &condition.Notify{Receivers: []condition.Receiver{{Name: "url"}, {Name: "command"}}}
	for name, tt := range map[string]struct {
		status       condition.Status
		data, notify string // "" for none of that state
	}{
		"good":             {condition.Status{Notify: receivers}, "0 events and 0 changes: the ledgers balance", "url, command; "},
		"nobody is told":   {condition.Status{}, "0 events and 0 changes: the ledgers balance", "off: "},
		"failing":          {condition.Status{Notify: receivers, Conditions: []condition.Condition{failing}}, "0 events and 0 changes: the ledgers balance", ""},
		"an event missing": {condition.Status{Events: domain.EventLedger{Accepted: 1}}, "", "off: "},
		"a change missing": {condition.Status{Changes: domain.ChangeLedger{Created: 1}}, "", "off: "},
	} {
		d := &doctor{config: config.Default()}
		d.checkStatus(tt.status)
		data, notify := saidBy(d.findings, "data", "ok"), saidBy(d.findings, "notify", "ok")
		if data != tt.data || !strings.Contains(notify, tt.notify) || (notify == "") != (tt.notify == "") {
			t.Errorf("%s: %+v", name, d.findings)
		}
	}
}

func TestOnlyAFailedCheckIsUnhealthy(t *testing.T) {
	for states, want := range map[string]bool{"": true, "ok warn skip": true, "ok fail ok": false, "fail": false} {
		var list []Finding
		for _, state := range strings.Fields(states) {
			list = append(list, Finding{State: state})
		}
		if Healthy(list) != want {
			t.Errorf("%q is healthy: %v", states, !want)
		}
	}
}

// TestTheDoctorDoesNotHaveASecondAgentStarted: data_dir is not there, and an agent is running: its folder was moved, and a
// start would make an empty one in its place.
func TestTheDoctorDoesNotHaveASecondAgentStarted(t *testing.T) {
	s := newSite(t)
	a := s.start(s.load(), RunOptions{})
	c := s.load("PERSONASYNC_DATA_DIR="+filepath.Join(s.dir, "moved"), "PERSONASYNC_ADMIN_SOCKET="+filepath.Join(s.dir, "other"), "PERSONASYNC_ADMIN_LISTEN="+a.Admin.String())
	f := theOne(t, Diagnose(context.Background(), c, nil, "1.0"), "permissions")
	if f.State != "fail" || !strings.Contains(f.Message, "an agent is running") || !strings.Contains(f.Do, "start no other one") {
		t.Errorf("found %+v", f)
	}
}
