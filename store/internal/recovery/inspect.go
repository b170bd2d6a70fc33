package recovery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/repair"
	"personasync/store/internal/wire"
)

// looksDamaged reports whether err may be the work of a disk.
func looksDamaged(err error) bool {
	return datadir.IsIOError(err) || boltfile.IsInvalid(err)
}

// inspect glances at every file, reads all of them if why or the glance gives a reason, and salvages the damaged ones.
func (s *Start) inspect(ctx context.Context, why string) error {
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
	r, err := s.readAll(ctx, why)
	if err != nil {
		return err
	}
	s.Checked = true // or the start fails
	s.logRecordFaults(r)
	if len(r.DamagedFiles) == 0 {
		return nil
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

// logRecordFaults logs received records with a wrong checksum. If they were applied, the state has their
// effect; else they are parked as they are.
func (s *Start) logRecordFaults(r *repair.CheckReport) {
	for _, f := range r.Findings {
		if f.Code == "record" {
			s.log.Error("a damaged record of the inbox stays as it is; it is parked if it was not applied yet", "found", f.Message)
		}
	}
}

const (
	// checkPatience and checkSpeed bound a check. A slower disk cannot be worked with.
	checkPatience = time.Minute
	checkSpeed    = 5 << 20 // bytes a second

	checkProgress = 10 * time.Second
)

// readAll checks the files, in a child process where the program offers one.
func (s *Start) readAll(start context.Context, why string) (r *repair.CheckReport, err error) {
	size := int64(0)
	paths, _ := repair.DataFiles(s.dir)
	for _, path := range paths {
		size += boltfile.Size(path)
	}
	s.log.Warn("reading all files before they are trusted", "why", why, "bytes", size, "in_child", s.checkInChild != nil)
	begun := time.Now()
	ctx, cancel := context.WithTimeout(start, checkPatience+time.Duration(size/checkSpeed)*time.Second)
	defer cancel()
	defer s.logWhileReading(begun)()
	if s.checkInChild != nil {
		r, err = s.checkInChild(ctx, s.dir)
		if err != nil && !refusal(err) && start.Err() == nil {
			s.log.Error("the process that was to check the files did not; they are read here, page by page", "err", err)
			died := errors.Is(err, repair.ErrReaderDied)
			if r, err = repair.CheckPages(s.dir); err == nil && r.OK() && died { // what ends a reader ends the agent, too
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

// refusal reports whether the error of a check is an answer, and not a failure of the checking process.
func refusal(err error) bool {
	return errors.Is(err, wire.ErrNewer) || errors.Is(err, boltfile.ErrInUse) || errors.Is(err, datadir.ErrNoData) || errors.Is(err, datadir.ErrForeign) || errors.Is(err, os.ErrPermission)
}

// logWhileReading logs every checkProgress that reading goes on, until end is called.
func (s *Start) logWhileReading(begun time.Time) (end func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
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
	return func() { close(done); <-ended }
}

// faultsOf lists the faults of a file. The list is never empty.
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
