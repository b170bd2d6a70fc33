package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/record"
	"personasync/store/internal/repair"
	"personasync/store/internal/snapshot"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
)

// RestoreReport says what a restore put in place.
type RestoreReport struct {
	snapshot.BackupInfo
	Replayed uint64           `json:"replayed"`    // records of the backup's inbox that were applied
	Next     uint64           `json:"next_record"` // number of the next record
	Faults   uint64           `json:"faults"`      // that a check of the restored files found
	Findings []repair.Finding `json:"findings"`
	Salvages []repair.Salvage `json:"salvages"` // of damaged files; these themselves are in the backup alone
	Previous string           `json:"previous"` // the folder with the data that was replaced; "" if there was none
	Took     time.Duration    `json:"took_ns"`
}

// Restore replaces the store in dir with the backup at path; "-" is the standard input. It makes dir if it is missing. It
// changes nothing there before the whole backup has been read, checked and opened, and keeps the replaced files aside. It returns ErrInUse if an agent holds the directory. progress may be
// nil; it counts bytes of the backup.
func Restore(ctx context.Context, path, dir string, progress func(done, total int64)) (r RestoreReport, err error) {
	begun := time.Now()
	if err := datadir.MakeDir(dir); err != nil {
		return r, err
	}
	lock, err := datadir.LockDir(dir, "db restore")
	if errors.Is(err, ErrInUse) {
		return r, fmt.Errorf("%w: stop the agent first", err)
	}
	if err != nil {
		return r, err
	}
	defer boltfile.Unlock(lock)
	if datadir.NameIn(dir, path) == datadir.RestoreDir {
		return r, fmt.Errorf("the backup %s lies in %s, where a restore builds the store: move it out of there first", path, datadir.RestoreDir)
	}
	re := &restoration{dir: dir, staging: filepath.Join(dir, datadir.RestoreDir), now: begun, report: &r}
	if err := os.RemoveAll(re.staging); err != nil {
		return r, fmt.Errorf("remove what an interrupted restore left: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(re.staging)) }()
	if err := re.unpack(ctx, path, progress); err != nil {
		return r, fmt.Errorf("restore: %w", datadir.Translate(err))
	}
	if err := re.settle(ctx); err != nil {
		return r, fmt.Errorf("restore: %w", datadir.Translate(err))
	}
	if r.Previous, err = re.replace(); err != nil {
		return r, fmt.Errorf("restore: %w", err)
	}
	r.Took = time.Since(begun)
	return r, nil
}

// restoration is one Restore.
type restoration struct {
	dir, staging string
	now          time.Time
	epoch        uint32
	inbox        *wal.Log
	report       *RestoreReport
}

// unpack reads the backup into the staging directory, checking every sum on the way.
func (re *restoration) unpack(ctx context.Context, path string, progress func(done, total int64)) (err error) {
	defer func() {
		if re.inbox != nil {
			re.inbox.Close()
		}
	}()
	re.report.BackupInfo, err = snapshot.ReadBackup(ctx, path, progress, snapshot.BackupSink{
		Head:    re.prepare,
		State:   re.writeState,
		Records: func(first uint64, frames [][]byte) error { return re.writeRecords(ctx, first, frames) },
	})
	return err
}

// prepare refuses a backup that cannot be restored here, before anything is written.
func (re *restoration) prepare(info snapshot.BackupInfo) error {
	epoch, err := strconv.ParseUint(info.Epoch, 16, 32)
	if err != nil {
		return snapshot.Bad("epoch %q is none", info.Epoch)
	}
	re.epoch = uint32(epoch)
	if info.Made.After(re.now) {
		return fmt.Errorf("the backup was made at %s and this machine's clock says %s: set the clock, record numbers are taken from it",
			domain.Timestamp(info.Made), domain.Timestamp(re.now))
	}
	free, _, err := datadir.FreeBytes(re.dir)
	if err != nil {
		return err
	}
	if need := info.StateBytes + info.StateBytes/5; free < need {
		return fmt.Errorf("%w: the backup's state of %s is built beside the present data, which needs %s, and %s are free",
			domain.ErrFull, domain.Bytes(info.StateBytes), domain.Bytes(need), domain.Bytes(free))
	}
	return os.Mkdir(re.staging, 0o700)
}

func (re *restoration) writeState(from io.Reader) error {
	f, err := os.OpenFile(filepath.Join(re.staging, datadir.StateFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.CopyBuffer(struct{ io.Writer }{f}, from, make([]byte, 256<<10)); err == nil {
		err = f.Sync()
	}
	return snapshot.CutOff(errors.Join(err, f.Close()))
}

// writeRecords appends records to the inbox in the staging directory, under their own numbers.
func (re *restoration) writeRecords(ctx context.Context, first uint64, frames [][]byte) (err error) {
	if re.inbox == nil {
		if re.inbox, err = wal.Open(re.staging, wal.Config{Epoch: re.epoch, First: first, Records: record.InboxRecords}); err != nil {
			return err
		}
	}
	return re.inbox.Append(ctx, frames...)
}

// settle checks the unpacked files, applies their inbox, and moves the numbers beyond every number in use.
func (re *restoration) settle(ctx context.Context) error {
	check, err := repair.Check(ctx, re.staging, nil)
	if err != nil {
		return err
	}
	if re.report.Faults, re.report.Findings = check.Faults, check.Findings; structural(check) {
		return fmt.Errorf("the state in the backup is damaged, and was when it was made: %s", check.Findings[0].Message)
	}
	s, err := Open(re.staging, Options{restoring: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	re.report.Salvages = []repair.Salvage{}
	list, err := s.Salvages()
	if err == nil {
		re.report.Salvages = append(re.report.Salvages, list...)
		err = s.Applied(ctx)
	}
	if err == nil {
		err = s.writer.Do(ctx, func(tx *state.Tx) error {
			re.report.Replayed = tx.State.Applied - re.report.BackupInfo.Applied
			tx.State.Applied = max(tx.State.Applied, uint64(re.now.UnixMicro()))
			re.report.Next = tx.State.Applied + 1
			return nil
		}, nil)
	}
	return errors.Join(err, s.Close())
}

// structural reports whether a file cannot be opened, or has a fault in its pages. No store can work with it.
func structural(r *repair.CheckReport) bool {
	return slices.ContainsFunc(r.Findings, func(f repair.Finding) bool { return f.Code == "pages" || f.Code == "open" })
}

// replace puts the new state in place and sets the old store aside, in an order that leaves a whole store wherever it is
// interrupted. See datadir.RestoreDir.
func (re *restoration) replace() (previous string, err error) {
	aside, err := setStateAside(re.dir, re.now)
	if err != nil {
		return "", err
	}
	crashpoint.Reach(crashpoint.RestoreAside)
	if err := takePlace(filepath.Join(re.staging, datadir.StateFile), re.dir); err != nil {
		return "", fmt.Errorf("put the restored state in place (the previous data is in %s): %w", aside, err)
	}
	crashpoint.Reach(crashpoint.RestorePlaced)
	if err := moveInbox(re.dir, aside); err != nil {
		return "", fmt.Errorf("move the old inbox aside (to %s): %w", aside, err)
	}
	crashpoint.Reach(crashpoint.RestoreMoved)
	return finishAside(aside)
}

// asideTime is the moment in the name of a folder that is set aside.
const asideTime = "20060102T150405.000000"

// setStateAside makes the folder for the replaced store in dir. The state is in it under a second name, so that dir is
// never without one.
func setStateAside(dir string, now time.Time) (aside string, err error) {
	aside = filepath.Join(dir, "replaced-"+now.UTC().Format(asideTime))
	if err := os.Mkdir(aside, 0o700); err != nil {
		return "", fmt.Errorf("set the present data aside: %w", err)
	}
	if err := os.Link(filepath.Join(dir, datadir.StateFile), filepath.Join(aside, datadir.StateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("keep the state aside: %w", err)
	}
	return aside, nil
}

// takePlace makes state the state of dir, in one step.
func takePlace(state, dir string) error {
	if err := os.Rename(state, filepath.Join(dir, datadir.StateFile)); err != nil {
		return err
	}
	return boltfile.SyncDir(dir)
}

// moveInbox moves the inbox files of one folder to another, and with them the mark of a store that was moved away.
func moveInbox(from, to string) error {
	err := moveSegments(from, to)
	mark := filepath.Join(from, datadir.MovedFile)
	if marked, _ := boltfile.Exists(mark); marked {
		err = errors.Join(err, os.Rename(mark, filepath.Join(to, datadir.MovedFile)))
	}
	return errors.Join(err, boltfile.SyncDir(from), boltfile.SyncDir(to))
}

// moveSegments moves the inbox files alone.
func moveSegments(from, to string) error {
	list, _, err := wal.Files(from)
	for _, path := range list {
		err = errors.Join(err, os.Rename(path, filepath.Join(to, filepath.Base(path))))
	}
	return err
}

// finishAside gives the folder with the replaced store the name of a finished restore. It removes one without a store.
func finishAside(aside string) (previous string, err error) {
	if entries, err := os.ReadDir(aside); err == nil && len(entries) == 0 {
		return "", os.Remove(aside)
	}
	dir := filepath.Dir(aside)
	previous = filepath.Join(dir, "previous-"+strings.TrimPrefix(filepath.Base(aside), "replaced-"))
	if err := os.Rename(aside, previous); err != nil {
		return "", fmt.Errorf("name the previous data: %w", err)
	}
	return previous, boltfile.SyncDir(dir)
}

// PutBack makes the store in previous, a folder of dir that a restore set aside, the store of dir again, and sets the
// present one aside as a restore does. It returns ErrInUse if an agent holds dir, and ErrNoData if previous has no state.
func PutBack(dir, previous string) (aside string, err error) {
	lock, err := datadir.LockDir(dir, "db restore")
	if err != nil {
		return "", err
	}
	defer boltfile.Unlock(lock)
	state := filepath.Join(previous, datadir.StateFile)
	if found, err := boltfile.Exists(state); err != nil || !found {
		return "", errors.Join(fmt.Errorf("%w in %s", ErrNoData, previous), err)
	}
	replaced, err := setStateAside(dir, time.Now())
	if err == nil {
		err = moveInbox(dir, replaced)
	}
	if err == nil {
		err = moveInbox(previous, dir) // the restored state passes over them: their numbers lie below its own
	}
	if err == nil {
		err = takePlace(state, dir)
	}
	if err != nil {
		return "", fmt.Errorf("put the previous data back: %w", err)
	}
	aside, err = finishAside(replaced)
	return aside, errors.Join(err, os.Remove(previous))
}
