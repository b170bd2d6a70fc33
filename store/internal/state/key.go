package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
)

// KeysWithPrefix copies the keys under a prefix before the caller deletes any, because deleting moves a cursor.
func KeysWithPrefix(bucket engine.Bucket, prefix []byte) (keys [][]byte) {
	c := bucket.Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	return keys
}

// Partitions is how many parts the users are spread over. Each key of a user begins with the part, so that one could
// move to a file or an engine of its own. It is on disk and never changes.
const Partitions = 64

// UserKey is the prefix of every key of a user: partition, length, id. The length keeps one id from being a prefix
// of another's keys.
func UserKey(id string) []byte { return appendUserKey(make([]byte, 0, 3+len(id)+18), id) }

func appendUserKey(k []byte, id string) []byte {
	hash := uint32(2166136261) // FNV-1a
	for i := range len(id) {
		hash = (hash ^ uint32(id[i])) * 16777619
	}
	k = append(k, byte(hash%Partitions))
	k = binary.BigEndian.AppendUint16(k, uint16(len(id)))
	return append(k, id...)
}

// UserOf returns the id in a key that begins with a UserKey, and the bytes behind it.
func UserOf(key []byte) (id string, rest []byte, ok bool) {
	if len(key) < 3 {
		return "", nil, false
	}
	n := int(binary.BigEndian.Uint16(key[1:3]))
	if len(key) < 3+n {
		return "", nil, false
	}
	return string(key[3 : 3+n]), key[3+n:], true
}

// Tombstone is the key of an erased user: a salted hash, which does not give the id away.
func Tombstone(salt []byte, id string) []byte {
	sum := sha256.Sum256(slices.Concat(salt, []byte(id)))
	return sum[:16]
}

// IDKey encodes an id so that keys sort by creation. The epoch follows from the record number.
func IDKey(id domain.ID) []byte { return appendIDKey(make([]byte, 0, 10), id) }

func appendIDKey(k []byte, id domain.ID) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(k, id.Seq), id.Slot)
}

// IDFromKey reads what IDKey wrote, the zero id from anything else.
func IDFromKey(k []byte, epoch record.Epochs) domain.ID {
	if len(k) != 10 {
		return domain.ID{}
	}
	return domain.ID{Epoch: epoch.Of(binary.BigEndian.Uint64(k)), Seq: binary.BigEndian.Uint64(k), Slot: binary.BigEndian.Uint16(k[8:])}
}

// QueueKey places an event of a user within a lane, in applied order.
func QueueKey(user []byte, lane uint32, id domain.ID) []byte {
	k := make([]byte, 0, len(user)+14)
	k = append(k, user...)
	k = binary.BigEndian.AppendUint32(k, lane)
	return appendIDKey(k, id)
}

// DueKey places a user in the due index: endpoint, lane, second, user.
func DueKey(endpoint domain.Endpoint, lane, second uint32, user []byte) []byte {
	return appendDueKey(make([]byte, 0, 9+len(user)), endpoint, lane, second, user)
}

func appendDueKey(k []byte, endpoint domain.Endpoint, lane, second uint32, user []byte) []byte {
	k = append(k, byte(endpoint))
	k = binary.BigEndian.AppendUint32(k, lane)
	k = binary.BigEndian.AppendUint32(k, second)
	return append(k, user...)
}

// DueParts splits a key that DueKey made. The key must be longer than 9 bytes.
func DueParts(k []byte) (lane, second uint32, user []byte) {
	return binary.BigEndian.Uint32(k[1:]), binary.BigEndian.Uint32(k[5:]), k[9:]
}

// NotYet is the second in the due index of a cohort change while an older change of its user is pending on the other
// endpoint.
const NotYet = ^uint32(0)

// SortedNames returns the names of a JSON object in order, so that applying it does not depend on the order of a
// map.
func SortedNames(m map[string]json.RawMessage) []string {
	return slices.Sorted(maps.Keys(m))
}

// BlockSize is how many fields share a membership row. BlockIndex is the number of the user's pending-index row.
const (
	BlockSize  = 64
	BlockIndex = 0xFFFF
)

// RowKey is the key of a user's row by its number.
func RowKey(user []byte, number uint16) []byte {
	return binary.BigEndian.AppendUint16(append(make([]byte, 0, len(user)+2), user...), number)
}

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

// BucketLists has the sets of users that the rules name, by their names. The rules themselves are in the small bucket
// that every transaction writes.
var BucketLists = []byte("lists")

// MetaDeletes has Deletes. An older program ignores it.
var MetaDeletes = []byte("deletes")
