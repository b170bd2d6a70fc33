package store

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"personasync/store/domain"
	"personasync/store/engine/bolt"
	"personasync/store/internal/apply"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/writer"
)

// measureEvery is how often the disk is measured.
const measureEvery = time.Second

// diskWatch measures how much space the data takes and how much is free, and tells the disk budget. Where space is short
// it removes received events that are applied. Its methods belong to one goroutine.
type diskWatch struct {
	budget *datadir.DiskBudget
	place  *datadir.Place
	log    *slog.Logger
	db     *bolt.State
	inbox  *wal.Log
	writer *writer.Writer
	pinned *atomic.Bool // a backup reads the inbox: nothing of it is removed
}

// run measures until ctx ends.
func (d *diskWatch) run(ctx context.Context) {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-d.budget.Hurry:
		case <-ctx.Done():
			return
		}
		if d.place.Refusal() == nil { // else another folder has the name
			d.update()
			d.shedHistory(ctx)
		}
	}
}

// update measures, makes room where space is short, and tells the budget.
func (d *diskWatch) update() {
	m, applied, err := d.measure()
	if err == nil && m.Refusal(true) != "" && d.shedInbox(applied) {
		m, _, err = d.measure()
	}
	if err != nil {
		d.log.Error("the room on the disk could not be measured", "err", err)
		return
	}
	if !d.budget.Judge(m, time.Now()) {
		return
	}
	if err := d.budget.Refusal(); err != nil {
		d.log.Error("no room: events are refused until there is", "reason", err)
		return
	}
	d.log.Info("there is room again: events are taken", "data", domain.Bytes(m.DataBytes), "free", domain.Bytes(m.FreeBytes))
}

// shedInbox removes received events that are applied, before their retention is over. Only inspection uses these copies,
// so they go before new events are refused. The newest file is removed, too, once it is large enough. So a disk that a
// backlog filled has space again when that is delivered, even if state.db, most of whose pages are free then, is too
// large for a compaction.
func (d *diskWatch) shedInbox(applied uint64) (shed bool) {
	if d.pinned.Load() {
		return false
	}
	before := d.inbox.Oldest()
	if d.inbox.IsApplied(applied, datadir.SmallestSegment) {
		_ = d.inbox.RotateNow() // a disk that has no room for that either has none to give back
	}
	if err := d.inbox.Trim(applied, time.Now(), 0, 1); err != nil {
		d.log.Error("applied inbox files could not be removed", "err", err)
	}
	after := d.inbox.Oldest()
	if after > before {
		d.log.Warn("received events were removed before their retention to make room", "from_file", before, "to_file", after-1)
	}
	return after > before
}

// tight returns an error while no more of the disk is left than is kept; see datadir.Tight.
func (d *diskWatch) tight(keep datadir.Reserve) error {
	return datadir.Tight(d.place.Dir, d.db.Spare, keep)
}

// shedHistory removes completed changes before their retention while the disk has no more room than leases need. Only
// inspection uses them, and each delivery makes one.
func (d *diskWatch) shedHistory(ctx context.Context) {
	shed := false
	for more := true; more && ctx.Err() == nil && d.tight(datadir.ForLeases) != nil; {
		err := d.writer.Do(ctx, func(tx *state.Tx) error {
			_, found := tx.History.Cursor().First()
			shed = shed || found != nil
			more = apply.PruneHistory(tx, time.Now(), time.Nanosecond)
			return tx.Err
		}, nil)
		if err != nil {
			d.log.Error("completed changes could not be removed to make room; it is tried again", "err", err)
			return
		}
	}
	if shed {
		d.log.Warn("completed changes were removed before their retention to make room")
	}
}

// measure looks at the files and at the file system.
func (d *diskWatch) measure() (m datadir.Space, applied uint64, err error) {
	m.MaxDataBytes = d.budget.Limit.Load()
	if m.FreeBytes, m.FloorBytes, err = datadir.FreeBytes(d.place.Dir); err != nil {
		return m, 0, err
	}
	entries, err := os.ReadDir(d.place.Dir)
	if err != nil {
		return m, 0, fmt.Errorf("look at the data directory: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // removed a moment ago
		}
		if wal.Number(e.Name()) > 0 {
			m.InboxBytes += boltfile.OnDisk(info)
			m.DataBytes += boltfile.OnDisk(info)
		} else if e.Name() == datadir.StateFile {
			m.DataBytes += boltfile.OnDisk(info)
		}
	}
	if m.StateBytes, m.LiveBytes, err = d.db.Fill(); err != nil {
		return m, 0, err
	}
	applied = d.writer.Applied()
	m.UnappliedBytes = d.inbox.UnappliedBytes(applied)
	return m, applied, nil
}
