package apply

import (
	"encoding/json"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Record applies one record. Its position is written with the transaction, so each record takes effect once.
func Record(tx *state.Tx, rec record.Record, frame []byte) {
	tx.State.Applied, tx.Bulk = rec.Seq, rec.Event == nil
	switch {
	case rec.Rules != nil:
		applyRules(tx, rec.Rules)
		return
	case rec.Repair != nil:
		applyRepair(tx, rec.Seq, rec.Repair)
		return
	case rec.Action != nil:
		applyAction(tx, rec.Seq, rec.Action)
		return
	case rec.Order != nil:
		ApplyOrder(tx, rec.Seq, rec.Order)
		return
	case rec.Erased:
		return // erased records were applied before
	}
	l := &tx.State.Ledger.Events
	if rec.Again != nil {
		applyAgain(tx, rec.Seq, rec.Again)
		return
	}
	if rec.Event == nil { // acknowledged, and lost before it was applied
		l.Accepted++
		l.Lost++
		return
	}
	tx.Now = rec.Event.Received
	l.Accepted++
	came := applyEvent(tx, &outbox.Cause{Seq: rec.Seq, Why: domain.CauseEvent, Event: rec.Event}, frame)
	tx.Verdict(rec.Seq, came)
	l.Count(came)
}

// Damaged parks a record with a wrong checksum. It was acknowledged, so it is counted.
func Damaged(tx *state.Tx, seq uint64, frame []byte, cause error) {
	tx.State.Applied = seq
	tx.State.Ledger.Events.Accepted++
	tx.State.Ledger.Events.Parked++
	tx.Log.Error("a corrupt record of the inbox was parked", "record", seq, "err", cause)
	tx.Verdict(seq, domain.OutcomeParked)
	outbox.ParkEvent(tx, domain.ID{Epoch: tx.State.Epochs.Of(seq), Seq: seq}, frame, &domain.Event{Received: tx.Now}, "", "corrupt", "its checksum does not hold: the disk changed it after it was written")
}

// Missing counts n acknowledged records that no file of the inbox has: somebody removed one, or put back an older
// state.db. The size of a restore's jump says nothing about the number of records, so that is only logged.
func Missing(tx *state.Tx, n uint64) {
	tx.Log.Error("acknowledged records are missing from the inbox and cannot be applied", "first", tx.State.Applied+1, "last", tx.State.Applied+n)
	if n < record.RestoreJump {
		tx.State.Ledger.Events.Accepted += n
		tx.State.Ledger.Events.Lost += n
	}
}

// applyRules makes rules the ones by which later records are applied.
func applyRules(tx *state.Tx, r *domain.Rules) {
	bare := *r
	bare.Lists = nil // in a bucket of their own
	text, err := json.Marshal(&bare)
	if err != nil {
		tx.Err = err
		return
	}
	anew := askedAnew(tx.State.Registry, &tx.State.Rules, r)
	tx.State.Rules = *r
	tx.Put(tx.Bucket(state.BucketMeta), state.MetaRules, text)
	state.PutLists(tx, r.Lists)
	tx.State.Registry.SettleOwners(r)
	outbox.ReleaseConflicts(tx)
	if anew {
		compareAnew(tx)
	}
}
