package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"personasync/agent/host"
	"personasync/store"
)

// ErrForeignData says that the data directory belongs to another user, who could not read the files that this process
// would write there.
var ErrForeignData = errors.New("the data directory belongs to another user")

// checkOwner refuses root a data directory of another user, who could not read the files that root writes. Other users
// may work in a folder that is not theirs if they may write there, as in a volume of root and of their group.
func checkOwner(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at data_dir: %w", err)
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 && sys.Uid != 0 {
		return fmt.Errorf("%w: %s: be %s", ErrForeignData, dir, host.OwnerOf(info))
	}
	if !info.IsDir() {
		return nil // opening it says so
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return openError(dir, err)
	}
	return nil
}

// isBareMountPoint reports whether dir is empty and belongs to root, like a folder whose disk is not mounted. A unit with
// PrivateUsers= sees root as nobody.
func isBareMountPoint(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	entries, err := os.ReadDir(dir)
	return ok && (sys.Uid == 0 || sys.Uid == nobody) && err == nil && len(entries) == 0
}

// nobody is the id of users whom a process cannot see.
const nobody = 65534

// openError says what to do about data that cannot be opened.
func openError(dir string, err error) error {
	switch {
	case errors.Is(err, store.ErrNoPlace):
		return err
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("data_dir %s is not a folder: name one in the configuration, or remove the file: %w", dir, err)
	case errors.Is(err, syscall.EROFS):
		remedy := "mount it for writing"
		if state := os.Getenv("STATE_DIRECTORY"); state != "" {
			remedy = "the unit lets the agent write to " + state + " alone: make that data_dir"
		}
		return fmt.Errorf("data_dir %s is read-only for the agent: %s: %w", dir, remedy, err)
	case errors.Is(err, fs.ErrPermission) && isBareMountPoint(dir):
		return fmt.Errorf("%w: %s is an empty folder of root, and may not be written by this user: mount its disk there, or give it to the agent's user", store.ErrNoPlace, dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("data_dir %s may not be written by this user: be %s: %w", dir, host.WhoMay(dir), err)
	case errors.Is(err, store.ErrNoRoom):
		return fmt.Errorf("make room in data_dir %s and start again: %w", dir, err)
	case errors.Is(err, store.ErrInUse):
		return fmt.Errorf("%w: stop that agent, or give this one a data_dir of its own", err)
	}
	return fmt.Errorf("open the data in %s: %w", dir, err)
}

func noDataError(dir string, err error) error {
	return fmt.Errorf("%w in %s: no agent has run with this data_dir; start one with `personasync run`, or name the folder that has the data", err, dir)
}
