package store

import (
	"os"
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
