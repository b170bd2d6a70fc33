package engine

import (
	"bytes"
	"iter"
)

// State is an ordered key-value store. One caller at a time may call Update; View may be called concurrently.
type State interface {
	// View runs f in a read-only transaction, which sees one moment. A reader must be short: everything it sees
	// cannot be given back before it ends.
	View(f func(Tx) error) error

	// Update runs f in a transaction and commits it unless f fails. After a nil error everything that f
	// wrote is durable. After any other error either nothing was written or the outcome is unknown: read
	// the state back before the next Update.
	Update(f func(Tx) error) error

	// Close waits for the readers, and closes.
	Close() error
}

// Tx is a transaction. It belongs to the function that it was given to, and so does every slice read in it.
type Tx interface {
	Writable() bool

	// Bucket returns a bucket of the top level, nil if there is none of that name.
	Bucket(name []byte) Bucket

	// Check returns wire.ErrDamaged if the small buckets that everything else relies on, the position in the
	// inbox among them, are not as they were written.
	Check() error
}

// Bucket is a map from keys to values, in the order of the keys. A key is not changed by the bucket, and may be
// used again by the caller at once; a value that was put must not change before the transaction ends.
type Bucket interface {
	// Get returns the value of a key, nil if there is none.
	Get(key []byte) []byte
	Put(key, value []byte) error
	// Delete removes a key. It is no error if there is none.
	Delete(key []byte) error
	// Cursor returns a cursor that stands nowhere yet. A cursor is lost when its bucket changes.
	Cursor() Cursor
	// Want is a hint that the keys from the first of each two up to the second, which is not among them, will be read: at
	// least the first few. It is for an engine to which each read is a long way. One that has no use for it calls nothing.
	Want(ranges iter.Seq2[[]byte, []byte])
	// ForEach calls f for every key in order, until f fails. The value of an inner bucket is nil.
	ForEach(f func(key, value []byte) error) error

	// Inner returns a bucket within this one, nil if there is none of that name.
	Inner(name []byte) Bucket
	// MakeInner is Inner, and makes the bucket if there is none.
	MakeInner(name []byte) (Bucket, error)
	// DropInner removes a bucket within this one, with all that is in it.
	DropInner(name []byte) error
}

// Cursor walks a bucket. Each method returns the key and value where the cursor stands then, and a nil key at the
// end; the value of an inner bucket is nil.
type Cursor interface {
	First() (key, value []byte)
	Last() (key, value []byte)
	// Seek goes to a key, or to the next one behind it.
	Seek(key []byte) (found, value []byte)
	Next() (key, value []byte)
	Prev() (key, value []byte)
	// Within is a hint for Seek and Next, until the next one: keys behind all that begin with this prefix are of no use, and
	// may be missing. The prefix must not change meanwhile.
	Within(prefix []byte)
}

// The buckets that Check is about, and the keys of the first under which the epoch of the store and the version of its
// format stand, as 4 bytes each.
var (
	BucketMeta = []byte("meta")
	BucketJobs = []byte("jobs")
	MetaEpoch  = []byte("epoch")
	MetaFormat = []byte("format")

	// MetaWorkspace is the workspace of MoEngage that the store is sent to.
	MetaWorkspace = []byte("workspace")
)

// Format is the version of the data, whichever engine keeps it. It is raised when an older program could not read it.
const Format = 2

// BucketJournal only grows at its end, so an engine need not leave room in its pages.
var BucketJournal = []byte("journal")

// Beginning returns the ranges of the keys that begin with prefixes; see Bucket.Want.
func Beginning(prefixes iter.Seq[[]byte]) iter.Seq2[[]byte, []byte] {
	return func(yield func(from, to []byte) bool) {
		for p := range prefixes {
			if !yield(p, Beyond(p)) {
				return
			}
		}
	}
}

// Beyond returns the first key behind all that begin with a prefix; nil: there is none.
func Beyond(prefix []byte) []byte {
	end := bytes.TrimRight(prefix, "\xff")
	if len(end) == 0 {
		return nil
	}
	end = bytes.Clone(end)
	end[len(end)-1]++
	return end
}

// Count returns how many keys a bucket has. It visits them all.
func Count(b Bucket) (n int) {
	_ = b.ForEach(func(_, _ []byte) error { n++; return nil })
	return n
}
