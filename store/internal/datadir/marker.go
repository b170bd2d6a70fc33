package datadir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"personasync/store/internal/wire"
)

// ShutdownMarker remembers how the last process ended, in the file "running" beside the data. Reading all files takes as
// long as the disk takes for their size, so it is done only for a reason: kill -9 cannot tear a page, power loss and failing
// disks can. After a clean stop nothing is read. Its methods may be called concurrently.
type ShutdownMarker struct {
	path string
	Boot string // id of the machine's boot; "" if the kernel does not say

	mu   sync.Mutex
	file *os.File // kept open, because its name may lead to the file of another store later; nil until written to
	Last LastRun  // as the last process left it
	now  LastRun
}

// LastRun is the content of the file. It fits into one sector, so it is never half written.
type LastRun struct {
	Boot    string `json:"boot"`
	Phase   string `json:"phase"`
	Unclean int    `json:"unclean"` // starts in a row, this one included, that no clean stop followed
	IOError string `json:"trouble,omitempty"`
	Changed int64  `json:"state_changed,omitempty"` // when state.db was last changed, after a clean stop: see recovery.Start.Arrival
	Records uint64 `json:"records,omitempty"`       // number of the last record in the inbox at a clean stop; 0: unknown
}

// The marker's file, and the phases of a run in it.
const (
	// RunFile is the file of the marker.
	RunFile = "running"

	// BootFile is where Linux says the id of the machine's boot.
	BootFile = "/proc/sys/kernel/random/boot_id"

	// PhaseOpening, PhaseRunning and PhaseStopped are the phases of a run.
	PhaseOpening = "opening"
	PhaseRunning = "running" // Opened was called
	PhaseStopped = "stopped" // Ended was called

	runFileSize = 512

	// UncleanTolerated is how many unclean stops in a row within one boot count as kill -9. A damaged page that a start does
	// not read would end the process each time.
	UncleanTolerated = 3
)

// OpenShutdownMarker reads how the last process ended. A missing file is no error, and a reason to check.
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
	case l.IOError != "":
		return "the last run met damage or an error of the disk: " + l.IOError
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

// Begin notes that a start is under way. The note is on disk when Begin returns: a machine that goes down later must not
// look like a clean stop.
func (w *ShutdownMarker) Begin(checked bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = LastRun{Boot: w.Boot, Phase: PhaseOpening, Unclean: 1}
	if w.Last.Phase != PhaseStopped && !checked {
		w.now.Unclean += w.Last.Unclean
	}
	return w.write(w.now, true)
}

// Opened notes that the start has ended. Only a crash of this process makes a difference, so the page cache is enough.
func (w *ShutdownMarker) Opened() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Phase = PhaseRunning
	return w.write(w.now, false)
}

// Ended notes that everything is closed, when the state was last changed, and the number of the last record.
func (w *ShutdownMarker) Ended(records uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Phase, w.now.Unclean, w.now.Records = PhaseStopped, 0, records
	w.now.Changed = ChangedAt(filepath.Join(filepath.Dir(w.path), StateFile))
	return errors.Join(w.write(w.now, true), w.Close())
}

// Close closes the file, and leaves its content.
func (w *ShutdownMarker) Close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// GiveUp writes back the content that was found: a start that was refused says nothing about the files.
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

// Note records err if IsIOError, as a reason for the next start to check the files. It keeps the first. A nil marker is that of no files.
func (w *ShutdownMarker) Note(err error) {
	if w == nil {
		return
	}
	if !IsIOError(err) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now.IOError == "" {
		w.now.IOError = FirstBytes(err.Error(), 256)
		_ = w.write(w.now, true) // it may fail, as the disk does
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

// FirstBytes cuts s to n bytes, at the end of a character.
func FirstBytes(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

// IsIOError reports whether err is an I/O error or damage. A full disk is neither.
func IsIOError(err error) bool {
	return slices.ContainsFunc([]error{wire.ErrDamaged, syscall.EIO, syscall.EUCLEAN, syscall.EBADMSG, syscall.ENXIO, syscall.EREMOTEIO, syscall.ESTALE},
		func(e error) bool { return errors.Is(err, e) })
}
