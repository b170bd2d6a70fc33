package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
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

// TestADataFolderThatWasMovedIsNotCalledANewOne: while the agent answered 503 because its folder was moved,
// `status` said that no agent had run there, the doctor was green and said to start one, and that one made an
// empty folder where the other's was to come back. The way to `db backup` was not said.
func TestADataFolderThatWasMovedIsNotCalledANewOne(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	data := filepath.Join(s.dir, "data")
	socket := "PERSONASYNC_ADMIN_SOCKET=" + filepath.Join(data, "s")
	a := s.start(s.load(socket), RunOptions{})
	c := s.load(socket, "PERSONASYNC_ADMIN_LISTEN="+a.Admin.String())
	moved := data + "-moved"
	if err := os.Rename(data, moved); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "an agent that noticed", func() bool {
		r, err := http.Get("http://" + a.Admin.String() + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusServiceUnavailable
	})
	for what, ask := range map[string]func() error{
		"an inspection": func() error { _, _, _, err := Open(t.Context(), c, "1.0"); return err },
		"an order":      func() error { _, err := DialAgent(t.Context(), c, "1.0"); return err },
		"a change":      func() error { _, _, _, err := OpenData(t.Context(), c, "1.0"); return err },
		"a restore": func() error { // which put an older state where the open files were to come back
			_, err := Restore(t.Context(), c, filepath.Join(s.dir, "backup.tar"), "1.0", nil)
			return err
		},
		"a second run": func() error { return Run(t.Context(), c, RunOptions{Log: slog.New(slog.DiscardHandler)}) },
	} {
		err := ask()
		if !errors.Is(err, ErrElsewhere) || !strings.Contains(err.Error(), "`install -d -m 700 -o ") || !strings.Contains(err.Error(), "personasync db backup FILE") {
			t.Errorf("%s ended with %v", what, err)
		}
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("the second run made a folder of its own")
	}
	if found := Diagnose(context.Background(), c, nil, "1.0"); Healthy(found) || strings.Contains(saidBy(found, "agent", "fail"), "never run") {
		t.Errorf("the doctor found %+v", found)
	}
	if err := os.Rename(moved, data); err != nil {
		t.Fatal(err)
	}
}
