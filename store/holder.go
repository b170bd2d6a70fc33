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
	if !ok {
		return 0, false
	}
	for range looks {
		locks, whole := readLocks()
		if lists(locks, pid, sys.Ino) {
			return pid, true
		}
		if whole {
			break
		}
	}
	return 0, false
}

// looks is how often a list that came in pieces is read for a lock before that counts as free.
const looks = 10

// readLocks reads the list of locks. A piece of it is at most a page, as much as the kernel hands out at
// once; between two pieces it goes on by number: once a lock before them is released, one is passed over.
// whole reports that the list came in one piece, and so that nothing was.
func readLocks() (list []byte, whole bool) {
	file, err := os.Open(locksFile)
	if err != nil {
		return nil, true
	}
	defer file.Close()
	piece := make([]byte, os.Getpagesize())
	for pieces := 0; ; pieces++ {
		n, err := file.Read(piece)
		if n == 0 || err != nil {
			return list, pieces <= 1
		}
		list = append(list, piece[:n]...)
	}
}

// lists reports whether pid has the lock on the file with that inode.
func lists(locks []byte, pid int, inode uint64) bool {
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK  ADVISORY  WRITE 4931 08:01:131090 0 EOF
		//
		// The device is not that of stat on every file system; process and inode are enough.
		f := strings.Fields(line)
		if len(f) > 5 && f[1] == "FLOCK" && f[3] == "WRITE" && f[4] == strconv.Itoa(pid) && strings.HasSuffix(f[5], fmt.Sprintf(":%d", inode)) {
			return true
		}
	}
	return false
}
