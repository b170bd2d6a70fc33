package datadir

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
)

// LockDir takes the directory for this process and says in the lock file what that is for: command is
// what a person would type, "" for the agent. The kernel drops the lock with the process, so a crash
// leaves nothing to clean up.
func LockDir(dir, command string) (*os.File, error) {
	for _, name := range []string{LockFile, RunFile, StateFile} {
		if err := boltfile.CheckRegular(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, LockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		text := make([]byte, maxLockText)
		n, _ := f.ReadAt(text, 0)
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &InUseError{dir, readHolding(text[:n])}
		}
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	// The lock is the kernel's, the text is for people: a full disk takes only the text away. It is
	// written over the old one, which needs no room.
	text := Holding{os.Getpid(), command}.lockText()
	if err := Translate(errors.Join(writeAt(f, text), f.Truncate(int64(len(text))))); err != nil && !errors.Is(err, domain.ErrFull) {
		_ = boltfile.Unlock(f)
		return nil, fmt.Errorf("write the lock file: %w", err)
	}
	return f, nil
}

// Holding is the process that has the lock of a data directory.
type Holding struct {
	PID     int    // 0: it did not say
	Command string // such as "user forget"; "" for an agent
}

// IsAgent reports whether an agent has the directory, which keeps it for as long as it runs. A command
// has it for as long as its work takes.
func (h Holding) IsAgent() bool { return h.PID != 0 && h.Command == "" }

// String names the process and its command.
func (h Holding) String() string {
	switch {
	case h.PID == 0:
		return "another process"
	case h.Command == "":
		return fmt.Sprintf("process %d", h.PID)
	}
	return fmt.Sprintf("process %d (`%s`)", h.PID, "personasync "+h.Command)
}

// maxLockText is more than any lock file has.
const maxLockText = 256

// lockText is a lock file: the process id, and of a command its words on a second line. Versions that
// knew only the first line wrote it without an end.
func (h Holding) lockText() []byte {
	if h.Command == "" {
		return fmt.Appendf(nil, "%d", h.PID)
	}
	return fmt.Appendf(nil, "%d\n%s\n", h.PID, h.Command)
}

// readHolding reads a lock file. A text that it does not understand names no process.
func readHolding(text []byte) (h Holding) {
	first, rest, _ := bytes.Cut(text, []byte("\n"))
	pid, err := strconv.Atoi(string(bytes.TrimSpace(first)))
	if err != nil {
		return h
	}
	return Holding{pid, string(bytes.TrimSpace(rest))}
}

// InUseError says which process has a data directory. It is ErrInUse.
type InUseError struct {
	Dir string
	Holding
}

// Error implements error.
func (e *InUseError) Error() string {
	return fmt.Sprintf("%v: %s is held by %v", boltfile.ErrInUse, e.Dir, e.Holding)
}

// Unwrap makes it ErrInUse.
func (e *InUseError) Unwrap() error { return boltfile.ErrInUse }

// locksFile is where Linux lists the locks of all processes.
const locksFile = "/proc/locks"

// Holder returns the process that holds dir, which an agent does from the first moment of its start.
// It asks the kernel: trying the lock would turn away an agent that starts at that moment. held is
// false, too, where the kernel does not say.
func Holder(dir string) (h Holding, held bool) {
	path := filepath.Join(dir, LockFile)
	if boltfile.CheckRegular(path) != nil {
		return h, false
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return h, false
	}
	if h = readHolding(text); h.PID == 0 {
		return h, false
	}
	info, err := os.Stat(path)
	if err != nil {
		return h, false
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return h, false
	}
	for i := range looks {
		if i%looksAtOnce == looksAtOnce-1 {
			time.Sleep(time.Millisecond) // whoever comes and goes in between may do so at the same pace
		}
		locks, whole := readLocks()
		if lists(locks, h.PID, sys.Ino) {
			return h, true
		}
		if whole {
			break
		}
	}
	return Holding{}, false
}

// looks is how often a list that came in pieces is read for a lock before that counts as free. On a busy host every second look
// passes over one.
const looks = 40

// looksAtOnce is after how many of them there is a pause.
const looksAtOnce = 8

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
