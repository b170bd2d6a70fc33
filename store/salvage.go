package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// Salvage is the record of one: what a damaged file still gave, and what is gone. The state keeps it
// for good; people are shown it as long as the damaged file is there.
//
// What is exact: every entry whose checksum holds is saved, as long as its page is one of the file's
// own, which the list of free pages says. Users, members, pending, held and parked items that are lost
// are counted as long as the ledger and the counters survived, entries of the history as long as the
// locator did. What is best effort: when the list of free pages is lost together with a part of the
// tree, which of two versions of an entry was the last.
type Salvage struct {
	At     time.Time `json:"at"`
	File   string    `json:"file"`
	KeptAs string    `json:"kept_as"` // the damaged file, untouched
	Faults []string  `json:"faults"`  // the first ten

	Saved Stock `json:"saved"`
	Lost  Stock `json:"lost"`

	Pages        uint64 `json:"unreadable_pages"`
	Entries      uint64 `json:"unreadable_entries"` // whose checksum did not hold
	Relearned    uint64 `json:"relearned"`          // memberships and values read again from a change that speaks of them
	LedgerLost   bool   `json:"ledger_lost"`        // the sums begin anew, and Lost does not count what they covered
	PositionLost bool   `json:"position_lost"`      // applied again from the last record that left a trace
	RulesLost    bool   `json:"rules_lost"`         // those that applied were read from the inbox, or are the configuration's

	RecordsLost []RecordRange `json:"records_lost,omitempty"` // of an inbox file
	Unapplied   uint64        `json:"unapplied"`              // how many of these the state had not applied: their effect is lost, not only their bytes
	EdgeLost    bool          `json:"edge_lost"`              // and perhaps records behind the last one saved
}

// Stock counts what a store holds.
type Stock struct {
	Users        uint64 `json:"users"`
	Members      uint64 `json:"members"` // memberships, over all audiences
	Pending      uint64 `json:"pending"`
	Held         uint64 `json:"held"`
	Parked       uint64 `json:"parked"`
	History      uint64 `json:"history"`
	Computations uint64 `json:"computations"`
	Records      uint64 `json:"records"`
}

// RecordRange is a run of inbox records.
type RecordRange struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// Whole reports whether nothing was lost.
func (s *Salvage) Whole() bool {
	return !s.LedgerLost && s.Lost == Stock{} && s.Pages == 0 && s.Entries == 0 && len(s.RecordsLost) == 0 && !s.EdgeLost
}

var metaSalvage = []byte("salvage")

// less is a-b, and 0 when that would be negative.
func less(a, b uint64) uint64 { return a - min(a, b) }

// salvageState makes a new state.db of what can be read of the damaged one, and puts it in its place.
// The damaged file stays beside it. The inbox is sound by then.
func (s *Store) salvageState(epoch uint32, inbox []*wal.Segment, faults []string) (*Salvage, error) {
	path := filepath.Join(s.dir, stateFile)
	file, err := boltpage.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	db, err := freshFile(path, stateMmap)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	report := &Salvage{At: time.Now().UTC(), File: stateFile, Faults: faults[:min(len(faults), 10)]}
	q := &stateSalvager{file: file, epoch: epoch, db: db, meta: make(map[string][]byte), report: report}
	if err := initState(db, epoch); err != nil {
		return nil, err
	}
	if err := q.scan(); err != nil {
		return nil, fmt.Errorf("save what is left: %w", err)
	}
	if v := q.meta[string(boltfile.MetaFormat)]; len(v) == 4 && binary.BigEndian.Uint32(v) > Format && q.metaHolds() {
		return nil, fmt.Errorf("%w: %s is damaged, too: repair it with that version", wire.ErrNewer, stateFile)
	}
	if q.written == 0 && len(q.meta) == 0 {
		return nil, fmt.Errorf("%w: nothing of this program can be read from %s (%d bytes): restore a backup with `personasync db restore FILE`, "+
			"or move %s away to begin with nothing: every membership is then unknown", ErrUnsalvageable, path, file.Size, s.dir)
	}
	if err := q.settleMeta(inbox); err != nil {
		return nil, fmt.Errorf("write what was saved: %w", err)
	}
	r := &rebuilder{stateSalvager: q, log: s.log}
	if err := r.run(); err != nil {
		return nil, fmt.Errorf("rebuild the indexes: %w", err)
	}
	report.KeptAs = keptName(path, "damaged", report.At)
	if err := addSalvage(db, report); err != nil {
		return nil, err
	}
	return report, errors.Join(db.Sync(), db.Close(), replaceDamaged(path, report.KeptAs))
}

// freshFile begins the file that takes a damaged one's place. It is synced once, at the end: nobody
// knows of it before.
func freshFile(path string, mmap int) (*bolt.DB, error) {
	os.Remove(path + ".new")
	db, err := boltfile.Open(path+".new", mmap, false)
	if err == nil {
		db.NoSync = true
	}
	return db, err
}

