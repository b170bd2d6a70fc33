package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"personasync/store"
)

// TestAFaultOfTheDataDirSaysWhatToDo, and stays the error that decides about a restart.
func TestAFaultOfTheDataDirSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, state string // $STATE_DIRECTORY
		err         error
		says        string
	}{
		{"a file in its place", "", syscall.ENOTDIR, "is not a folder: name one in the configuration, or remove the file"},
		{"read-only", "", syscall.EROFS, "mount it for writing"},
		{"read-only in a unit", "/var/lib/personasync", syscall.EROFS, "the unit lets the agent write to /var/lib/personasync alone"},
		{"not permitted", "", fs.ErrPermission, "may not be written by this user: be "},
		{"no room", "", store.ErrNoRoom, "make room in data_dir"},
		{"in use", "", store.ErrInUse, "stop that agent, or give this one a data_dir of its own"},
		{"another fault", "", errors.New("odd"), "open the data in " + dir},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("STATE_DIRECTORY", tt.state)
			err := openError(dir, fmt.Errorf("open: %w", tt.err))
			if !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
			if errors.Is(err, store.ErrNoPlace) {
				t.Errorf("a folder with a file in it is taken for a missing mount: %v", err)
			}
		})
	}
}

func TestAnEmptyFolderOfRootIsABareMountPoint(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root makes folders of root")
	}
	for name, tt := range map[string]struct {
		make func(dir string) error
		bare bool
	}{
		"empty, of root":   {func(string) error { return nil }, true},
		"with a file":      {func(dir string) error { return os.WriteFile(filepath.Join(dir, "file"), nil, 0o600) }, false},
		"of another user":  {func(dir string) error { return os.Chown(dir, 1000, 1000) }, false},
		"it is not there":  {os.Remove, false},
		"a file of nobody": {func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)) }, false},
	} {
		dir := filepath.Join(t.TempDir(), "data")
		if err := errors.Join(os.Mkdir(dir, 0o755), tt.make(dir)); err != nil {
			t.Fatal(err)
		}
		if got := isBareMountPoint(dir); got != tt.bare {
			t.Errorf("%s: %v", name, got)
		}
		if err := openError(dir, fs.ErrPermission); errors.Is(err, store.ErrNoPlace) != tt.bare {
			t.Errorf("%s: %v", name, err)
		}
	}
}

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
