package state

import (
	"encoding/binary"

	"personasync/store/engine"
)

// StateBuckets are the buckets that a new state has. LateBuckets came after the first version: a file from before
// lacks them until it is opened. The Meta names are keys of BucketMeta.
var (
	BucketFields = []byte("fields")

	StateBuckets = [][]byte{BucketFields, BucketRows, BucketQueue, BucketDue, BucketLocator, BucketParked, BucketHeld, BucketHistory,
		BucketLeases, BucketMessages, BucketTombstones, BucketSent, BucketJobs, BucketRuns, BucketSamples, BucketVerdicts, BucketJournal, BucketDeletions, BucketLists, BucketDamaged}

	// LateBuckets came after the first version: a file that it wrote lacks them until it is opened.
	LateBuckets = [][]byte{BucketSamples, BucketVerdicts, BucketJournal, BucketDeletions, BucketLists}

	MetaApplied   = []byte("applied")
	MetaLedger    = []byte("ledger")
	MetaRules     = []byte("rules")
	MetaSalt      = []byte("salt")
	MetaLastLease = []byte("flight")
	MetaClosed    = []byte("closed")
	MetaJournal   = []byte("journal")
)

// The buckets of state.db. FORMAT.md, in the package store, describes them.
var (
	BucketRows       = []byte("rows")
	BucketQueue      = []byte("queue")
	BucketDue        = []byte("due")
	BucketLocator    = []byte("locator")
	BucketParked     = []byte("parked")
	BucketHeld       = []byte("held")
	BucketHistory    = []byte("history")
	BucketLeases     = []byte("flights")
	BucketMessages   = []byte("messages")
	BucketTombstones = []byte("tombstones")
	BucketSent       = []byte("sent")
	BucketJobs       = engine.BucketJobs
	BucketMeta       = engine.BucketMeta
	BucketRuns       = []byte("runs")
	BucketSamples    = []byte("samples")
	BucketVerdicts   = []byte("verdicts")
	BucketJournal    = engine.BucketJournal
	BucketDeletions  = []byte("deletions")
	BucketDamaged    = []byte("damaged")
)

// MetaEpochs has the epochs after the first one, each as (first record number, 8 bytes; epoch, 4 bytes). MetaHome
// says where the state last ran; see Arrival.
var (
	MetaEpochs = []byte("epochs") // those beyond the first: ( first record number 8 | epoch 4 )*
	MetaHome   = []byte("home")   // see homeOf
)

// MetaRefusals has the counts of refused requests. An older program ignores it.
var MetaRefusals = []byte("refusals")

// StateMmap is the address space that is reserved for state.db: 64 GiB before the map must grow.
const StateMmap = 64 << 30

// Number reads a number of 8 bytes as NumberKey writes it, 0 from anything else.
func Number(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// NumberKey encodes a number so that keys sort by it.
func NumberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
