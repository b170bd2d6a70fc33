package store

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/datadir"
	"personasync/store/internal/wal"
)

// untilTaken waits until events are taken again.
func (b *bench) untilTaken() {
	b.Helper()
	for end := time.Now().Add(time.Minute); b.Refusal() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("events are still refused: %v", b.Refusal())
		}
	}
}

// TestNothingIsAcknowledgedThatTheNextStartWillNotFind: the folder was moved, removed or another was put in its
// place, and events were answered with success until the end of the process, and gone with it.
func TestNothingIsAcknowledgedThatTheNextStartWillNotFind(t *testing.T) {
	onFiles(t)
	t.Parallel() // it waits
	type attack struct {
		do   func(dir string) error // on the folder, or the link to it
		undo func(dir string) error // nil: there is no way back
	}
	rename := func(name string) attack {
		return attack{
			func(dir string) error { return os.Rename(filepath.Join(dir, name), filepath.Join(dir, "away")) },
			func(dir string) error { return os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, name)) },
		}
	}
	remove := func(name string) attack {
		return attack{do: func(dir string) error { return os.Remove(filepath.Join(dir, name)) }}
	}
	away := func(dir string) error { return os.Rename(dir, dir+".away") }
	back := func(dir string) error { return os.Rename(dir+".away", dir) }
	for name, a := range map[string]attack{
		"the folder is moved":        {away, back},
		"the folder is removed":      {do: os.RemoveAll},
		"state.db is moved":          rename(datadir.StateFile),
		"state.db is removed":        remove(datadir.StateFile),
		"the inbox is moved":         rename("inbox-00000001.db"),
		"the inbox is removed":       remove("inbox-00000001.db"),
		"a copy is put in its place": {do: func(dir string) error { return errors.Join(away(dir), os.CopyFS(dir, os.DirFS(dir+".away"))) }},
		"an empty folder is put there": {
			func(dir string) error { return errors.Join(away(dir), os.Mkdir(dir, 0o700)) },
			func(dir string) error { return errors.Join(os.Remove(dir), back(dir)) },
		},
		"state.db is replaced by a copy": {do: func(dir string) error {
			body, err := os.ReadFile(filepath.Join(dir, datadir.StateFile))
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "copy"), body, 0o600), os.Rename(filepath.Join(dir, "copy"), filepath.Join(dir, datadir.StateFile)))
		}},
		"the folder is moved, and a link leads to it": {do: func(dir string) error { return errors.Join(away(dir), os.Symlink(dir+".away", dir)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &bench{TB: t, dir: filepath.Join(t.TempDir(), "data")}
			b.reopen(rules(domain.SendAttribute))
			t.Cleanup(func() { b.Store.Close() })
			b.receive(event("ann", "vip", true, 1))
			must(t, a.do(b.dir))
			err := b.Append(context.Background(), event("bob", "vip", true, 2))
			if name == "the folder is moved, and a link leads to it" {
				must(t, err)
				must(t, b.Applied(t.Context()))
				b.reopen(rules(domain.SendAttribute))
				b.wantMembers("vip", "ann", "bob")
				return
			}
			if !errors.Is(err, ErrMoved) || !errors.Is(b.Refusal(), ErrMoved) {
				t.Fatalf("an event is answered with %v, the store with %v", err, b.Refusal())
			}
			if a.undo == nil {
				return
			}
			must(t, a.undo(b.dir))
			b.untilTaken()
			b.receive(event("cid", "vip", true, 3))
			b.reopen(rules(domain.SendAttribute))
			b.wantMembers("vip", "ann", "bob", "cid") // bob was written, if not acknowledged
			b.balance()
		})
	}
}

// TestADataDirectoryBehindALinkThatIsTurnedElsewhereIsNoticed.
func TestADataDirectoryBehindALinkThatIsTurnedElsewhereIsNoticed(t *testing.T) {
	onFiles(t)
	t.Parallel() // it waits
	top := t.TempDir()
	first, second, link := filepath.Join(top, "first"), filepath.Join(top, "second"), filepath.Join(top, "data")
	must(t, errors.Join(os.Mkdir(first, 0o700), os.Mkdir(second, 0o700), os.Symlink(first, link)))
	b := &bench{TB: t, dir: link}
	b.reopen(rules(domain.SendAttribute))
	t.Cleanup(func() { b.Store.Close() })
	b.receive(event("ann", "vip", true, 1))
	turn := func(to string) {
		t.Helper()
		must(t, errors.Join(os.Symlink(to, link+".new"), os.Rename(link+".new", link)))
	}
	turn(second)
	if err := b.Append(t.Context(), event("bob", "vip", true, 2)); !errors.Is(err, ErrMoved) {
		t.Errorf("it is answered with %v", err)
	}
	turn(first)
	b.untilTaken()
	b.receive(event("bob", "vip", true, 2))
	if left, err := os.ReadDir(second); err != nil || len(left) > 0 {
		t.Errorf("the other folder holds %v, %v", left, err)
	}
}

