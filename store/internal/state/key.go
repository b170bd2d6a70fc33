package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
)

// KeysWithPrefix copies the keys first, because deleting moves a cursor.
func KeysWithPrefix(bucket engine.Bucket, prefix []byte) (keys [][]byte) {
	c := bucket.Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	return keys
}

// Partitions is how many parts users are spread over. Keys begin with the partition, so that a part
// can be handed to a lane, a file or another engine later. It is on disk: it never changes.
const Partitions = 64

// UserKey is where everything of a user sorts: partition, length, id. With the length before it no
// id is a prefix of another's keys.
func UserKey(id string) []byte {
	hash := uint32(2166136261) // FNV-1a
	for i := range len(id) {
		hash = (hash ^ uint32(id[i])) * 16777619
	}
	k := make([]byte, 0, 3+len(id)+18)
	k = append(k, byte(hash%Partitions))
	k = binary.BigEndian.AppendUint16(k, uint16(len(id)))
	return append(k, id...)
}

// UserOf returns the id in a key that begins with a userKey, and what follows it.
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

// IDKey is an ID as a key: in order of creation. The epoch is the file's own.
func IDKey(id domain.ID) []byte {
	k := binary.BigEndian.AppendUint64(make([]byte, 0, 10), id.Seq)
	return binary.BigEndian.AppendUint16(k, id.Slot)
}

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
	return append(k, IDKey(id)...)
}

// DueKey places a user in the index of what may leave: endpoint, lane, second, user.
func DueKey(endpoint domain.Endpoint, lane, second uint32, user []byte) []byte {
	return appendDueKey(make([]byte, 0, 9+len(user)), endpoint, lane, second, user)
}

func appendDueKey(k []byte, endpoint domain.Endpoint, lane, second uint32, user []byte) []byte {
	k = append(k, byte(endpoint))
	k = binary.BigEndian.AppendUint32(k, lane)
	k = binary.BigEndian.AppendUint32(k, second)
	return append(k, user...)
}

func DueParts(k []byte) (lane, second uint32, user []byte) {
	return binary.BigEndian.Uint32(k[1:]), binary.BigEndian.Uint32(k[5:]), k[9:]
}

// NotYet is the second under which a cohort change stands in the due index while an older change of its
// user waits on the other endpoint.
const NotYet = ^uint32(0)

func SortedNames(m map[string]json.RawMessage) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

const (
	BlockSize  = 64
	BlockIndex = 0xFFFF
)

func RowKey(user []byte, number uint16) []byte {
	return binary.BigEndian.AppendUint16(append(make([]byte, 0, len(user)+2), user...), number)
}
