package agent

import (
	"fmt"
	"testing"

	"personasync/store"
)

// TestTheHolderOfADirectoryIsTakenFromTheError, which knows the command, else from the kernel.
func TestTheHolderOfADirectoryIsTakenFromTheError(t *testing.T) {
	dir := t.TempDir()
	by := store.Holding{PID: 7, Command: "db compact"}
	if got := holding(dir, fmt.Errorf("open: %w", &store.InUseError{Holding: by})); got != by {
		t.Errorf("%+v, want %+v", got, by)
	}
	if got := holding(dir, store.ErrInUse); got != (store.Holding{}) {
		t.Errorf("nobody holds it, and %+v does", got)
	}
}