// TestTheFolderInThePlaceOfOursIsLeftAlone: a compaction, an erasure, retention and a stop work by name, and
// would have destroyed what was restored there.
func TestTheFolderInThePlaceOfOursIsLeftAlone(t *testing.T) {
	onFiles(t)
	b := &bench{TB: t, dir: filepath.Join(t.TempDir(), "data")}
	b.reopen(rules(domain.SendAttribute))
	t.Cleanup(func() { b.Store.Close() })
	b.receive(event("ann", "vip", true, 1))
	must(t, b.inbox.RotateNow())
	b.receive(event("bob", "vip", true, 1))
	must(t, os.Rename(b.dir, b.dir+".away"))
	must(t, os.Mkdir(b.dir, 0o700))
	for _, name := range []string{datadir.StateFile, "inbox-00000001.db", "inbox-00000002.db", datadir.RunFile, datadir.LockFile} {
		must(t, os.WriteFile(filepath.Join(b.dir, name), []byte("another store's "+name), 0o600))
	}
	b.SetRetention(Options{ReceivedFor: time.Nanosecond})
	for what, err := range map[string]error{
		"compaction": onlyErr(b.Compact(t.Context(), nil)), "forgetting": onlyErr(b.Forget(t.Context(), "ann")), "a new file": b.inbox.RotateNow(),
	} {
		if !errors.Is(err, ErrMoved) {
			t.Errorf("%s ended with %v", what, err)
		}
	}
	_, _ = b.Prune(t.Context(), time.Now())
	must(t, b.Store.Close())
	entries, err := os.ReadDir(b.dir)
	must(t, err)
	if len(entries) != 5 {
		t.Errorf("the folder holds %v", entries)
	}
	for _, e := range entries {
		if body, err := os.ReadFile(filepath.Join(b.dir, e.Name())); string(body) != "another store's "+e.Name() {
			t.Errorf("%s was changed to %q, %v", e.Name(), datadir.FirstBytes(string(body), 40), err)
		}
	}
}

func onlyErr[T any](_ T, err error) error { return err }

// TestTheLockIsTakenAgainWhenItsFileIsRemoved: a second agent would have begun to start.
func TestTheLockIsTakenAgainWhenItsFileIsRemoved(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	must(t, os.Remove(filepath.Join(b.dir, datadir.LockFile)))
	b.receive(event("bob", "vip", true, 2))
	if lock, err := datadir.LockDir(b.dir, ""); !errors.Is(err, ErrInUse) {
		t.Errorf("the directory is free: %v, %v", lock, err)
	}
}

// TestAnAppliedInboxFileMayBeRemoved: what the state knows is not needed again, and the agent goes on.
func TestAnAppliedInboxFileMayBeRemoved(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	must(t, b.inbox.RotateNow())
	must(t, os.Remove(wal.Path(b.dir, 1)))
	b.receive(event("bob", "vip", true, 2))
	b.SetRetention(Options{ReceivedFor: time.Hour})
	_, err := b.Prune(t.Context(), noon.Add(2*time.Hour))
	must(t, err)
	b.reopen(rules(domain.SendAttribute))
	b.wantMembers("vip", "ann", "bob")
}

// TestCompactionAndErasureKeepTheFilesInTheirPlace: a file that takes the name of another is the open one.
func TestCompactionAndErasureKeepTheFilesInTheirPlace(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 1))
	must(t, onlyErr(b.Compact(t.Context(), nil)))
	must(t, b.place.Compare())
	must(t, onlyErr(b.Forget(t.Context(), "ann")))
	must(t, b.place.Compare())
	b.receive(event("cid", "vip", true, 2))
	must(t, b.inbox.RotateNow())
	b.receive(event("dan", "vip", true, 2))
	must(t, b.place.Compare())
}

// TestAFileSystemMountedOverTheDataIsNoticed, over the folder and over one file of it, and so is that it goes.
func TestAFileSystemMountedOverTheDataIsNoticed(t *testing.T) {
	onFiles(t)
	t.Parallel() // it waits
	const told = "PERSONASYNC_TEST_MOUNTS"
	if os.Getenv(told) == "" {
		if os.Geteuid() != 0 {
			t.Skip("only root can mount")
		}
		child := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
		child.Env = append(os.Environ(), told+"=1")
		child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if out, err := child.CombinedOutput(); errors.Is(err, syscall.EPERM) {
			t.Skip("this root may not mount")
		} else if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	must(t, syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""))
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	must(t, syscall.Mount("tmpfs", b.dir, "tmpfs", 0, ""))
	if err := b.Append(t.Context(), event("bob", "vip", true, 2)); !errors.Is(err, ErrMoved) {
		t.Errorf("with a file system over the folder it answers %v", err)
	}
	must(t, syscall.Unmount(b.dir, 0))
	b.untilTaken()
	state := filepath.Join(b.dir, datadir.StateFile)
	other := filepath.Join(t.TempDir(), "other")
	must(t, os.WriteFile(other, nil, 0o600))
	must(t, syscall.Mount(other, state, "", syscall.MS_BIND, ""))
	for end := time.Now().Add(time.Minute); b.Refusal() == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a file over state.db goes unnoticed")
		}
	}
	must(t, syscall.Unmount(state, 0))
	b.untilTaken()
	b.receive(event("cid", "vip", true, 3))
	b.reopen(rules(domain.SendAttribute))
	b.wantMembers("vip", "ann", "bob", "cid")
}
