package repair

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/state"
)

// Salvage is the report of a salvage: the entries that were saved from a damaged file, and those that are lost. The state
// keeps it forever. It is shown as long as the damaged file is kept.
//
// It is exact in this: every entry with a correct checksum is saved if its page is in use, by the freelist. Lost users,
// members, pending, held and parked changes are counted if the ledger and the counters survived, lost entries of the
// history if the locator did. It is best effort in this: if the freelist and a part of the tree are lost, which of two
// versions of an entry was the last.
type Salvage struct {
	At     time.Time `json:"at"`
	File   string    `json:"file"`
	KeptAs string    `json:"kept_as"` // the damaged file, untouched
	Faults []string  `json:"faults"`  // the first ten

	Saved Stock `json:"saved"`
	Lost  Stock `json:"lost"`

	Pages        uint64 `json:"unreadable_pages"`
	Entries      uint64 `json:"unreadable_entries"` // with a wrong checksum
	Relearned    uint64 `json:"relearned"`          // memberships and values restored from a change about them
	LedgerLost   bool   `json:"ledger_lost"`        // the sums restart, and Lost does not count the entries that they covered
	PositionLost bool   `json:"position_lost"`      // records after the newest one that an entry names are applied again
	RulesLost    bool   `json:"rules_lost"`         // they were read from the inbox, or are those of the configuration

	RecordsLost []RecordRange `json:"records_lost,omitempty"` // of an inbox file
	Unapplied   uint64        `json:"unapplied"`              // how many of these were not applied: their effect is lost too
	EdgeLost    bool          `json:"edge_lost"`              // records behind the last one saved may be lost too
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

// Harmless reports whether all that was lost is records that the state has: memberships and changes are right.
func (s *Salvage) Harmless() bool {
	return s.File != datadir.StateFile && s.Unapplied == 0 && !s.EdgeLost
}

var metaSalvage = []byte("salvage")

// less returns a-b, or 0 if that is negative.
func less(a, b uint64) uint64 { return a - min(a, b) }

// AddSalvage puts a report into the state.
func AddSalvage(db *bolt.State, report *Salvage) error {
	return db.Update(func(tx engine.Tx) error {
		meta := tx.Bucket(state.BucketMeta)
		var list []*Salvage
		if text := meta.Get(metaSalvage); text != nil && json.Unmarshal(text, &list) != nil {
			list = nil
		}
		text, err := json.Marshal(append(list, report))
		if err != nil {
			return err
		}
		return meta.Put(metaSalvage, text)
	})
}

// KeptName returns a free name for the file at path, which is to be kept aside: as is "damaged" or "copy".
func KeptName(path, as string, at time.Time) string {
	first := filepath.Base(path) + "." + as + "-" + at.Format("20060102T150405Z")
	for n, name := 2, first; ; n++ {
		if found, err := boltfile.Exists(filepath.Join(filepath.Dir(path), name)); !found && err == nil {
			return name
		}
		name = fmt.Sprintf("%s-%d", first, n)
	}
}

// replaceDamaged gives the file at path the name kept, and puts the new file, at boltfile.NewPath, in its place. path leads
// to one of the two at every moment.
func replaceDamaged(path, kept string) error {
	dir := filepath.Dir(path)
	if err := os.Link(path, filepath.Join(dir, kept)); err != nil {
		return fmt.Errorf("keep the damaged file: %w", err)
	}
	if err := os.Rename(boltfile.NewPath(path), path); err != nil {
		return fmt.Errorf("put the saved file in its place: %w", err)
	}
	return boltfile.SyncDir(dir)
}

// SalvagesIn returns the reports on damaged files that are still kept aside, oldest first.
func SalvagesIn(tx engine.Tx, dir string) (list []Salvage, err error) {
	text := tx.Bucket(state.BucketMeta).Get(metaSalvage)
	if text == nil {
		return nil, nil
	}
	var all []Salvage
	err = json.Unmarshal(text, &all)
	for _, r := range all {
		if found, _ := boltfile.Exists(filepath.Join(dir, r.KeptAs)); found {
			list = append(list, r)
		}
	}
	return list, err
}
