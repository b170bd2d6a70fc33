package agent

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store"
	"personasync/store/postgres/pgtest"
)

// inSchema are the lines of a configuration whose store is a schema of PostgreSQL.
func inSchema(url, schema string) []string {
	return []string{"PERSONASYNC_DEFAULTS_SEND=attribute,event", "PERSONASYNC_STORE_ENGINE=postgres", "PERSONASYNC_STORE_URL=" + url,
		"PERSONASYNC_STORE_SCHEMA=" + schema, "PERSONASYNC_STORE_REPLICATED=no", "PERSONASYNC_STORE_TERM=3s"}
}

// sharing returns the configuration of another agent of s, with a data_dir of its own and the store of the others.
func sharing(s *site, url, schema string) (*site, func() *started) {
	own := &site{t: s.t, dir: s.t.TempDir(), box: s.box, url: s.url}
	c := own.load(inSchema(url, schema)...)
	return own, func() *started { return own.start(c, RunOptions{}) }
}

// TestAnotherAgentTakesOver: the door takes events, which the writer sends, and goes on as the writer once that has stopped. What
// was sent is not sent again.
func TestAnotherAgentTakesOver(t *testing.T) {
	t.Parallel() // it waits
	url, schema := pgtest.Schema(t, nil)
	s := newSite(t)
	one, startOne := sharing(s, url, schema)
	two, startTwo := sharing(s, url, schema)
	first := startOne()
	first.tell("[" + news("ann", true, time.Now()) + "]")
	i, _ := open(t, one.load())
	eventually(t, i, "ann is told of", func(st condition.Status) bool { return st.Delivered == 2 })

	second := startTwo()
	second.tell("[" + news("bob", true, time.Now()) + "]")
	eventually(t, i, "bob came in by the door", func(st condition.Status) bool { return st.Delivered == 4 })
	door, _ := open(t, two.load())
	if _, err := door.(*api.Client).Flush(t.Context(), ""); !errors.Is(err, store.ErrNotWriter) {
		t.Errorf("the door is asked to flush: %v", err)
	}
	eventually(t, door, "the door knows as much", func(st condition.Status) bool { return st.Ready && st.Delivered == 4 })

	first.stop()
	second.tell("[" + news("cid", true, time.Now()) + "," + news("ann", false, time.Now()) + "]")
	told := func() (n uint64) { // its socket is made anew when it changes its role
		client, err := api.Dial(t.Context(), two.load().Socket(os.Getenv), "1.0")
		if err != nil {
			return 0
		}
		defer client.Close()
		if st, err := client.Status(t.Context()); err == nil {
			n = st.Delivered
		}
		return n
	}
	for deadline := time.Now().Add(time.Minute); told() < 8; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the door never became the writer")
		}
	}
	for user, want := range map[string]int{"ann": 2, "bob": 1, "cid": 1} {
		if n := len(s.box.Events(user)); n != want {
			t.Errorf("MoEngage was told %d events of %s, want %d", n, user, want)
		}
	}
}

// TestASharedStoreNeedsNoFolderBefore: data_dir is made at the first start, for the socket, as that of files is.
func TestASharedStoreNeedsNoFolderBefore(t *testing.T) {
	url, schema := pgtest.Schema(t, nil)
	s := newSite(t)
	one, start := sharing(s, url, schema)
	if err := os.RemoveAll(one.load().DataDir); err != nil {
		t.Fatal(err)
	}
	start().stop()
	if info, err := os.Stat(one.load().DataDir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data_dir: %v, %v", info, err)
	}
}

// TestASharedAgentNeedsItsAddresses: it ends with the one that is taken, and waits for nothing.
func TestASharedAgentNeedsItsAddresses(t *testing.T) {
	url, schema := pgtest.Schema(t, nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct{ key, line string }{
		{"ingest.listen", "PERSONASYNC_INGEST_LISTEN=" + taken.Addr().String()},
		{"admin.listen", "PERSONASYNC_ADMIN_LISTEN=" + taken.Addr().String()},
	} {
		err := Run(t.Context(), newSite(t).load(append(inSchema(url, schema), c.line)...), RunOptions{Version: "1.0", Log: quiet()})
		if err == nil || !strings.Contains(err.Error(), c.key) {
			t.Errorf("with %s it ends with: %v", c.line, err)
		}
	}
}

// TestAnAgentOfAnotherWorkspaceDoesNotTakeOver: everything that waited went to the other workspace, and nobody was told.
func TestAnAgentOfAnotherWorkspaceDoesNotTakeOver(t *testing.T) {
	t.Parallel() // it waits
	url, schema := pgtest.Schema(t, nil)
	s := newSite(t)
	_, startOne := sharing(s, url, schema)
	first := startOne()
	s.dir = t.TempDir()
	wrong := s.load(append(inSchema(url, schema), "PERSONASYNC_MOENGAGE_WORKSPACE_ID=ANOTHER")...)
	second := s.start(wrong, RunOptions{})
	i, _ := open(t, wrong)
	eventually(t, i, "the agent says that it does not take over", func(st condition.Status) bool {
		return slices.ContainsFunc(st.Conditions, func(c condition.Condition) bool { return c.Name == condition.OtherWorkspace })
	})
	first.stop()
	second.tell("[" + news("ann", true, time.Now()) + "]")
	eventually(t, i, "the agent could not take over, and receives", func(st condition.Status) bool {
		return st.Ready && st.Unapplied == 1 && strings.Contains(st.Store.NoTerm, "ANOTHER")
	})
	if n := len(s.box.Events("ann")); n > 0 {
		t.Errorf("MoEngage was told %d events of another workspace", n)
	}
}

// TestADoorTellsOfItsRefusedConfiguration: it reached Prometheus and nobody else, and a takeover forgot it, although the next restart
// fails. It is told once, whichever role the agent has.
func TestADoorTellsOfItsRefusedConfiguration(t *testing.T) {
	t.Parallel() // it waits
	url, schema := pgtest.Schema(t, nil)
	s, r, hup := newSite(t), newReceiver(t), make(chan os.Signal)
	_, startOne := sharing(s, url, schema)
	first := startOne()
	s.dir = t.TempDir()
	c := s.load(append(inSchema(url, schema), "PERSONASYNC_NOTIFY_URL="+r.url, "PERSONASYNC_NOTIFY_AFTER=1s")...)
	s.start(c, RunOptions{Reload: hup, Load: func() (*config.Config, error) { return nil, errors.New("61 is no minute") }})
	hup <- os.Interrupt
	waitFor(t, "a message of the refusal", func() bool { return r.told(condition.ConfigRefused) != "" })
	first.stop()
	waitFor(t, "the writer knows of the refusal", func() bool { // its socket is made anew
		client, err := api.Dial(t.Context(), c.Socket(os.Getenv), "1.0")
		if err != nil {
			return false
		}
		defer client.Close()
		st, err := client.Status(t.Context())
		return err == nil && st.Store.Role == condition.RoleWriter && slices.ContainsFunc(st.Conditions, func(c condition.Condition) bool { return c.Name == condition.ConfigRefused })
	})
	if told := r.told(condition.ConfigRefused); told != "config_refused began" {
		t.Errorf("told %s", told)
	}
	if kept, err := os.ReadFile(filepath.Join(c.DataDir, toldFile)); err != nil || !strings.Contains(string(kept), condition.ConfigRefused) {
		t.Errorf("kept for a restart: %s, %v", kept, err)
	}
}
