package state

import (
	"encoding/binary"

	"personasync/store/engine"
)

// Buckets of state.db. FORMAT.md says what is in them.
var (
	BucketFields = []byte("fields")

	StateBuckets = [][]byte{BucketFields, BucketRows, BucketQueue, BucketDue, BucketLocator, BucketParked, BucketHeld, BucketHistory,
		BucketFlights, BucketMessages, BucketTombstones, BucketSent, BucketJobs, BucketRuns, BucketSamples, BucketVerdicts, BucketDamaged}

	// LateBuckets came after the first version: a file that it wrote lacks them until it is opened.
	LateBuckets = [][]byte{BucketSamples, BucketVerdicts}

	MetaApplied = []byte("applied")
	MetaLedger  = []byte("ledger")
	MetaRules   = []byte("rules")
	MetaSalt    = []byte("salt")
	MetaFlight  = []byte("flight")
	MetaClosed  = []byte("closed")
)

var (
	BucketRows       = []byte("rows")
	BucketQueue      = []byte("queue")
	BucketDue        = []byte("due")
	BucketLocator    = []byte("locator")
	BucketParked     = []byte("parked")
	BucketHeld       = []byte("held")
	BucketHistory    = []byte("history")
	BucketFlights    = []byte("flights")
	BucketMessages   = []byte("messages")
	BucketTombstones = []byte("tombstones")
	BucketSent       = []byte("sent")
	BucketJobs       = engine.BucketJobs
	BucketMeta       = engine.BucketMeta
	BucketRuns       = []byte("runs")
	BucketSamples    = []byte("samples")
	BucketVerdicts   = []byte("verdicts")
	BucketDamaged    = []byte("damaged")
)

var (
	MetaEpochs = []byte("epochs") // those beyond the first: ( first record number 8 | epoch 4 )*
	MetaHome   = []byte("home")   // see homeOf
)

// MetaRefusals has the counts. An older program passes over it.
var MetaRefusals = []byte("refusals")

// StateMmap is the address space reserved for state.db: room for 64 GiB before the map must grow.
const StateMmap = 64 << 30

func Number(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func NumberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
