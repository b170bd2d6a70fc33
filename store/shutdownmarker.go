package store

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

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/wire"
)

// A watch remembers across processes how the last one ended, in the file "running" beside the data.
// Reading everything takes as long as the disk takes for the size of the files, so it is done only
// when there is a reason: kill -9 cannot tear a page, power loss and failing disks can. After a clean
// stop nothing is read.
type shutdownMarker struct {
	path string
	boot string // of this machine's run; empty where the kernel does not say

	mu   sync.Mutex
	file *os.File // kept open: what its name leads to later may be of another store; nil until written to
	last lastRun  // as it was found
	now  lastRun
}

// lastRun is the file's content. It fits into one sector, so it is never half written.
type lastRun struct {
	Boot    string `json:"boot"`
	Phase   string `json:"phase"`
	Unclean int    `json:"unclean"` // starts in a row, this one included, that no clean stop followed
	Trouble string `json:"trouble,omitempty"`
	Changed int64  `json:"state_changed,omitempty"` // when state.db was last changed, after a clean stop: see arrive
}

const (
	runFile  = "running"
	bootFile = "/proc/sys/kernel/random/boot_id"

	phaseOpening = "opening"
	phaseRunning = "running"
	phaseStopped = "stopped"

	runFileSize = 512

	// uncleanTolerated is how many unclean stops in a row within one run of the machine are put down
	// to kill -9. A damaged page that is only met at work would end the process each time.
	uncleanTolerated = 3
)

// openShutdownMarker reads what the last process left. A missing file is no error, and a reason to check.
func openShutdownMarker(dir string) (*shutdownMarker, error) {
	boot, _ := os.ReadFile(bootFile) // without it every unclean stop is one of the machine
	w := &shutdownMarker{path: filepath.Join(dir, runFile), boot: strings.TrimSpace(string(boot))}
	text, err := os.ReadFile(w.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read how the last run ended: %w", err)
	}
	if json.Unmarshal(text, &w.last) != nil {
		w.last = lastRun{}
	}
	return w, nil
}

// recheckReason says why the files must be read before they are trusted; empty when they need not be.
func (w *shutdownMarker) recheckReason() string {
	l := &w.last
	switch {
	case l.Trouble != "":
		return "the last run met damage or an error of the disk: " + l.Trouble
	case l.Phase == phaseStopped:
		return ""
	case l.Phase == "":
		return "it is not known how the last run ended"
	case l.Boot == "" || l.Boot != w.boot:
		return "the machine went down while the agent ran"
	case l.Phase == phaseOpening:
		return "the last start ended while it opened the files"
	case l.Unclean >= uncleanTolerated:
		return fmt.Sprintf("the agent ended %d times in a row without stopping", l.Unclean)
	}
	return ""
}

// begin says that a start is under way. It is on disk when begin returns: a machine that goes down
// later must not look like a clean stop.
func (w *shutdownMarker) begin(checked bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = lastRun{Boot: w.boot, Phase: phaseOpening, Unclean: 1}
	if w.last.Phase != phaseStopped && !checked {
		w.now.Unclean += w.last.Unclean
	}
	return w.write(w.now, true)
}

// opened says that the start came to an end. Only a crash of this process makes a difference, so the
// page cache will do.
func (w *shutdownMarker) opened() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Phase = phaseRunning
	return w.write(w.now, false)
}

// ended says that everything is closed, and how it left the state.
func (w *shutdownMarker) ended() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Phase, w.now.Unclean = phaseStopped, 0
	w.now.Changed = changedAt(filepath.Join(filepath.Dir(w.path), stateFile))
	return errors.Join(w.write(w.now, true), w.close())
}

func (w *shutdownMarker) close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// giveUp puts back what was found: a start that was refused says nothing about the files.
func (w *shutdownMarker) giveUp() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == (lastRun{}) {
		if err := os.Remove(w.path); !errors.Is(err, os.ErrNotExist) { // a full disk may have refused it its name
			return errors.Join(err, w.close())
		}
		return w.close()
	}
	return errors.Join(w.write(w.last, true), w.close())
}

// note records an error, if it is one that speaks of damage. The first is kept.
func (w *shutdownMarker) note(err error) {
	if !isIOError(err) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now.Trouble == "" {
		w.now.Trouble = firstBytes(err.Error(), 256)
		_ = w.write(w.now, true) // the disk is failing: this is a try
	}
}

func (w *shutdownMarker) write(l lastRun, sync bool) error {
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

func firstBytes(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

// isIOError reports whether err speaks of the disk's health or of damage. A full disk does not.
func isIOError(err error) bool {
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

// update is one write transaction on state.db. What bbolt does about a damaged page, which is to
// panic, ends the writer and not the process: see Broken.
func (s *Store) update(f func(tx *bolt.Tx) error) error {
	err := boltfile.Guard(func() error { return s.db.Update(f) })
	s.note(err)
	return err
}

// note remembers an error that speaks of damage for the next start, and tells whoever watches.
func (s *Store) note(err error) {
	if err == nil || !isIOError(err) {
		return
	}
	s.marker.note(err)
	if errors.Is(err, wire.ErrDamaged) {
		s.brokenOnce.Do(func() {
			s.log.Error("the files are damaged; start the agent again: it then saves what can be saved", "err", err, "stack", boltfile.Stack(err))
			close(s.broken)
		})
	}
}

// noteRead remembers damage that a reader met for the next start, and says so once. The writer goes on: it
// may never come to that place.
func (s *Store) noteRead(err error) {
	s.marker.note(err)
	s.unreadable.Do(func() {
		s.log.Error("what is asked for is damaged; start the agent again, which then reads the files and saves what can be saved", "err", err, "stack", boltfile.Stack(err))
	})
}

// Broken is closed when damage was met at work. The store answers errors from then on; the next Open
// checks the files and salvages them.
func (s *Store) Broken() <-chan struct{} { return s.broken }

// closeState closes the state. A file that panicked may hold its own lock for ever.
func (s *Store) closeState() error {
	if s.isBroken() {
		go s.db.Close()
		return nil
	}
	return s.db.Close()
}

func (s *Store) isBroken() bool {
	select {
	case <-s.broken:
		return true
	default:
		return false
	}
}
