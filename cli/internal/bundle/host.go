package bundle

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/store"
)

// Host is host.json. It has no name of the host.
type Host struct {
	OS        string            `json:"os"`
	Kernel    string            `json:"kernel"`
	Arch      string            `json:"arch"`
	CPUs      int               `json:"cpus"`
	Memory    map[string]string `json:"memory"` // of /proc/meminfo
	Load      string            `json:"load"`
	Now       time.Time         `json:"now"`
	Zone      string            `json:"zone"`
	UID       int               `json:"uid"` // of the user who made the archive
	Container string            `json:"container,omitempty"`

	FileSystems []FileSystem `json:"file_systems"`
	Process     *Process     `json:"process"` // the agent; null if it does not run
	Files       []File       `json:"files"`   // of data_dir
}

// FileSystem is one that the agent writes to.
type FileSystem struct {
	For    string `json:"for"`
	Path   string `json:"path"`
	Kind   string `json:"kind"`
	Bytes  uint64 `json:"bytes"`
	Free   uint64 `json:"free"` // for this user
	Inodes uint64 `json:"inodes"`
	Left   uint64 `json:"inodes_free"`
	Error  string `json:"error,omitempty"`
}

// Process is the running agent as the kernel sees it.
type Process struct {
	PID    int               `json:"pid"`
	Status map[string]string `json:"status"` // lines of /proc/PID/status
	Limits map[string]string `json:"limits"` // soft and hard, of /proc/PID/limits
	Files  int               `json:"open_files"`
}

// File is a file of the data directory. A name that is not ours is left out.
type File struct {
	Name  string    `json:"name"`
	Bytes int64     `json:"bytes"`
	Mode  string    `json:"mode"`
	At    time.Time `json:"modified"`
}

// host describes this machine and the agent of c on it.
func host(c *config.Config) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		h := Host{
			OS: release(), Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Now: time.Now().UTC(), Zone: time.Now().Location().String(), UID: os.Geteuid(),
			Memory: colons("/proc/meminfo", "MemTotal", "MemAvailable", "SwapTotal", "SwapFree", "Dirty"), Load: firstLine("/proc/loadavg"),
			Container: os.Getenv("container"),
		}
		var u unix.Utsname
		if unix.Uname(&u) == nil {
			h.Kernel = unix.ByteSliceToString(u.Release[:])
		}
		h.FileSystems = append(h.FileSystems, fileSystem("data_dir", c.DataDir))
		if c.Backup.Dir != "" {
			h.FileSystems = append(h.FileSystems, fileSystem("backup.dir", c.Backup.Dir))
		}
		if pid := agentPID(ctx, c); pid != 0 {
			h.Process = process(pid)
		}
		var err error
		h.Files, err = files(c.DataDir)
		text, failed := marshal(h)
		return text, errors.Join(err, failed)
	}
}

// agentPID returns the process of the agent, 0 without one. One on PostgreSQL locks no folder.
func agentPID(ctx context.Context, c *config.Config) int {
	if by, held := store.Holder(c.DataDir); held && by.IsAgent() {
		return by.PID
	}
	if c.Store.OnPostgres() {
		return api.ProcessAt(ctx, c.Socket(os.Getenv))
	}
	return 0
}

// kinds are the file systems by their magic number, as far as an answer may depend on them.
var kinds = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs", unix.NFS_SUPER_MAGIC: "nfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.FUSE_SUPER_MAGIC: "fuse", 0x2fc12fc1: "zfs", unix.SMB2_SUPER_MAGIC: "smb", unix.CIFS_SUPER_MAGIC: "cifs", unix.F2FS_SUPER_MAGIC: "f2fs",
}

func fileSystem(what, path string) FileSystem {
	f := FileSystem{For: what, Path: path}
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		f.Error = err.Error()
		return f
	}
	if f.Kind = kinds[int64(s.Type)]; f.Kind == "" {
		f.Kind = fmt.Sprintf("0x%x", s.Type)
	}
	block := uint64(s.Bsize)
	f.Bytes, f.Free, f.Inodes, f.Left = s.Blocks*block, s.Bavail*block, s.Files, s.Ffree
	return f
}

func process(pid int) *Process {
	dir := fmt.Sprintf("/proc/%d/", pid)
	p := &Process{PID: pid, Status: colons(dir+"status", "State", "VmPeak", "VmRSS", "RssAnon", "Threads", "NoNewPrivs", "Seccomp"), Limits: map[string]string{}}
	text, _ := os.ReadFile(dir + "limits") // without the right to it there are none
	for line := range strings.Lines(string(text)) {
		if len(line) > 66 && !strings.HasPrefix(line, "Limit ") {
			p.Limits[strings.TrimSpace(line[:26])] = strings.Join(strings.Fields(line[26:66]), " ")
		}
	}
	open, _ := os.ReadDir(dir + "fd")
	p.Files = len(open)
	return p
}

func files(dir string) (list []File, err error) {
	list = []File{}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return list, nil
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // it is gone
		}
		name := e.Name()
		if store.OwnName(filepath.Join("/", name)) == "" {
			name = gap
		}
		list = append(list, File{name, info.Size(), info.Mode().String(), info.ModTime().UTC()})
	}
	return list, err
}

// colons reads lines NAME: VALUE of a file.
func colons(path string, names ...string) map[string]string {
	values := map[string]string{}
	f, err := os.Open(path)
	if err != nil {
		return values
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		for _, want := range names {
			if name == want {
				values[name] = strings.Join(strings.Fields(value), " ")
			}
		}
	}
	return values
}

func firstLine(path string) string {
	text, _ := os.ReadFile(path)
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func release() string {
	f, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return runtime.GOOS
	}
	for line := range strings.Lines(string(f)) {
		if name, found := strings.CutPrefix(line, "PRETTY_NAME="); found {
			return strings.Trim(strings.TrimSpace(name), `"`)
		}
	}
	return runtime.GOOS
}
