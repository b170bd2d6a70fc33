package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"personasync/store"
)

func TestOpenWithoutDataSaysThereIsNone(t *testing.T) {
	s := newSite(t)
	_, _, _, err := Open(t.Context(), s.load(), "1.0")
	if !errors.Is(err, store.ErrNoData) || !contains(err.Error(), s.dir) {
		t.Errorf("got %v", err)
	}
}

func TestOpenWaitsForTheSocketOfAnAgentThatStarts(t *testing.T) {
	s := newSite(t)
	c := s.load()
	data, err := store.Open(c.DataDir, store.Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	listening := make(chan struct{})
	go func() { // the agent has locked its files, and is about to open its socket
		defer close(listening)
		time.Sleep(3 * lockPoll)
		path := serveSocket(t, testAdmin(&answers{}).Socket())
		if err := os.Symlink(path, filepath.Join(s.dir, "s")); err != nil {
			t.Error(err)
		}
	}()
	_, done, running, err := Open(t.Context(), c, "1.0")
	if err != nil || !running {
		t.Fatalf("running %v, %v", running, err)
	}
	_ = done.Close()
	<-listening
}

func TestDeniedErrorNamesWhoToBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone", "admin.sock")
	err := deniedError("the agent's socket", path, fs.ErrPermission)
	if !errors.Is(err, fs.ErrPermission) || !contains(err.Error(), "sudo -u ") || !contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

func TestGroupIsNamedWhereItIsLetIn(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(socket, nil, 0o660); err != nil {
		t.Fatal(err)
	}
	if who := whoMay(socket); !contains(who, "or in the group") {
		t.Errorf("a socket for its group: %s", who)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		t.Fatal(err)
	}
	if who := whoMay(socket); contains(who, "group") {
		t.Errorf("a socket for its owner alone: %s", who)
	}
}

func TestOwnDataDirectoryIsFine(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "not yet")} {
		if err := checkOwner(dir); err != nil {
			t.Error(err)
		}
	}
	if os.Geteuid() != 0 {
		return // only root can be somebody else
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if err := checkOwner(dir); !errors.Is(err, ErrForeignData) {
		t.Errorf("root takes over another user's data: %v", err)
	}
}

// TestCountingLetsAnAgentStart: an agent finds its files free between the parts of a long count.
func TestCountingLetsAnAgentStart(t *testing.T) {
	s := newSite(t)
	c := s.load()
	s.start(c, RunOptions{}).stop()
	i, _ := open(t, c)
	local := i.(*Local)
	looks, files := 0, local.open
	local.open = func() (*store.View, func() error, error) {
		if looks++; looks > 1 {
			agent, err := store.Open(c.DataDir, store.Options{Log: quiet()})
			if err != nil {
				t.Errorf("before look %d the files were held: %v", looks, err)
			} else if err := agent.Close(); err != nil {
				t.Error(err)
			}
		}
		return files()
	}
	if _, err := local.Stats(t.Context()); err != nil || looks < 2 {
		t.Errorf("a count of %d looks, %v", looks, err)
	}
}
