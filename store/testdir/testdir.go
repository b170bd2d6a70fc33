// Package testdir has tests use memory where it spares time, first of all for their temporary folders. Most tests are not about the disk, and each of their
// commits would wait for it: on a busy disk that is most of their time. Tests of the files themselves, benchmarks,
// and the long form of the tests that kill agents stay on the disk.
package testdir

import (
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
)

const (
	memory = "/dev/shm"
	needed = 1 << 30 // the store refuses events where little is free, and two packages are tested at a time

	// garbage is a percentage as in GOGC. A test's heap is small, so that at 100 its garbage is collected all the time:
	// a seventh of the processor's time in the tests of the store and of sync.
	garbage = 400

	mayWrite = 0x2 // W_OK of access(2)
	noExec   = 0x8 // ST_NOEXEC of statvfs(3)
)

// InMemory has this process and its children make their temporary folders in memory. It does nothing if the
// environment names a TMPDIR, if benchmarks are to run, or if the machine has no memory to spare at /dev/shm for files
// and programs. Its garbage is collected more seldom, unless the environment names a GOGC or benchmarks are to run.
// TestMain calls it before the first test.
func InMemory() {
	if slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.bench=") }) {
		return
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	if os.Getenv("TMPDIR") != "" || !fit(memory) {
		return
	}
	os.Setenv("TMPDIR", memory)
}

// fit reports whether dir takes the files of tests, and the programs that some start.
func fit(dir string) bool {
	var fs syscall.Statfs_t
	return syscall.Access(dir, mayWrite) == nil && syscall.Statfs(dir, &fs) == nil &&
		int64(fs.Bavail)*int64(fs.Bsize) >= needed && fs.Flags&noExec == 0
}
