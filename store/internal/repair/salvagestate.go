package repair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// State makes a new state.db in dir of the readable parts of the damaged one, puts it in place and keeps the damaged file
// beside it. inbox is that of the store, and is sound. State returns ErrUnsalvageable if no entry can be saved, and
// ErrNewer for a file of a newer version.
func State(dir string, inbox *wal.Log, log *slog.Logger, faults []string) (*Salvage, error) {
	path := filepath.Join(dir, datadir.StateFile)
	file, err := boltpage.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	db, err := bolt.Fresh(boltfile.NewPath(path), state.StateMmap, inbox.Epoch(), state.StateBuckets)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	report := &Salvage{At: time.Now().UTC(), File: datadir.StateFile, Faults: faults[:min(len(faults), 10)]}
	q := &stateScanner{file: file, epoch: inbox.Epoch(), report: report, found: scanned{meta: make(map[string][]byte)}, stateOutput: stateOutput{db: db}}
	if err := db.Update(state.Init); err != nil {
		return nil, err
	}
	if err := q.scan(); err != nil {
		return nil, fmt.Errorf("salvage the state: %w", err)
	}
	if v := q.found.meta[string(boltfile.MetaFormat)]; len(v) == 4 && binary.BigEndian.Uint32(v) > datadir.Format && q.metaHolds() {
		return nil, fmt.Errorf("%w: %s is damaged, too: repair it with that version", wire.ErrNewer, datadir.StateFile)
	}
	if q.written == 0 && len(q.found.meta) == 0 {
		return nil, fmt.Errorf("%w: nothing of this program can be read from %s (%d bytes): restore a backup with `personasync db restore FILE`, "+
			"or move %s away to begin with nothing: every membership is then unknown", boltfile.ErrUnsalvageable, path, file.Size, dir)
	}
	if err := q.settleMeta(inbox); err != nil {
		return nil, fmt.Errorf("write the salvaged state: %w", err)
	}
	r := &rebuilder{db: db, epoch: q.epoch, found: &q.found, report: report, log: log}
	if err := r.run(); err != nil {
		return nil, fmt.Errorf("rebuild the indexes: %w", err)
	}
	report.KeptAs = KeptName(path, "damaged", report.At)
	if err := AddSalvage(db, report); err != nil {
		return nil, err
	}
	return report, errors.Join(db.Sync(), db.Close(), replaceDamaged(path, report.KeptAs))
}
