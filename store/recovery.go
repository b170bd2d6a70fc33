package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/record"
	"personasync/store/internal/repair"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// ErrUnsalvageable means that nothing of a damaged file can be saved. A restart does not help: an operator must decide.
var ErrUnsalvageable = boltfile.ErrUnsalvageable

// A start after an unclean stop reads the files before it trusts them: in a child process, because a
// damaged page can kill the reader past every recover. What is damaged is salvaged: kept aside, and
// made again from what can be read of it page by page. So the same damage never ends two starts: the
// file that did it is no longer in its place.
//
//	inbox first   a record that is lost gets a stand-in, so that it is counted when it is applied
//	state next    what it lost, the inbox may still have: it goes on at the position it can prove
//
// A position that is too low is harmless: records are applied again, and what is not newer than the
// memberships says nothing new (judge.go); only the sums of events count them twice, and are settled.

// open opens the files, salvaging first what is damaged.
func (s *Store) open(start context.Context) (err error) {
	s.removeLeftovers()
	if _, strays, err := wal.Files(s.dir); err != nil {
		return err
	} else if len(strays) > 0 {
		s.log.Warn("these are called like files of the inbox and are none: they are left alone; move them away when they are not needed", "files", strays)
	}
	if s.marker, err = datadir.OpenShutdownMarker(s.dir); err != nil {
		return err
	}
	s.left = s.asLeft()
	why := s.marker.RecheckReason()
	if err := s.marker.Begin(why != ""); err != nil { // as on a full disk: the next start reads the files
		s.log.Warn("how this run ends could not be noted", "err", err)
	}
	if err := s.awaitReaders(start); err != nil {
		return errors.Join(err, s.marker.GiveUp())
	}
	defer func() {
		switch {
		case looksDamaged(err): // the next start reads the files: bbolt may keep hold of one that it stumbled over
			s.marker.Note(fmt.Errorf("%w: %w", wire.ErrDamaged, err))
			_ = s.marker.Close()
		case err != nil:
			err = errors.Join(err, s.marker.GiveUp())
		}
	}()
	if why != "" {
		if err := s.takeBackUnfinished(); err != nil {
			return err
		}
	}
	misfiled, err := s.setCopiesAside()
	if looksDamaged(err) { // a copy that was made while the agent wrote, perhaps: it is salvaged before it is compared
		if err := s.inspect(start, err.Error()); err != nil {
			return err
		}
		misfiled, err = s.setCopiesAside()
	}
	if err != nil {
		return err
	}
	why = cmp.Or(why, misfiled)
	if err := s.inspect(start, why); err != nil {
		return err
	}
	err = boltfile.Guard(s.openFiles)
	if looksDamaged(err) && why == "" {
		if err := s.inspect(start, err.Error()); err != nil {
			return err
		}
		err = boltfile.Guard(s.openFiles)
	}
	if err != nil {
		return err
	}
	if err := s.marker.Opened(); err != nil {
		s.log.Warn("how this run ends could not be noted", "err", err)
	}
	return nil
}

const (
	// readerPatience is how long a start waits for those who read the files, as `db backup` of a stopped agent
	// does from its first byte to its last; a command that lists holds them for moments.
	readerPatience = time.Hour
	readerNoted    = 2 * time.Second // before that, nothing is said
	readerNotedAt  = 30 * time.Second
)

