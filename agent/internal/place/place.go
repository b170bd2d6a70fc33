// Package place says what is the matter with data_dir, in sentences that tell the operator what to do.
package place

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"personasync/agent/config"
	"personasync/agent/host"
	"personasync/store"
)

// ErrForeignData says that the data directory belongs to another user, who could not read the files that this process
// would write there.
var ErrForeignData = errors.New("the data directory belongs to another user")

// CheckOwner refuses root a data directory of another user, who could not read the files that root writes. Other users
// may work in a folder that is not theirs if they may write there, as in a volume of root and of their group.
func CheckOwner(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return OpenError(dir, err)
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 && sys.Uid != 0 {
		return fmt.Errorf("%w: %s: be %s", ErrForeignData, dir, host.OwnerOf(info))
	}
	if !info.IsDir() {
		return nil // opening it says so
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return OpenError(dir, err)
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

// Passing says why what is written to dir does not last, "" if nothing is known against it. dir need not be there yet.
func Passing(dir string) string {
	var s unix.Statfs_t
	for err := unix.Statfs(dir, &s); err != nil; err = unix.Statfs(dir, &s) {
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return "" // opening it says more
		}
		dir = filepath.Dir(dir) // the folder that it will be made in
	}
	return passing(int64(s.Type), dir)
}

// passing is Passing for a kind of file system.
func passing(kind int64, dir string) string {
	switch kind {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return dir + " is in memory, and is lost with the next restart of the host"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return dir + " is in the layer of a container, and is lost when that is replaced"
	}
	return ""
}

// OpenError says what to do about data that cannot be opened.
func OpenError(dir string, err error) error {
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
		return fmt.Errorf("make room in data_dir %s and restart: %w", dir, err)
	case errors.Is(err, store.ErrInUse):
		return fmt.Errorf("%w: stop that agent, or give this one a data_dir of its own", err)
	}
	return fmt.Errorf("open the data in %s: %w", dir, err)
}

// NoDataError says what to do where no agent has run, which err says.
func NoDataError(dir string, err error) error {
	return fmt.Errorf("%w in %s: no agent has run with this data_dir; start one with `personasync run`, or name the folder that has the data", err, dir)
}

// ErrElsewhere says that an agent is running whose data is not in data_dir. Usually the folder was moved with the agent's
// socket in it, so that commands do not reach the agent.
var ErrElsewhere = errors.New("an agent is running, and its data is not in data_dir")

// elsewherePatience is how long admin.listen may take to answer. It is usually on this machine.
const elsewherePatience = 2 * time.Second

// OrElsewhere returns ErrElsewhere if data_dir has no data and an agent answers at admin.listen, else err.
func OrElsewhere(ctx context.Context, c *config.Config, err error) error {
	if _, missing := os.Stat(c.DataDir); !errors.Is(err, store.ErrNoData) && !errors.Is(missing, fs.ErrNotExist) {
		return err
	}
	return cmp.Or(Elsewhere(ctx, c), err)
}

// Elsewhere asks at admin.listen for an agent. It returns ErrElsewhere with its answer, or nil if none answers.
func Elsewhere(ctx context.Context, c *config.Config) error {
	ready, says, answers := askListen(ctx, c)
	if !answers {
		return nil
	}
	if ready {
		says = "ready. Its configuration names another data_dir, or another admin.socket: name its file with --config FILE. A second agent needs an ingest.listen and an admin.listen of its own, too"
	}
	return fmt.Errorf("%w, %s. It answers at admin.listen = %s: %s", ErrElsewhere, c.DataDir, c.Admin.Listen, says)
}

// MovedFrom returns ErrElsewhere if the agent at admin.listen says that its data was moved out of data_dir or removed. It
// returns nil if none answers, or one that is configured for another data_dir.
func MovedFrom(ctx context.Context, c *config.Config) error {
	ready, says, answers := askListen(ctx, c)
	if !answers || ready || !strings.Contains(says, c.DataDir) {
		return nil
	}
	return fmt.Errorf("%w, %s: stop it first; the events it acknowledged are only in its open files, so save them before. It says: %s", ErrElsewhere, c.DataDir, says)
}

// askListen asks at admin.listen whether an agent is ready, and why not.
func askListen(ctx context.Context, c *config.Config) (ready bool, says string, answers bool) {
	if c.Admin.Listen == "" {
		return false, "", false
	}
	ctx, cancel := context.WithTimeout(ctx, elsewherePatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Admin.Listen+"/readyz", nil)
	if err != nil {
		return false, "", false
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	answer, err := client.Do(r)
	if err != nil {
		return false, "", false
	}
	defer answer.Body.Close()
	var told struct {
		Ready  *bool  `json:"ready"`
		Reason string `json:"reason"`
	}
	if json.NewDecoder(io.LimitReader(answer.Body, 1<<16)).Decode(&told) != nil || told.Ready == nil {
		return false, "", false // not an agent
	}
	return *told.Ready, told.Reason, true
}
