package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// locksFile is where Linux lists the locks of all processes.
const locksFile = "/proc/locks"

// Holder returns the process that holds dir, which an agent does from the first moment of its start.
// It asks the kernel: trying the lock would turn away an agent that starts at that moment. held is
// false, too, where the kernel does not say.
func Holder(dir string) (pid int, held bool) {
	path := filepath.Join(dir, lockFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	if pid, err = strconv.Atoi(string(bytes.TrimSpace(text))); err != nil {
		return 0, false
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	locks, err := os.ReadFile(locksFile)
	if !ok || err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK  ADVISORY  WRITE 4931 08:01:131090 0 EOF
		//
		// The device is not that of stat on every file system; process and inode are enough.
		f := strings.Fields(line)
		if len(f) > 5 && f[1] == "FLOCK" && f[3] == "WRITE" && f[4] == strconv.Itoa(pid) && strings.HasSuffix(f[5], fmt.Sprintf(":%d", sys.Ino)) {
			return pid, true
		}
	}
	return 0, false
}
