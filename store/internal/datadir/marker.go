package datadir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"personasync/store/internal/wire"
)

// A watch remembers across processes how the last one ended, in the file "running" beside the data.
// Reading everything takes as long as the disk takes for the size of the files, so it is done only
// when there is a reason: kill -9 cannot tear a page, power loss and failing disks can. After a clean
// stop nothing is read.
type ShutdownMarker struct {
	path string
	Boot string // of this machine's run; empty where the kernel does not say

	mu   sync.Mutex
	file *os.File // kept open: what its name leads to later may be of another store; nil until written to
	Last LastRun  // as it was found
	now  LastRun
}

// LastRun is the file's content. It fits into one sector, so it is never half written.
type LastRun struct {
	Boot    string `json:"boot"`
	Phase   string `json:"phase"`
	Unclean int    `json:"unclean"` // starts in a row, this one included, that no clean stop followed
	Trouble string `json:"trouble,omitempty"`
	Changed int64  `json:"state_changed,omitempty"` // when state.db was last changed, after a clean stop: see arrive
}

const (
	RunFile  = "running"
	BootFile = "/proc/sys/kernel/random/boot_id"

	PhaseOpening = "opening"
	PhaseRunning = "running"
	PhaseStopped = "stopped"

	runFileSize = 512

	// UncleanTolerated is how many unclean stops in a row within one run of the machine are put down
	// to kill -9. A damaged page that is only met at work would end the process each time.
	UncleanTolerated = 3
)

// OpenShutdownMarker reads what the last process left. A missing file is no error, and a reason to check.
func OpenShutdownMarker(dir string) (*ShutdownMarker, error) {
	boot, _ := os.ReadFile(BootFile) // without it every unclean stop is one of the machine
	w := &ShutdownMarker{path: filepath.Join(dir, RunFile), Boot: strings.TrimSpace(string(boot))}
	text, err := os.ReadFile(w.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read how the last run ended: %w", err)
	}
	if json.Unmarshal(text, &w.Last) != nil {
		w.Last = LastRun{}
	}
	return w, nil
}

// RecheckReason says why the files must be read before they are trusted; empty when they need not be.
func (w *ShutdownMarker) RecheckReason() string {
	l := &w.Last
	switch {
	case l.Trouble != "":
		return "the last run met damage or an error of the disk: " + l.Trouble
	case l.Phase == PhaseStopped:
		return ""
	case l.Phase == "":
		return "it is not known how the last run ended"
	case l.Boot == "" || l.Boot != w.Boot:
		return "the machine went down while the agent ran"
	case l.Phase == PhaseOpening:
		return "the last start ended while it opened the files"
	case l.Unclean >= UncleanTolerated:
		return fmt.Sprintf("the agent ended %d times in a row without stopping", l.Unclean)
	}
	return ""
}

// Begin says that a start is under way. It is on disk when begin returns: a machine that goes down
// later must not look like a clean stop.
func (w *ShutdownMarker) Begin(checked bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = LastRun{Boot: w.Boot, Phase: PhaseOpening, Unclean: 1}
	if w.Last.Phase != PhaseStopped && !checked {
		w.now.Unclean += w.Last.Unclean
	}
	return w.write(w.now, true)
}

// Opened says that the start came to an end. Only a crash of this process makes a difference, so the
// page cache will do.
func (w *ShutdownMarker) Opened() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Phase = PhaseRunning
	return w.write(w.now, false)
}

// Ended says that everything is closed, and how it left the state.
func (w *ShutdownMarker) Ended() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Phase, w.now.Unclean = PhaseStopped, 0
	w.now.Changed = ChangedAt(filepath.Join(filepath.Dir(w.path), StateFile))
	return errors.Join(w.write(w.now, true), w.Close())
}

func (w *ShutdownMarker) Close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// GiveUp puts back what was found: a start that was refused says nothing about the files.
func (w *ShutdownMarker) GiveUp() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.Last == (LastRun{}) {
		if err := os.Remove(w.path); !errors.Is(err, os.ErrNotExist) { // a full disk may have refused it its name
			return errors.Join(err, w.Close())
		}
		return w.Close()
	}
	return errors.Join(w.write(w.Last, true), w.Close())
}

// Note records an error, if it is one that speaks of damage. The first is kept.
func (w *ShutdownMarker) Note(err error) {
	if !IsIOError(err) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now.Trouble == "" {
		w.now.Trouble = FirstBytes(err.Error(), 256)
		_ = w.write(w.now, true) // the disk is failing: this is a try
	}
}

func (w *ShutdownMarker) write(l LastRun, sync bool) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if w.file == nil {
		if w.file, err = os.OpenFile(w.path, os.O_WRONLY|os.O_CREATE, 0o600); err != nil {
			w.file = nil
			return fmt.Errorf("remember that the agent runs: %w", err)
		}
	}
	padding := bytes.Repeat([]byte(" "), max(0, runFileSize-len(text)))
	if _, err := w.file.WriteAt(append(text, padding...), 0); err != nil {
		return fmt.Errorf("remember that the agent runs: %w", err)
	}
	if !sync {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("remember that the agent runs: %w", err)
	}
	return nil
}

func FirstBytes(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

// IsIOError reports whether err speaks of the disk's health or of damage. A full disk does not.
func IsIOError(err error) bool {
	if errors.Is(err, wire.ErrDamaged) {
		return true
	}
	for _, e := range []syscall.Errno{syscall.EIO, syscall.EUCLEAN, syscall.EBADMSG, syscall.ENXIO, syscall.EREMOTEIO, syscall.ESTALE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
