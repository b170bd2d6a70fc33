package state

import (
	"bytes"

	"personasync/store/domain"
	"personasync/store/engine"
)

const (
	// ActivityBehind is how far behind a reader may be: beyond, nobody could read it anyway.
	ActivityBehind = 20_000
)

// VerdictsOf is how many records share a value of the bucket: 0 for no verdict, else the fate and one.
const VerdictsOf = 1024

// Verdicts are the outcomes of the records around one.
type Verdicts struct {
	Bucket map[uint64][]byte
}

// ReadVerdicts copies those of the records up to applied that a reader may still want.
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

func (v Verdicts) Of(record uint64) domain.Outcome {
	value := v.Bucket[record/VerdictsOf]
	if at := record % VerdictsOf; at < uint64(len(value)) && value[at] > 0 {
		return domain.Outcome(value[at] - 1)
	}
	return domain.OutcomeUnknown
}

// Verdict notes what a record came to; flushVerdicts writes it.
func (tx *Tx) Verdict(record uint64, f domain.Outcome) {
	if gap := record - tx.outcomes.first - uint64(len(tx.outcomes.list)); gap > VerdictsOf {
		tx.flushVerdicts() // after a restore the numbers go on far away
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
	if bucket == nil || tx.Dry { // an older store on a disk that had no room for it: see addBuckets
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

// PruneVerdicts lets go of those of records that the inbox does not keep any more.
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

// PruneSlice bounds what one call of Prune removes, so that outcomes never wait long behind it.
const PruneSlice = 5000
