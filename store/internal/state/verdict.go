package state

import (
	"bytes"

	"personasync/store/domain"
	"personasync/store/engine"
)

// ActivityBehind is how many records a reader of the activity may be behind. The activity has nothing older.
const (
	// ActivityBehind is how far behind a reader may be: beyond, nobody could read it anyway.
	ActivityBehind = 20_000
)

// VerdictsOf is how many records share a value of the bucket. A byte is 0 for no outcome, else the outcome plus one.
const VerdictsOf = 1024

// Verdicts are the outcomes of the latest records.
type Verdicts struct {
	Bucket map[uint64][]byte
}

// ReadVerdicts copies the outcomes up to record applied that a reader may still want.
func ReadVerdicts(bucket engine.Bucket, applied uint64) Verdicts {
	v := Verdicts{make(map[uint64][]byte)}
	if bucket == nil {
		return v
	}
	last := applied / VerdictsOf
	for n := last - min(last, ActivityBehind/VerdictsOf+1); n <= last; n++ {
		if value := bucket.Get(NumberKey(n)); value != nil {
			v.Bucket[n] = bytes.Clone(value)
		}
	}
	return v
}

// Of returns the outcome of a record, OutcomeUnknown when there is none.
func (v Verdicts) Of(record uint64) domain.Outcome {
	value := v.Bucket[record/VerdictsOf]
	if at := record % VerdictsOf; at < uint64(len(value)) && value[at] > 0 {
		return domain.Outcome(value[at] - 1)
	}
	return domain.OutcomeUnknown
}

// Verdict notes the outcome of a record; Flush writes it. Records must come in order.
func (tx *Tx) Verdict(record uint64, f domain.Outcome) {
	if gap := record - tx.outcomes.first - uint64(len(tx.outcomes.list)); gap > VerdictsOf {
		tx.flushVerdicts() // the numbers jump after a restore
	}
	if len(tx.outcomes.list) == 0 {
		tx.outcomes.first = record
	}
	for tx.outcomes.first+uint64(len(tx.outcomes.list)) < record {
		tx.outcomes.list = append(tx.outcomes.list, 0)
	}
	tx.outcomes.list = append(tx.outcomes.list, byte(f)+1)
}

func (tx *Tx) flushVerdicts() {
	bucket := tx.Bucket(BucketVerdicts)
	if bucket == nil || tx.Dry { // a file of an older version, on a full disk
		tx.outcomes.list = tx.outcomes.list[:0]
		return
	}
	for at := tx.outcomes.first; len(tx.outcomes.list) > 0; {
		n, within := at/VerdictsOf, int(at%VerdictsOf)
		some := tx.outcomes.list[:min(len(tx.outcomes.list), VerdictsOf-within)]
		value := make([]byte, within, VerdictsOf)
		copy(value, bucket.Get(NumberKey(n)))
		tx.Put(bucket, NumberKey(n), append(value, some...))
		tx.outcomes.list, at = tx.outcomes.list[len(some):], at+uint64(len(some))
	}
}

// PruneVerdicts removes outcomes of records before first, which the inbox no longer has.
func PruneVerdicts(tx *Tx, first uint64) {
	bucket := tx.Bucket(BucketVerdicts)
	if bucket == nil {
		return
	}
	var gone [][]byte
	c := bucket.Cursor()
	for k, _ := c.First(); k != nil && len(gone) < PruneSlice && Number(k)+1 <= first/VerdictsOf; k, _ = c.Next() {
		gone = append(gone, bytes.Clone(k))
	}
	for _, k := range gone {
		tx.Remove(bucket, k)
	}
}

// PruneSlice bounds what one call of a pruning function removes, so that settlements never wait long behind it.
const PruneSlice = 5000
