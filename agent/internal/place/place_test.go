package place

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"personasync/store"
)

func TestOwnDataDirectoryIsFine(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "not yet")} {
		if err := CheckOwner(dir); err != nil {
			t.Error(err)
		}
	}
	if os.Geteuid() != 0 {
		return // only root can be somebody else
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if err := CheckOwner(dir); !errors.Is(err, ErrForeignData) {
		t.Errorf("root takes over another user's data: %v", err)
	}
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := CheckOwner(dir); err == nil || !strings.Contains(err.Error(), "be its owner") {
		t.Errorf("of whom the unit does not see it says: %v", err)
	}
}

// TestAFolderOfRootThatMayBeWrittenIsFine: a volume of Kubernetes belongs to root and to a group of the
// agent's (fsGroup), and was refused.
func TestAFolderOfRootThatMayBeWrittenIsFine(t *testing.T) {
	const told = "PERSONASYNC_TEST_OWNER_OF"
	if dir := os.Getenv(told); dir != "" {
		fmt.Println("answer:", CheckOwner(dir))
		return
	}
	if os.Geteuid() != 0 {
		if err := CheckOwner(os.TempDir()); err != nil { // root's, and everybody may write there
			t.Error(err)
		}
		return
	}
	dir := t.TempDir()
	for above := dir; above != "/"; above = filepath.Dir(above) {
		if err := os.Chmod(above, 0o755); err != nil {
			t.Fatal(err)
		}
		if filepath.Dir(above) == filepath.Clean(os.TempDir()) {
			break
		}
	}
	const group = 23456
	for mode, want := range map[os.FileMode]string{0o770 | os.ModeSetgid: "answer: <nil>", 0o750: "may not be written by this user"} {
		if err := errors.Join(os.Chown(dir, 0, group), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		child := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
		child.Env, child.Dir = append(os.Environ(), told+"="+dir), "/"
		child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345, Groups: []uint32{group}}}
		out, err := child.CombinedOutput()
		if err != nil {
			t.Skipf("another user cannot run this test: %v: %s", err, out)
		}
		if !strings.Contains(string(out), want) {
			t.Errorf("mode %s: %s, want %s", mode, out, want)
		}
	}
}

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
			err := OpenError(dir, fmt.Errorf("open: %w", tt.err))
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
		if err := OpenError(dir, fs.ErrPermission); errors.Is(err, store.ErrNoPlace) != tt.bare {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhatDoesNotLastIsNamed: data in memory, or in the layer of a container, was lost without a word.
func TestWhatDoesNotLastIsNamed(t *testing.T) {
	for kind, want := range map[int64]string{
		unix.EXT4_SUPER_MAGIC: "", unix.XFS_SUPER_MAGIC: "", unix.BTRFS_SUPER_MAGIC: "", unix.NFS_SUPER_MAGIC: "",
		unix.TMPFS_MAGIC: "the next restart of the host", unix.RAMFS_MAGIC: "the next restart of the host",
		unix.OVERLAYFS_SUPER_MAGIC: "the layer of a container",
	} {
		if got := passing(kind, "/data"); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%x: %q, want %q", kind, got, want)
		}
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("NOT TESTED: a folder in memory. Mounting one takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if got := Passing(filepath.Join(dir, "not", "there", "yet")); !strings.HasPrefix(got, dir+" is in memory") {
		t.Errorf("in memory: %q", got)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Passing(filepath.Join(file, "data")); got != "" {
		t.Errorf("below a file: %q", got)
	}
}
