package recovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/repair"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// salvageState makes a new state.db of what can be read of the damaged one, and puts it in its place. The damaged file
// is kept beside it. The inbox is sound by then.
func (s *Start) salvageState(inbox *wal.Log, faults []string) (*repair.Salvage, error) {
	path := filepath.Join(s.dir, datadir.StateFile)
	file, err := boltpage.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	db, err := bolt.Fresh(path+".new", state.StateMmap, inbox.Epoch(), state.StateBuckets)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	report := &repair.Salvage{At: time.Now().UTC(), File: datadir.StateFile, Faults: faults[:min(len(faults), 10)]}
	q := &repair.StateSalvager{File: file, Epoch: inbox.Epoch(), DB: db, Meta: make(map[string][]byte), Report: report}
	if err := db.Update(state.Init); err != nil {
		return nil, err
	}
	if err := q.Scan(); err != nil {
		return nil, fmt.Errorf("salvage the state: %w", err)
	}
	if v := q.Meta[string(boltfile.MetaFormat)]; len(v) == 4 && binary.BigEndian.Uint32(v) > datadir.Format && q.MetaHolds() {
		return nil, fmt.Errorf("%w: %s is damaged, too: repair it with that version", wire.ErrNewer, datadir.StateFile)
	}
	if q.Written == 0 && len(q.Meta) == 0 {
		return nil, fmt.Errorf("%w: nothing of this program can be read from %s (%d bytes): restore a backup with `personasync db restore FILE`, "+
			"or move %s away to begin with nothing: every membership is then unknown", boltfile.ErrUnsalvageable, path, file.Size, s.dir)
	}
	if err := q.SettleMeta(inbox); err != nil {
		return nil, fmt.Errorf("write the salvaged state: %w", err)
	}
	r := &repair.Rebuilder{StateSalvager: q, Log: s.log}
	if err := r.Run(); err != nil {
		return nil, fmt.Errorf("rebuild the indexes: %w", err)
	}
	report.KeptAs = repair.KeptName(path, "damaged", report.At)
	if err := repair.AddSalvage(db, report); err != nil {
		return nil, err
	}
	return report, errors.Join(db.Sync(), db.Close(), repair.ReplaceDamaged(path, report.KeptAs))
}
