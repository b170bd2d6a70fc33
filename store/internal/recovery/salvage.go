package recovery

import (
	"errors"
	"path/filepath"

	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/record"
	"personasync/store/internal/repair"
	"personasync/store/internal/wal"
)

// salvage rebuilds one damaged file from the parts that can be read.
func (s *Start) salvage(path string, faults []string) (report *repair.Salvage, err error) {
	err = boltfile.Guard(func() error {
		if filepath.Base(path) != datadir.StateFile {
			epoch, applied := s.stateMeta()
			last := uint64(0)
			if s.left {
				last = s.Marker.Last.Records
			}
			report, err = repair.Segment(path, epoch, applied, last, faults)
			return err
		}
		inbox, err := wal.OpenReadOnly(s.dir, 0, record.InboxRecords)
		if err != nil {
			return err
		}
		defer inbox.CloseFiles()
		report, err = repair.State(s.dir, inbox, s.log, faults)
		return err
	})
	return report, err
}

// record writes the reports about inbox files into the state, which is sound by now.
func (s *Start) record(reports []*repair.Salvage) error {
	db, err := bolt.Open(filepath.Join(s.dir, datadir.StateFile), 0, false)
	if err != nil {
		return err
	}
	for _, r := range reports {
		if r.File != datadir.StateFile { // that has it since it was made
			err = errors.Join(err, repair.AddSalvage(db, r))
		}
	}
	return errors.Join(err, db.Close())
}
