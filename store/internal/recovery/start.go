package recovery

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/repair"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// Start is one start on a data directory that is locked. It belongs to one goroutine.
type Start struct {
	Marker  *datadir.ShutdownMarker
	Written time.Time // when the files were last written to; zero if there were none
	Checked bool      // all files were read, and the damaged ones salvaged

	dir  string
	log  *slog.Logger
	left bool // the state is as the last run left it

	checkInChild func(ctx context.Context, dir string) (*repair.CheckReport, error) // nil: checks run in this process
}

// Begin removes what a crash left half done, and reads how the last run ended.
func Begin(dir string, log *slog.Logger, checkInChild func(ctx context.Context, dir string) (*repair.CheckReport, error)) (*Start, error) {
	s := &Start{dir: dir, log: log, checkInChild: checkInChild, Written: lastWritten(dir)}
	s.removeLeftovers()
	_, strays, err := wal.Files(dir)
	if err != nil {
		return nil, err
	}
	if len(strays) > 0 {
		log.Warn("these are called like files of the inbox and are none: they are left alone; move them away when they are not needed", "files", strays)
	}
	if s.Marker, err = datadir.OpenShutdownMarker(dir); err != nil {
		return nil, err
	}
	s.left = s.asLeft()
	return s, nil
}

// Run checks and salvages the files where there is a reason to doubt them, and then calls open, which opens them. open
// is called a second time when the first stumbles over damage. Where Run ends with an error the marker is closed, and
// says what the next start is to do.
func (s *Start) Run(ctx context.Context, open func() error) (err error) {
	why := s.Marker.RecheckReason()
	if err := s.Marker.Begin(why != ""); err != nil { // as on a full disk: the next start reads the files
		s.log.Warn("how this run ends could not be noted", "err", err)
	}
	if err := s.awaitReaders(ctx); err != nil {
		return errors.Join(err, s.Marker.GiveUp())
	}
	defer func() {
		switch {
		case looksDamaged(err): // the next start reads the files: bbolt may keep hold of one that it stumbled over
			s.Marker.Note(fmt.Errorf("%w: %w", wire.ErrDamaged, err))
			_ = s.Marker.Close()
		case err != nil:
			err = errors.Join(err, s.Marker.GiveUp())
		}
	}()
	if why, err = s.prepare(ctx, why); err != nil {
		return err
	}
	err = boltfile.Guard(open)
	if looksDamaged(err) && why == "" {
		if err := s.inspect(ctx, err.Error()); err != nil {
			return err
		}
		err = boltfile.Guard(open)
	}
	if err != nil {
		return err
	}
	if err := s.Marker.Opened(); err != nil {
		s.log.Warn("how this run ends could not be noted", "err", err)
	}
	return nil
}

// prepare rolls back, sets aside and salvages until the files can be opened. It returns why they were read, "" if they
// were not.
func (s *Start) prepare(ctx context.Context, why string) (string, error) {
	if why != "" {
		if err := s.rollBackUnfinished(); err != nil {
			return why, err
		}
	}
	misfiled, err := s.setCopiesAside()
	if looksDamaged(err) { // a copy that was made while the agent wrote, perhaps: it is salvaged before it is compared
		if err := s.inspect(ctx, err.Error()); err != nil {
			return why, err
		}
		misfiled, err = s.setCopiesAside()
	}
	if err != nil {
		return why, err
	}
	why = cmp.Or(why, misfiled)
	return why, s.inspect(ctx, why)
}

const (
	// readerPatience is how long a start waits for other processes that read the files. `db backup` of a stopped agent
	// reads them from its first byte to its last; a command that lists holds them for moments.
	readerPatience = time.Hour
	readerNoted    = 2 * time.Second // before that, nothing is said
	readerNotedAt  = 30 * time.Second
)

// awaitReaders waits until no other process reads the files. No other agent does, because the directory is locked.
func (s *Start) awaitReaders(ctx context.Context) error {
	paths, err := repair.DataFiles(s.dir)
	if err != nil {
		return fmt.Errorf("look for the files: %w", err)
	}
	next := readerNoted
	for _, path := range paths {
		unlock, err := boltfile.Lock(ctx, path, syscall.LOCK_EX, readerPatience, func(since time.Duration) {
			if since > next {
				next += readerNotedAt
				s.log.Warn("another process reads the files, a backup perhaps: the start waits for it", "file", filepath.Base(path), "for", since.Round(time.Second).String())
			}
		})
		if err != nil {
			return err
		}
		unlock()
	}
	return nil
}

// rollBackUnfinished rolls back the last commit to the inbox where a power cut tore it.
func (s *Start) rollBackUnfinished() error {
	_, applied := s.stateMeta()
	taken, err := wal.RollBackUnfinished(s.dir, applied)
	for _, file := range taken {
		s.log.Warn("the last commit to the inbox did not reach the disk whole and was taken back; no sender had an answer to it yet", "file", file)
	}
	return datadir.Translate(err)
}

// asLeft reports whether the state is as the last run left it. A file that was copied over it later is not, even with
// its times. After a kill that is not known, and so false.
func (s *Start) asLeft() bool {
	last := s.Marker.Last
	return last.Phase == datadir.PhaseStopped && last.Changed != 0 && last.Changed == datadir.ChangedAt(filepath.Join(s.dir, datadir.StateFile))
}

// Arrival compares where the state is with home, where it last ran, and how it is with how that run left it. It is nil
// when both are the same. A state of a version that did not note its home is where it was. next is the number of the
// next record. sameEpoch has the change ids go on in their epoch: the files are those of a restore, which moves the
// numbers on.
func (s *Start) Arrival(home []byte, next uint64, sameEpoch bool) *state.Arrival {
	here := datadir.HomeOf(filepath.Join(s.dir, datadir.StateFile))
	if bytes.Equal(here, home) && s.left {
		return nil
	}
	a := &state.Arrival{Home: here, First: next}
	if len(home) > 0 && !sameEpoch {
		a.Epoch = rand.Uint32() | 1
		s.log.Info("the files may be a copy, or the last run was cut off: change ids made from now on bear another epoch", "epoch", fmt.Sprintf("%08x", a.Epoch),
			"first_record", a.First)
	}
	return a
}

func lastWritten(dir string) (last time.Time) {
	paths, err := repair.DataFiles(dir)
	if err != nil {
		return last // the next read of them says why
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last
}