// awaitReaders waits until nobody reads the files. Another agent does not: the directory is locked.
func (s *Store) awaitReaders(start context.Context) error {
	paths, err := repair.DataFiles(s.dir)
	if err != nil {
		return fmt.Errorf("look for the files: %w", err)
	}
	next := readerNoted
	for _, path := range paths {
		unlock, err := boltfile.Lock(start, path, syscall.LOCK_EX, readerPatience, func(since time.Duration) {
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

func (s *Store) takeBackUnfinished() error {
	_, applied := s.stateKnows()
	taken, err := wal.RollBackUnfinished(s.dir, applied)
	for _, file := range taken {
		s.log.Warn("the last commit to the inbox did not reach the disk whole and was taken back; nobody had an answer to it yet", "file", file)
	}
	return datadir.Translate(err)
}

// looksDamaged reports whether err may be the work of a disk.
func looksDamaged(err error) bool {
	return datadir.IsIOError(err) || errors.Is(err, berrors.ErrInvalid) || errors.Is(err, berrors.ErrChecksum) || errors.Is(err, berrors.ErrVersionMismatch)
}

// inspect glances at every file, reads them all if there is a reason, and salvages what is damaged.
func (s *Store) inspect(start context.Context, why string) error {
	paths, err := repair.DataFiles(s.dir)
	if err != nil {
		return fmt.Errorf("look for the files: %w", err)
	}
	for _, path := range paths {
		if err := boltpage.Glance(path); err != nil && why == "" {
			why = err.Error()
		}
	}
	state := filepath.Join(s.dir, datadir.StateFile)
	if why == "" || len(paths) == 0 || paths[len(paths)-1] != state { // an inbox alone is refused later
		return nil
	}
	r, err := s.readAll(start, why)
	if err == nil {
		s.tellOfRecords(r)
	}
	if err != nil || len(r.DamagedFiles) == 0 {
		return err
	}
	var reports []*repair.Salvage
	for _, path := range paths { // the inbox first
		if !slices.Contains(r.DamagedFiles, filepath.Base(path)) {
			continue
		}
		s.log.Error("a file is damaged; saving what can be read of it", "file", filepath.Base(path), "faults", r.Faults, "first", faultsOf(r, path)[0])
		report, err := s.salvage(path, faultsOf(r, path))
		if err != nil {
			os.Remove(boltfile.NewPath(path))
			return fmt.Errorf("%s is damaged and was left as it is: %w", filepath.Base(path), datadir.Translate(err))
		}
		s.log.Error("a damaged file was salvaged; the damaged one is kept", "file", report.File, "kept_as", report.KeptAs, "whole", report.Whole(),
			"saved", report.Saved, "lost", report.Lost, "records_lost", report.RecordsLost, "unapplied", report.Unapplied,
			"unreadable_pages", report.Pages, "unreadable_entries", report.Entries, "relearned", report.Relearned,
			"ledger_lost", report.LedgerLost, "position_lost", report.PositionLost, "rules_lost", report.RulesLost, "edge_lost", report.EdgeLost)
		reports = append(reports, report)
	}
	return s.record(reports)
}

// tellOfRecords says which received records do not add up: what they changed is in the state if they
// were applied, else they are parked as they are when their turn comes.
func (s *Store) tellOfRecords(r *repair.CheckReport) {
	for _, f := range r.Findings {
		if f.Code == "record" {
			s.log.Error("a damaged record of the inbox stays as it is; it is parked if it was not applied yet", "found", f.Message)
		}
	}
}

const (
	// checkPatience and checkSpeed bound a check: a disk slower than that is not to be worked with.
	checkPatience = time.Minute
	checkSpeed    = 5 << 20 // bytes a second

	checkProgress = 10 * time.Second
)

// readAll checks the files, in a child where there is one to be had.
func (s *Store) readAll(start context.Context, why string) (r *repair.CheckReport, err error) {
	size := int64(0)
	paths, _ := repair.DataFiles(s.dir)
	for _, path := range paths {
		size += boltfile.Size(path)
	}
	s.log.Warn("reading all files before they are trusted", "why", why, "bytes", size, "in_child", s.checkInChild != nil)
	begun := time.Now()
	ctx, cancel := context.WithTimeout(start, checkPatience+time.Duration(size/checkSpeed)*time.Second)
	defer cancel()
	defer s.sayStill(begun)()
	if s.checkInChild != nil {
		r, err = s.checkInChild(ctx, s.dir)
		if err != nil && !refusal(err) && start.Err() == nil {
			s.log.Error("the process that was to check the files did not; they are read here, page by page", "err", err)
			died := errors.Is(err, repair.ErrReaderDied)
			if r, err = s.readPages(ctx); err == nil && r.OK() && died { // what ends a reader ends the agent, too
				r.File = datadir.StateFile
				r.Find("open", "%v", repair.ErrReaderDied)
			}
		}
	} else {
		r, err = repair.Check(ctx, s.dir, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("check the files: %w", err)
	}
	s.log.Info("files read", "bytes", size, "took", time.Since(begun).Round(time.Millisecond).String(), "faults", r.Faults, "damaged", r.DamagedFiles)
	return r, nil
}

// refusal reports whether a check ended with an answer that is no damage.
func refusal(err error) bool {
	return errors.Is(err, wire.ErrNewer) || errors.Is(err, ErrInUse) || errors.Is(err, datadir.ErrNoData) || errors.Is(err, datadir.ErrForeign) || errors.Is(err, os.ErrPermission)
}

// readPages is the part of a check that maps nothing.
func (s *Store) readPages(ctx context.Context) (*repair.CheckReport, error) {
	paths, err := repair.DataFiles(s.dir)
	c := repair.NewChecker(ctx, &repair.CheckReport{Pages: true}, nil)
	for _, path := range paths {
		if c.R.File = filepath.Base(path); err == nil {
			_, err = c.Pages(path)
		}
	}
	return c.R, err
}

// sayStill says now and then that reading goes on, until it is told that it has ended.
func (s *Store) sayStill(begun time.Time) (end func()) {
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(checkProgress)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.log.Info("still reading the files", "for", time.Since(begun).Round(time.Second).String())
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-gone }
}

// faultsOf lists what was found about a file; there is always something to say.
func faultsOf(r *repair.CheckReport, path string) (list []string) {
	for _, f := range r.Findings {
		if f.File == filepath.Base(path) {
			list = append(list, f.Message)
		}
	}
	if len(list) == 0 {
		list = []string{"among faults beyond the first " + fmt.Sprint(repair.MaxFindings)}
	}
	return list
}

// salvage saves what is left of one file.
func (s *Store) salvage(path string, faults []string) (report *repair.Salvage, err error) {
	err = boltfile.Guard(func() error {
		if filepath.Base(path) != datadir.StateFile {
			epoch, applied := s.stateKnows()
			report, err = repair.Segment(path, epoch, applied, faults)
			return err
		}
		inbox, err := wal.OpenReadOnly(s.dir, 0, record.InboxRecords)
		if err != nil {
			return err
		}
		defer inbox.CloseFiles()
		report, err = s.salvageState(inbox, faults)
		return err
	})
	return report, err
}

// record keeps what was salvaged of the inbox in the state, which is sound by now.
func (s *Store) record(reports []*repair.Salvage) error {
	db, err := boltfile.Open(filepath.Join(s.dir, datadir.StateFile), 0, false)
	if err != nil {
		return err
	}
	for _, r := range reports {
		if r.File != datadir.StateFile { // that has it since it was made
			err = errors.Join(err, boltfile.Guard(func() error { return repair.AddSalvage(db, r) }))
		}
	}
	return errors.Join(err, db.Close())
}

// stateKnows reads epoch and position of the state as far as they can be had; zeros if not.
func (s *Store) stateKnows() (epoch uint32, applied uint64) {
	path := filepath.Join(s.dir, datadir.StateFile)
	if boltpage.Glance(path) != nil {
		return 0, 0
	}
	db, err := boltfile.Open(path, 0, true)
	if err != nil {
		return 0, 0
	}
	defer db.Close()
	err = boltfile.Guard(func() (err error) {
		if epoch, err = boltfile.Epoch(db); err != nil {
			return err
		}
		return db.View(func(tx *bolt.Tx) error {
			applied = state.Number(tx.Bucket(state.BucketMeta).Get(state.MetaApplied))
			return nil
		})
	})
	if err != nil {
		return 0, 0
	}
	return epoch, applied
}

// removeLeftovers removes what a crash left half done. The directory is locked: nobody is at it.
func (s *Store) removeLeftovers() {
	os.Remove(filepath.Join(s.dir, compactFile))
	os.Remove(filepath.Join(s.dir, boltfile.NewPath(datadir.StateFile)))
	wal.RemoveHalfWritten(s.dir)
	os.RemoveAll(filepath.Join(s.dir, datadir.RestoreDir))
	if aside, _ := boltfile.Named(s.dir, datadir.ReplacedPattern); len(aside) > 0 {
		s.log.Warn("an interrupted restore left the files it replaced: remove them when you are content", "dirs", aside)
		s.finishRestore(aside[len(aside)-1])
	}
}
