package agent

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/store"
	"personasync/store/domain"
)

// onFiles finds the data of a stopped agent.
func onFiles(t *testing.T, s *site, lines ...string) Data {
	t.Helper()
	d, done, where, err := OpenData(t.Context(), s.load(lines...), "1.0")
	if err != nil || !contains(where, "working on its files in "+s.dir) {
		t.Fatalf("%q, %v", where, err)
	}
	t.Cleanup(func() { _ = done.Close() })
	return d
}

// TestAnOrderOnTheFilesOfAStoppedAgentSaysWhatFailed: an order that was not carried out was reported as done.
func TestAnOrderOnTheFilesOfAStoppedAgentSaysWhatFailed(t *testing.T) {
	s := newSite(t)
	s.start(s.load(), RunOptions{}).stop()
	d := onFiles(t, s)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tt := range map[string]struct {
		order func() error
		want  error // nil: any
	}{
		"an unknown audience": {func() error {
			_, err := d.Order(t.Context(), api.Order{Verb: "reconcile", Key: "nobody"}, nil)
			return err
		}, store.ErrNotFound},
		"an unknown order": {func() error {
			_, err := d.Order(t.Context(), api.Order{Verb: "sell", Key: "vip"}, nil)
			return err
		}, api.ErrUsage},
		"a user without an id":      {func() error { _, err := d.Forget(t.Context(), api.ForgetOrder{User: ""}); return err }, nil},
		"an interrupted compaction": {func() error { _, err := d.Compact(gone, nil); return err }, context.Canceled},
		"a backup to a full disk":   {func() error { _, err := d.Backup(t.Context(), full{}, nil); return err }, errFull},
	} {
		if err := tt.order(); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var errFull = errors.New("no space left")

// full takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestNoOrderTouchesFilesThatAreNotTheAgents: without data none is made, with a faulty configuration nothing is changed,
// and a folder of another user is left alone.
func TestNoOrderTouchesFilesThatAreNotTheAgents(t *testing.T) {
	orders := func(d Data) map[string]error {
		_, forget := d.Forget(t.Context(), api.ForgetOrder{User: "ann"})
		_, compact := d.Compact(t.Context(), nil)
		_, order := d.Order(t.Context(), api.Order{Verb: "close", Key: "vip"}, nil)
		_, pause := d.Pause(t.Context(), domain.Pause{Why: "freeze"})
		_, resume := d.Resume(t.Context(), "")
		return map[string]error{"forget": forget, "compact": compact, "close": order, "pause": pause, "resume": resume}
	}
	s := newSite(t)
	d := onFiles(t, s)
	for name, err := range orders(d) {
		if !errors.Is(err, store.ErrNoData) || !contains(err.Error(), "personasync run") {
			t.Errorf("%s without data: %v", name, err)
		}
	}
	if _, err := d.Check(t.Context(), nil); !errors.Is(err, store.ErrNoData) {
		t.Errorf("a check without data: %v", err)
	}
	if _, err := d.Backup(t.Context(), new(bytes.Buffer), nil); !errors.Is(err, store.ErrNoData) {
		t.Errorf("a backup without data: %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "data")); !os.IsNotExist(err) {
		t.Errorf("a folder was made: %v", err)
	}

	s.start(s.load(), RunOptions{}).stop()
	c := s.load()
	c.Refuse(errors.New("log.level: loud"))
	for name, err := range orders(files{c}) {
		if err == nil || !contains(err.Error(), "log.level: loud") {
			t.Errorf("%s with a faulty configuration: %v", name, err)
		}
	}
	if os.Geteuid() != 0 {
		return // only root can be another user
	}
	if err := os.Chown(c.DataDir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	for name, err := range orders(files{s.load()}) {
		if !errors.Is(err, ErrForeignData) {
			t.Errorf("%s in a folder of another user: %v", name, err)
		}
	}
	if _, err := Restore(t.Context(), s.load(), filepath.Join(s.dir, "backup"), "1.0", nil); !errors.Is(err, ErrForeignData) {
		t.Errorf("a restore over data of another user: %v", err)
	}
}

// TestOrdersOnTheFilesTakeEffect: events that the agent left in its inbox are applied before, by today's rules.
func TestOrdersOnTheFilesTakeEffect(t *testing.T) {
	s := newSite(t)
	data, err := store.Open(s.load().DataDir, store.Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, user := range []string{"ann", "bob"} {
		e := &domain.Event{Received: now, Time: now, Call: domain.CallIdentify, MessageID: user, User: domain.Identifier{ID: user},
			Class: domain.ClassAudience, Space: "spa", Key: "vip", ComputationID: "aud_1", Flag: domain.FlagIn, Raw: []byte("{}")}
		err = errors.Join(err, data.Append(t.Context(), e))
	}
	if err := errors.Join(err, data.Close()); err != nil {
		t.Fatal(err)
	}
	d := onFiles(t, s, "PERSONASYNC_DEFAULTS_SEND=attribute")
	if r, err := d.Forget(t.Context(), api.ForgetOrder{User: "bob"}); err != nil || r.Memberships != 1 {
		t.Errorf("forget: %+v, %v", r, err)
	}
	if r, err := d.Order(t.Context(), api.Order{Verb: "close", Key: "vip"}, nil); err != nil || r.Exits != 1 {
		t.Errorf("close: %+v, %v", r, err)
	}
	if r, err := d.Compact(t.Context(), nil); err != nil || r.After == 0 {
		t.Errorf("compact: %+v, %v", r, err)
	}
	if r, err := d.Check(t.Context(), nil); err != nil || r == nil {
		t.Errorf("check: %+v, %v", r, err)
	}
	var copied bytes.Buffer
	if _, err := d.Backup(t.Context(), &copied, nil); err != nil || copied.Len() == 0 {
		t.Errorf("backup: %d bytes, %v", copied.Len(), err)
	}
	if members, _, err := mustOpen(t, s).Members(t.Context(), "vip", "", 10); err != nil || len(members) != 0 {
		t.Errorf("members afterwards: %v, %v", members, err)
	}

	path := filepath.Join(s.dir, "backup")
	if err := os.WriteFile(path, copied.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c := s.load()
	a := s.start(c, RunOptions{})
	if _, err := Restore(t.Context(), c, path, "1.0", nil); !errors.Is(err, store.ErrInUse) || !contains(err.Error(), "stop it first") {
		t.Errorf("a restore under a running agent: %v", err)
	}
	if _, _, where, err := OpenData(t.Context(), c, "1.0"); err != nil || contains(where, "working on its files") {
		t.Errorf("of a running agent, an order goes to %q, %v", where, err)
	}
	a.stop()
	if _, err := Restore(t.Context(), c, filepath.Join(s.dir, "nothing"), "1.0", nil); err == nil {
		t.Error("a restore from nothing succeeded")
	}
	if _, err := Restore(t.Context(), c, path, "1.0", func(int64, int64) {}); err != nil {
		t.Errorf("a restore: %v", err)
	}
}

func mustOpen(t *testing.T, s *site) api.Inspector {
	t.Helper()
	i, running := open(t, s.load())
	if running {
		t.Fatal("a stopped agent answered")
	}
	return i
}

// TestAnOrderOnTheFilesFollowsTheConfiguration: a computation that only the configuration names is created by an import,
// and the changes go by its rules.
func TestAnOrderOnTheFilesFollowsTheConfiguration(t *testing.T) {
	s := newSite(t)
	s.start(s.load(), RunOptions{}).stop()
	path := filepath.Join(s.dir, "agent.toml")
	if err := os.WriteFile(path, []byte("[[computation]]\nkey = \"new\"\nsend = \"attribute\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := s.load()
	own, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Computations = own.Computations
	users := func(yield func(string, error) bool) { yield("ann", nil) }
	r, err := files{c}.Order(t.Context(), api.Order{Verb: "import", Key: "new", AsOf: time.Now(), Users: users}, nil)
	if err != nil || r.Enters != 1 {
		t.Fatalf("import: %+v, %v", r, err)
	}
	page, _, err := mustOpen(t, s).Changes(t.Context(), domain.OutboxFilter{})
	if err != nil || len(page) != 1 || page[0].Kind != "attribute" {
		t.Errorf("pending: %+v, %v", page, err)
	}
	if _, err := (files{c}).Order(t.Context(), api.Order{Verb: "import", Key: "unnamed", AsOf: time.Now(), Users: users}, nil); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an import of a computation that nothing names: %v", err)
	}
}
