package store

import (
	"syscall"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/query"
)

// TestALockEndsWithItsStoreWhileAProcessIsBeingStarted: a child that another goroutine starts has a copy of the
// descriptor until it executes its program, and an Open right after Close was told that the folder is in use.
func TestALockEndsWithItsStoreWhileAProcessIsBeingStarted(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendNone))
	copied, err := syscall.Dup(int(b.place.Lock.Fd())) // as fork does
	must(t, err)
	defer syscall.Close(copied)
	must(t, b.Store.Close())
	s, err := Open(b.dir, Options{Log: query.Discard})
	must(t, err)
	b.Store = s
}
