package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/datadir"
	"personasync/store/internal/snapshot"
)

// TestTheDataBeforeARestoreIsKeptAndCanBePutBack: with the events that were received and not yet applied.
func TestTheDataBeforeARestoreIsKeptAndCanBePutBack(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 1))
	path := backUp(t, b)
	b.receive(event("bob", "vip", true, 1))
	must(t, b.Store.Close())

	r, err := Restore(context.Background(), path, b.dir, nil)
	must(t, err)
	if matches, _ := filepath.Match(filepath.Join(b.dir, datadir.PreviousPattern), r.Previous); !matches {
		t.Fatalf("the previous data is in %q", r.Previous)
	}
	knows := func(dir, user string, want bool) {
		t.Helper()
		v, err := OpenReadOnly(dir)
		must(t, err)
		defer v.Close()
		if _, err := v.User(user); (err == nil) != want {
			t.Errorf("%s in %s: %v", user, dir, err)
		}
	}
	knows(b.dir, "bob", false)
	knows(r.Previous, "bob", true)

	restored := adopt(t, b.dir)
	restored.receive(event("cid", "vip", true, 1)) // a start that took events before it failed
	if _, err := PutBack(b.dir, r.Previous); !errors.Is(err, ErrInUse) {
		t.Errorf("under a running agent: %v", err)
	}
	must(t, restored.Store.Close())
	aside, err := PutBack(b.dir, r.Previous)
	must(t, err)
	knows(aside, "cid", true)
	if _, err := os.Stat(r.Previous); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if _, err := PutBack(b.dir, r.Previous); !errors.Is(err, ErrNoData) {
		t.Errorf("once more: %v", err)
	}
	back := adopt(t, b.dir)
	if _, err := back.User("bob"); err != nil {
		t.Errorf("bob: %v", err)
	}
	if _, err := back.User("cid"); !errors.Is(err, ErrNotFound) {
		t.Errorf("cid: %v", err)
	}
	back.receive(event("dot", "vip", true, 1))
	back.balance()
	back.sound()
}

// TestABackupThatCannotBeRestoredHereIsRefused before anything is written.
func TestABackupThatCannotBeRestoredHereIsRefused(t *testing.T) {
	onFiles(t)
	dir, now := t.TempDir(), noon
	re := &restoration{dir: dir, staging: filepath.Join(dir, "staging"), now: now}
	free, _, err := datadir.FreeBytes(dir)
	must(t, err)
	for says, info := range map[string]snapshot.BackupInfo{
		"set the clock":                    {Epoch: "7", Made: now.Add(time.Second)},
		"is none":                          {Epoch: "x", Made: now},
		"is built beside the present data": {Epoch: "7", Made: now, StateBytes: free / 10 * 9}, // and a fifth more is needed
	} {
		if err := re.prepare(info); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", info, err)
		}
		if _, err := os.Stat(re.staging); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%+v: something is written, %v", info, err)
		}
	}
	if must(t, re.prepare(snapshot.BackupInfo{Epoch: "7", Made: now, StateBytes: free / 2})); re.epoch != 7 {
		t.Errorf("epoch %d", re.epoch)
	}
}

func TestARestoreToAnEmptyFolderHasNothingToKeep(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendBoth))
	dir := filepath.Join(t.TempDir(), "data")
	r, err := Restore(context.Background(), backUp(t, b), dir, nil)
	must(t, err)
	left, err := filepath.Glob(filepath.Join(dir, "*-*T*"))
	must(t, err)
	if r.Previous != "" || len(left) > 0 {
		t.Errorf("%q is kept; there are %q", r.Previous, left)
	}
}
