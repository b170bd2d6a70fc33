package repair

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"

	"personasync/store/engine"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/record"
	"personasync/store/internal/refusal"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
)

// settleMeta writes the bucket meta of the new file from the entries that were found of the old one.
func (q *stateScanner) settleMeta(inbox *wal.Log) error {
	trusted := q.metaHolds()
	if v := q.found.meta[string(boltfile.MetaEpoch)]; q.epoch == 0 && len(v) == 4 {
		q.epoch = binary.BigEndian.Uint32(v)
	}
	if q.epoch == 0 {
		q.epoch = rand.Uint32() | 1
	}
	_, ledgerErr := state.DecodeLedger(q.found.meta[string(state.MetaLedger)])
	_, _, refusalsErr := refusal.Decode(q.found.meta[string(state.MetaRefusals)])
	q.report.LedgerLost = ledgerErr != nil
	applied, flight := state.Number(q.found.meta[string(state.MetaApplied)]), state.Number(q.found.meta[string(state.MetaLastLease)])
	position := applied // number of the record that counts as the last one applied
	if !trusted || applied < q.found.highest {
		q.report.PositionLost = true
		position = q.found.highest
	}
	if !trusted {
		flight = uint64(q.report.At.Unix()) // higher than any number assigned
	}
	rules := q.found.meta[string(state.MetaRules)]
	if q.report.RulesLost = !trusted && position > 0; q.report.RulesLost {
		rules = rulesIn(inbox, position)
	}
	return q.db.Update(func(tx engine.Tx) error {
		meta := tx.Bucket(state.BucketMeta)
		keep := func(k, v []byte, usable bool) error {
			if usable && len(v) > 0 {
				return meta.Put(k, v)
			}
			return nil
		}
		return errors.Join(
			keep(state.MetaLedger, q.found.meta[string(state.MetaLedger)], ledgerErr == nil),
			keep(state.MetaRefusals, q.found.meta[string(state.MetaRefusals)], refusalsErr == nil),
			keep(state.MetaRules, rules, json.Valid(rules)),
			keep(state.MetaSalt, q.found.meta[string(state.MetaSalt)], len(q.found.meta[string(state.MetaSalt)]) == 16),
			keep(metaSalvage, q.found.meta[string(metaSalvage)], json.Valid(q.found.meta[string(metaSalvage)])),
			keep(engine.MetaWorkspace, q.found.meta[string(engine.MetaWorkspace)], true),
			keep(state.MetaEpochs, q.found.meta[string(state.MetaEpochs)], len(q.found.meta[string(state.MetaEpochs)])%12 == 0),
			meta.Put(boltfile.MetaEpoch, binary.BigEndian.AppendUint32(nil, q.epoch)),
			meta.Put(state.MetaApplied, state.NumberKey(position)),
			meta.Put(state.MetaClosed, state.NumberKey(q.found.newest)),
			meta.Put(state.MetaLastLease, state.NumberKey(flight)),
		)
	})
}

// rulesIn returns the newest rules in the inbox up to a record, or the first behind it; nil without any.
func rulesIn(inbox *wal.Log, applied uint64) (text []byte) {
	for from := uint64(1); ; {
		records, err := inbox.Read(from, 1<<20)
		if err != nil || len(records) == 0 {
			return text
		}
		for _, r := range records {
			if rec, err := record.DecodeRecord(r.Seq, r.Frame); err == nil && rec.Rules != nil && (r.Seq <= applied || text == nil) {
				text, _ = json.Marshal(rec.Rules)
			}
		}
		from = records[len(records)-1].Seq + 1
	}
}

// metaHolds reports whether the seal of the old meta is correct.
func (q *stateScanner) metaHolds() (holds bool) {
	_ = q.db.Update(func(tx engine.Tx) error {
		meta := tx.Bucket(state.BucketMeta)
		for _, k := range state.KeysWithPrefix(meta, nil) {
			if err := meta.Delete(k); err != nil {
				return err
			}
		}
		for k, v := range q.found.meta {
			if err := meta.Put([]byte(k), v); err != nil {
				return err
			}
		}
		holds = tx.Check() == nil
		return errRollback
	})
	return holds
}

var errRollback = errors.New("nothing of this is kept")
