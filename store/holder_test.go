package store

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

func TestHolderIsWhoHasTheLock(t *testing.T) {
	if _, err := os.Stat(locksFile); err != nil {
		t.Skip("this kernel does not list locks")
	}
	dir := t.TempDir()
	if _, held := Holder(dir); held {
		t.Error("a directory without a lock is held")
	}
	lock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if pid, held := Holder(dir); !held || pid != os.Getpid() {
		t.Errorf("held: %t, by %d", held, pid)
	}
	if err := lock.Close(); err != nil { // as a crash leaves it: the number stays
		t.Fatal(err)
	}
	if pid, held := Holder(dir); held {
		t.Errorf("a lock that %d left behind holds", pid)
	}
}

// TestHolderIsSeenWhileOtherLocksComeAndGo: a list of locks that is read in pieces passes over one whenever
// one before it is released meanwhile.
func TestHolderIsSeenWhileOtherLocksComeAndGo(t *testing.T) {
	if _, err := os.Stat(locksFile); err != nil {
		t.Skip("this kernel does not list locks")
	}
	dir := t.TempDir()
	lock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	done := make(chan struct{})
	var others sync.WaitGroup
	for i := range 2 {
		var files []*os.File
		for j := range 20 {
			file, err := os.Create(filepath.Join(t.TempDir(), strconv.Itoa(i)+"-"+strconv.Itoa(j)))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			files = append(files, file)
		}
		others.Go(func() {
			for how := syscall.LOCK_EX; ; how ^= syscall.LOCK_EX ^ syscall.LOCK_UN {
				for _, file := range files {
					select {
					case <-done:
						return
					default:
						_ = syscall.Flock(int(file.Fd()), how)
					}
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
	close(done)
	others.Wait()
	if missed > 0 {
		t.Errorf("the lock was missed %d times of 2000", missed)
	}
}
