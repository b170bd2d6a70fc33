package repair

import (
	"path/filepath"
	"time"

	"personasync/store/internal/record"
	"personasync/store/internal/wal"
)

// Segment rebuilds the damaged inbox file at path from the records that can be read, puts it in place and keeps the
// damaged one beside it. epoch and applied are those of the state, zeros if it cannot be read, and last is the number
// of the inbox's last record, 0 if it is not known. It returns
// ErrUnsalvageable if no record can be saved.
//
// A record whose checksum is wrong stays in the new file. It is parked with its bytes when it is applied.
func Segment(path string, epoch uint32, applied, last uint64, faults []string) (*Salvage, error) {
	found, err := wal.Salvage(path, epoch, applied, last, record.InboxRecords)
	if err != nil {
		return nil, err
	}
	r := &Salvage{
		At: time.Now().UTC(), File: filepath.Base(path), Faults: faults[:min(len(faults), 10)],
		Saved: Stock{Records: found.Records}, Pages: found.Pages, Entries: found.Entries, EdgeLost: found.EdgeLost,
	}
	for _, lost := range found.Lost {
		r.RecordsLost = append(r.RecordsLost, RecordRange(lost))
		r.Lost.Records += lost.Last - lost.First + 1
		r.Unapplied += less(lost.Last, max(applied, lost.First-1))
	}
	r.KeptAs = KeptName(path, "damaged", r.At)
	return r, replaceDamaged(path, r.KeptAs)
}
