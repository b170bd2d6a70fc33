package agent

import (
	"strings"
	"testing"
	"time"

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
	d.checkBackup(nil)
	if len(d.findings) != 1 || strings.Contains(d.findings[0].Message, "[backup]") || d.findings[0].State != "skip" {
		t.Errorf("%+v", d.findings)
	}
}