// settleMeta writes the meta of the new file from what was found of the old one's.
func (q *stateSalvager) settleMeta(inbox []*wal.Segment) error {
	trusted := q.metaHolds()
	if v := q.meta[string(boltfile.MetaEpoch)]; q.epoch == 0 && len(v) == 4 {
		q.epoch = binary.BigEndian.Uint32(v)
	}
	if q.epoch == 0 {
		q.epoch = rand.Uint32() | 1
	}
	_, ledgerErr := decodeLedger(q.meta[string(metaLedger)])
	_, _, refusalsErr := decodeRefusals(q.meta[string(metaRefusals)])
	q.report.LedgerLost = ledgerErr != nil
	applied, flight := number(q.meta[string(metaApplied)]), number(q.meta[string(metaFlight)])
	if q.position = applied; !trusted || applied < q.highest {
		q.report.PositionLost = true
		q.position = q.highest
	}
	if !trusted {
		flight = uint64(q.report.At.Unix()) // further on than any number given out
	}
	rules := q.meta[string(metaRules)]
	if q.report.RulesLost = !trusted && q.position > 0; q.report.RulesLost {
		rules = rulesIn(inbox, q.position)
	}
	return q.db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		keep := func(k, v []byte, usable bool) error {
			if usable && len(v) > 0 {
				return meta.Put(k, v)
			}
			return nil
		}
		return errors.Join(
			keep(metaLedger, q.meta[string(metaLedger)], ledgerErr == nil),
			keep(metaRefusals, q.meta[string(metaRefusals)], refusalsErr == nil),
			keep(metaRules, rules, json.Valid(rules)),
			keep(metaSalt, q.meta[string(metaSalt)], len(q.meta[string(metaSalt)]) == 16),
			keep(metaSalvage, q.meta[string(metaSalvage)], json.Valid(q.meta[string(metaSalvage)])),
			keep(metaEpochs, q.meta[string(metaEpochs)], len(q.meta[string(metaEpochs)])%12 == 0),
			meta.Put(boltfile.MetaEpoch, binary.BigEndian.AppendUint32(nil, q.epoch)),
			meta.Put(metaApplied, numberKey(q.position)),
			meta.Put(metaClosed, numberKey(q.newest)),
			meta.Put(metaFlight, numberKey(flight)),
			boltfile.Seal(tx),
		)
	})
}

// rulesIn returns the newest rules in the inbox up to a record, or the first behind it; nil without any.
func rulesIn(inbox []*wal.Segment, applied uint64) (text []byte) {
	for from := uint64(1); ; {
		records, err := wal.ReadRecords(inbox, from, 1<<20)
		if err != nil || len(records) == 0 {
			return text
		}
		for _, r := range records {
			if rec, err := decodeRecord(r.Seq, r.Frame); err == nil && rec.rules != nil && (r.Seq <= applied || text == nil) {
				text, _ = json.Marshal(rec.rules)
			}
		}
		from = records[len(records)-1].Seq + 1
	}
}

// metaHolds holds the old meta against its seal.
func (q *stateSalvager) metaHolds() (holds bool) {
	_ = q.db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		for _, k := range keysWithPrefix(meta, nil) {
			if err := meta.Delete(k); err != nil {
				return err
			}
		}
		for k, v := range q.meta {
			if err := meta.Put([]byte(k), v); err != nil {
				return err
			}
		}
		holds = boltfile.Check(tx) == nil
		return errRollback
	})
	return holds
}

var errRollback = errors.New("nothing of this is kept")

// addSalvage puts a report into the state.
func addSalvage(db *bolt.DB, report *Salvage) error {
	return db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		var list []*Salvage
		if text := meta.Get(metaSalvage); text != nil && json.Unmarshal(text, &list) != nil {
			list = nil
		}
		text, err := json.Marshal(append(list, report))
		if err != nil {
			return err
		}
		return errors.Join(meta.Put(metaSalvage, text), boltfile.Seal(tx))
	})
}

// keptName is the name under which a file stays that is damaged, or a copy.
func keptName(path, as string, at time.Time) string {
	first := filepath.Base(path) + "." + as + "-" + at.Format("20060102T150405Z")
	for n, name := 2, first; ; n++ {
		if found, err := boltfile.Exists(filepath.Join(filepath.Dir(path), name)); !found && err == nil {
			return name
		}
		name = fmt.Sprintf("%s-%d", first, n)
	}
}

// replaceDamaged keeps path under another name and puts the fresh file in its place. At no moment is
// there nothing under path.
func replaceDamaged(path, kept string) error {
	dir := filepath.Dir(path)
	if err := os.Link(path, filepath.Join(dir, kept)); err != nil {
		return fmt.Errorf("keep the damaged file: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("put the saved file in its place: %w", err)
	}
	return boltfile.SyncDir(dir)
}

// salvagesIn returns what was salvaged from files that are still kept aside, oldest first.
func salvagesIn(tx *bolt.Tx) (list []Salvage, err error) {
	text := tx.Bucket(bucketMeta).Get(metaSalvage)
	if text == nil {
		return nil, nil
	}
	var all []Salvage
	err = json.Unmarshal(text, &all)
	dir := filepath.Dir(tx.DB().Path())
	for _, r := range all {
		if found, _ := boltfile.Exists(filepath.Join(dir, r.KeptAs)); found {
			list = append(list, r)
		}
	}
	return list, err
}
