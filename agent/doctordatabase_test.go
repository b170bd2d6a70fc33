package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store"
)

func TestWhatIsWrongAtPostgreSQLIsFound(t *testing.T) {
	sound := func() store.DatabaseHealth {
		h := store.DatabaseHealth{Standbys: "*", Streaming: 1, Synchronous: 1, Creates: true, RoundTrip: time.Millisecond}
		h.Holder.Term, h.Holder.Left, h.Holder.Host = 3, time.Second, "a"
		return h
	}
	for _, c := range []struct {
		name, replicated string
		change           func(*store.DatabaseHealth)
		want             string // check, state and a part of the message
	}{
		{"all is well", "standby", func(*store.DatabaseHealth) {}, "standby ok 1 synchronous, 1 streaming"},
		{"no standby is waited for", "standby", func(h *store.DatabaseHealth) { h.Standbys = "" }, "standby fail waits for no standby: events"},
		{"the standby is gone", "standby", func(h *store.DatabaseHealth) { h.Synchronous, h.Streaming = 0, 0 }, "standby fail every commit waits"},
		{"the standbys are not shown", "standby", func(h *store.DatabaseHealth) { h.Unseen, h.Synchronous = 1, 0 }, "standby skip this user may see nothing"},
		{"the provider replicates", "elsewhere", func(h *store.DatabaseHealth) { h.Standbys = "" }, "standby skip cannot be seen from here"},
		{"nobody does", "no", func(h *store.DatabaseHealth) { h.Standbys = "" }, "standby warn loses events"},
		{"fsync is off", "standby", func(h *store.DatabaseHealth) { h.Unsafe = "fsync" }, "durability fail fsync is off"},
		{"no rights", "standby", func(h *store.DatabaseHealth) { h.Creates = false }, "rights fail may make no tables in schema personasync"},
		{"an old transaction", "standby", func(h *store.DatabaseHealth) { h.Horizon = 2 * time.Hour }, "server warn the oldest transaction is open for 2h0m0s"},
		{"a slot of a lost standby", "standby", func(h *store.DatabaseHealth) { h.Keeper, h.Kept = "replication slot b", 300000 }, "server warn the replication slot b keeps removed rows"},
		{"a long way", "standby", func(h *store.DatabaseHealth) { h.RoundTrip = 20 * time.Millisecond }, "server warn a statement takes 20ms"},
		{"a clock behind", "standby", func(h *store.DatabaseHealth) { h.ClockOff = -time.Minute }, "server warn the clocks are 1m0s apart"},
		{"a pooler", "standby", func(h *store.DatabaseHealth) { h.Pooled = true }, "server warn a pooler stands between"},
		{"no writer", "standby", func(h *store.DatabaseHealth) { h.Holder.Left = -time.Second }, "term warn nothing is sent"},
		{"a new schema", "standby", func(h *store.DatabaseHealth) { h.Holder.Term = 0 }, "term skip no agent has written"},
	} {
		d := &doctor{config: config.Default()}
		d.config.Store.Replicated = c.replicated
		h := sound()
		c.change(&h)
		d.checkDurable(&h)
		d.checkServer(&h)
		d.checkTerm(&h)
		found := false
		check, rest, _ := strings.Cut(c.want, " ")
		state, text, _ := strings.Cut(rest, " ")
		for _, f := range d.findings {
			found = found || f.Check == check && f.State == state && strings.Contains(f.Message, text)
			if f.State == "warn" && f.Do == "" && f.Check != "standby" || f.State == "fail" && f.Do == "" {
				t.Errorf("%s: %+v says not what to do", c.name, f)
			}
		}
		if !found {
			t.Errorf("%s: want %q among %+v", c.name, c.want, d.findings)
		}
	}
}

// TestTheDoctorSendsNobodyToBackupsOfFiles: [backup] is refused with PostgreSQL.
func TestTheDoctorSendsNobodyToBackupsOfFiles(t *testing.T) {
	d := &doctor{config: config.Default()}
	d.config.Store.Engine = "postgres"
	d.checkBackup(&condition.Status{})
	if len(d.findings) != 1 || strings.Contains(d.findings[0].Message, "[backup]") || d.findings[0].State != "skip" {
		t.Errorf("%+v", d.findings)
	}
}

// TestTheDoctorSaysNothingGoodOfABackupThatFailed: nor of a folder that can take none.
func TestTheDoctorSaysNothingGoodOfABackupThatFailed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	failed := []condition.Condition{{Name: condition.BackupDue}}
	for _, c := range []struct {
		dir    string
		failed []condition.Condition
		want   string // state and message
	}{
		{"/dev", nil, "ok scheduled, to /dev"},
		{"/dev", failed, ""},
		{dir, nil, "warn is on the file system of data_dir"},
		{file, nil, "warn the next backup will fail: backup.dir " + file + " is not a folder: name one, and reload"},
		{filepath.Join(file, "below"), failed, "warn is not a folder: name one, and reload"},
		{filepath.Join(dir, "missing"), nil, "warn is missing: mount its disk"},
	} {
		d := &doctor{config: config.Default()}
		d.config.DataDir = dir
		d.checkBackup(&condition.Status{Backup: &condition.Backup{Dir: c.dir}, Conditions: c.failed})
		said := ""
		for _, f := range d.findings {
			said += f.State + " " + f.Message
		}
		state, message, _ := strings.Cut(c.want, " ")
		if (c.want == "") != (said == "") || !strings.HasPrefix(said, state) || !strings.Contains(said, message) {
			t.Errorf("%s, failed before %v: %q, want %q", c.dir, c.failed != nil, said, c.want)
		}
	}
}
