package repair

import (
	"bytes"
	"encoding/binary"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// totals are the counts of a state.
type totals struct {
	users, members, pending uint64
	changes                 [2]uint64 // parked and held, as keptPlaces
	received                uint64
	history, located        uint64
	closed                  domain.ChangeLedger // of the history, by state
	in                      map[uint32]uint64   // members by field
	fieldCounts
}

// countTotals counts everything once.
func countTotals(tx *state.Tx) *totals {
	c := &totals{in: make(map[uint32]uint64), fieldCounts: newFieldCounts()}
	last := []byte(nil)
	_ = tx.Rows.ForEach(func(k, frame []byte) error {
		if binary.BigEndian.Uint16(k[len(k)-2:]) >= state.BlockConsent {
			return nil // some pending-index rows can be read as a membership row
		}
		row, err := state.DecodeBlock(k, frame, tx.State.Epochs)
		if err != nil {
			return nil
		}
		if user := k[:len(k)-2]; !bytes.Equal(user, last) {
			c.users++
			last = bytes.Clone(user)
		}
		for _, e := range row.Entries {
			c.pending += uint64(record.BoolByte(e.Waiting.Pending())) + uint64(record.BoolByte(e.InFlight.Pending()))
			if f := tx.FieldOf(row.Field(e)); f != nil && f.Class != domain.ClassTrait && e.Newest().IsIn() {
				c.in[f.Number]++
				c.members++
			}
			if e.Withheld {
				c.withheld[row.Field(e)]++
			}
		}
		return nil
	})
	_ = tx.Queue.ForEach(func(k, v []byte) error {
		c.pending += uint64(record.BoolByte(len(v) > 0))
		if _, rest, ok := state.UserOf(k); ok && len(rest) == 14 && binary.BigEndian.Uint32(rest) == state.LaneDelete {
			c.deletes.Count(domain.StatePending, 1)
		}
		return nil
	})
	for i, p := range keptPlaces {
		_ = tx.Bucket(p.bucket).ForEach(func(_, frame []byte) error {
			switch ch, err := state.DecodeChange(frame, tx.State.Epochs); {
			case err != nil:
			case ch.Kind == domain.KindReceived:
				c.received++
			default:
				c.changes[i]++
				c.fieldCounts.kept(ch, p.state)
			}
			return nil
		})
	}
	_ = tx.History.ForEach(func(_, frame []byte) error {
		if ch, err := state.DecodeChange(frame, tx.State.Epochs); err == nil {
			c.history++
			*c.closed.Column(ch.State)++
		}
		return nil
	})
	c.located = uint64(engine.Count(tx.Locator))
	return c
}

// settle sets the gauges to the counts, and counts the missing entries as lost, so that both laws of the ledger hold. was
// is the ledger of the damaged file, and located the changes that its locator knew.
func (c *totals) settle(tx *state.Tx, was *state.Ledger, located uint64, report *Salvage) {
	l, saved, lost := &tx.State.Ledger, &report.Saved, &report.Lost
	saved.Users, saved.Members, saved.Pending, saved.History = c.users, c.members, c.pending, c.history
	saved.Parked, saved.Held = c.changes[0]+c.received, c.changes[1]
	saved.Computations = uint64(len(tx.State.Registry.Fields)) - lost.Computations
	lost.Users = less(was.Users, c.users)
	lost.Pending, lost.Held = less(was.Changes.Pending, c.pending), less(was.Changes.Held, c.changes[1])
	lost.Parked = less(was.Changes.Parked+was.Events.Parked, saved.Parked)
	for _, f := range tx.State.Registry.Fields {
		lost.Members += less(f.Members, c.in[f.Number])
		f.Members, f.Held = c.in[f.Number], c.held[f.Number]
		f.Withheld, f.Rollout, f.Paused = c.withheld[f.Number], c.rollout[f.Number], c.paused[f.Number]
		tx.Touch(f)
	}
	gone := lost.Pending + lost.Held + less(was.Changes.Parked, c.changes[0])
	lost.History = less(located, c.located+gone)

	if tx.State.Rules.Selects() { // the consent of some may be lost, and a row may be older than it, than the share, or than a pause
		tx.Put(tx.Bucket(state.BucketMeta), state.MetaConsent, new(state.Comparing).Encode())
	}
	if report.LedgerLost {
		l.Changes = c.closed
	}
	l.Users, l.Tombstones = c.users, uint64(engine.Count(tx.Bucket(state.BucketTombstones)))
	l.Damaged = uint64(engine.Count(tx.Bucket(state.BucketDamaged)))
	l.Changes.Pending, l.Changes.Parked, l.Changes.Held, l.Events.Parked = c.pending, c.changes[0], c.changes[1], c.received
	d := &tx.State.Deletes
	d.Pending, d.Held, d.Parked = c.deletes.Pending, c.deletes.Held, c.deletes.Parked
	tx.PutDeletes()
	settleLost(&l.Changes.Created, &l.Changes.Lost, l.Changes.Sum)
	settleLost(&l.Events.Accepted, &l.Events.Lost, l.Events.Sum)
}

// settleLost makes whole equal to sum, its terms: by the term lost, or by whole itself if more was saved than it says.
func settleLost(whole, lost *uint64, sum func() uint64) {
	if known := sum() - *lost; *whole >= known {
		*lost = *whole - known
	} else {
		*whole = sum()
	}
}
