// Package testdir puts the temporary folders of tests in memory. Most tests are not about the disk, and each of their
// commits would wait for it: on a busy disk that is most of their time. Tests of the files themselves, benchmarks,
// and the long form of the tests that kill agents stay on the disk.
package testdir

import (
	"os"
	"slices"
	"strings"
	"syscall"
)

const (
	memory = "/dev/shm"
	needed = 1 << 30 // the store refuses events where little is free, and two packages are tested at a time

	mayWrite = 0x2 // W_OK of access(2)
	noExec   = 0x8 // ST_NOEXEC of statvfs(3)
)

// InMemory has this process and its children make their temporary folders in memory. It does nothing if the
// environment names a TMPDIR, if benchmarks are to run, or if the machine has no memory to spare at /dev/shm for files
// and programs. TestMain calls it before the first test.
func InMemory() {
	benchmarks := slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.bench=") })
	if os.Getenv("TMPDIR") != "" || benchmarks || !fit(memory) {
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
