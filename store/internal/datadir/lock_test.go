package datadir

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

func needsListOfLocks(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(locksFile); err != nil {
		t.Skip("this kernel does not list locks")
	}
}

func TestHolderIsWhoHasTheLock(t *testing.T) {
	needsListOfLocks(t)
	dir := t.TempDir()
	if _, held := Holder(dir); held {
		t.Error("a directory without a lock is held")
	}
	lock, err := LockDir(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if by, held := Holder(dir); !held || by != (Holding{PID: os.Getpid()}) {
		t.Errorf("held: %t, by %v", held, by)
	}
	if err := lock.Close(); err != nil { // as a crash leaves it: the number stays
		t.Fatal(err)
	}
	if by, held := Holder(dir); held {
		t.Errorf("a lock that %v left behind holds", by)
	}
}

// TestHolderIsSeenWhileOtherLocksComeAndGo: a list of locks that is read in pieces passes over one whenever
// one before it is released meanwhile.
func TestHolderIsSeenWhileOtherLocksComeAndGo(t *testing.T) {
	needsListOfLocks(t)
	dir := t.TempDir()
	lock, err := LockDir(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	var over atomic.Bool
	var others sync.WaitGroup
	for range 2 {
		var files []*os.File
		for range 20 {
			file, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			files = append(files, file)
		}
		others.Go(func() {
			for how := syscall.LOCK_EX; !over.Load(); how ^= syscall.LOCK_EX ^ syscall.LOCK_UN {
				for _, file := range files {
					_ = syscall.Flock(int(file.Fd()), how)
				}
			}
		})
	}
	missed := 0
	for range 2000 {
		if _, held := Holder(dir); !held {
			missed++
		}
	}
	over.Store(true)
	others.Wait()
	if missed > 0 {
		t.Errorf("the lock was missed %d times of 2000", missed)
	}
}
