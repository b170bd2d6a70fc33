package state

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
