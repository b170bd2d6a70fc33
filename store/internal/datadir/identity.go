package datadir

import (
	"encoding/binary"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// HomeOf says where the file at path is: the run of the machine, its inode, and when that was made. The last is
// there because a file system gives the number of a removed file to the next one; where it keeps no such time,
// it is zero.
func HomeOf(path string) []byte {
	boot, _ := os.ReadFile(BootFile)
	home := []byte(strings.TrimSpace(string(boot)))
	var at unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_BTIME, &at) != nil {
		return home
	}
	home = binary.BigEndian.AppendUint64(home, at.Ino)
	return binary.BigEndian.AppendUint64(home, uint64(at.Btime.Sec)*uint64(time.Second)+uint64(at.Btime.Nsec))
}

// ChangedAt is when the file at path was last written, or got another name or owner: a time that nobody can set.
// It is 0 where it cannot be told.
func ChangedAt(path string) int64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ctim.Nano()
}
