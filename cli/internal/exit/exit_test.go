package exit

import (
	"fmt"
	"syscall"
	"testing"

	"personasync/store"
)

// TestExitCodesOfWhatTheKernelSays are those that a test cannot bring about.
func TestExitCodesOfWhatTheKernelSays(t *testing.T) {
	for err, want := range map[error]int{
		syscall.EROFS: 1, syscall.EIO: 1, syscall.ENOSPC: 1, syscall.EADDRINUSE: 1, syscall.EADDRNOTAVAIL: 1, syscall.ESTALE: 1, syscall.ENOTCONN: 1,
		store.ErrNoRoom: 1, store.ErrInUse: 1, &store.InUseError{Holding: store.Holding{PID: 7, Command: "db compact"}}: 1,
		syscall.EACCES: 2, syscall.EPERM: 2, syscall.ENOTDIR: 2, syscall.ELOOP: 2, syscall.ENAMETOOLONG: 2, syscall.EAFNOSUPPORT: 2,
		store.ErrNewer: 2, store.ErrUnsalvageable: 2,
	} {
		if code := Code(fmt.Errorf("open it: %w", err)); code != want {
			t.Errorf("%v ends with %d, not %d", err, code, want)
		}
	}
}
