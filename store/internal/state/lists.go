package state

import (
	"bytes"
	"maps"
	"slices"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/wire"
)

const listVersion byte = 1

// PutLists makes lists the ones that are kept.
func PutLists(tx *Tx, lists map[string]domain.UserList) {
	bucket := tx.Bucket(BucketLists)
	for _, name := range KeysWithPrefix(bucket, nil) {
		if _, stays := lists[string(name)]; !stays {
			tx.Remove(bucket, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		frame := wire.SealKeyed(append([]byte{listVersion}, lists[name]...), 0, []byte(name))
		if !bytes.Equal(bucket.Get([]byte(name)), frame) {
			tx.Put(bucket, []byte(name), frame)
		}
	}
}

// ReadLists reads the lists that are kept. A corrupt one counts as lost: nobody is on it, and the next start, which
// compares the rules with the configuration, writes it again.
func ReadLists(tx engine.Tx) map[string]domain.UserList {
	bucket := tx.Bucket(BucketLists)
	if bucket == nil {
		return nil // an older version wrote none
	}
	var lists map[string]domain.UserList
	_ = bucket.ForEach(func(name, frame []byte) error {
		if list, err := DecodeList(name, frame); err == nil {
			if lists == nil {
				lists = make(map[string]domain.UserList)
			}
			lists[string(name)] = list
		}
		return nil
	})
	return lists
}

// DecodeList reads a list that is kept under a name.
func DecodeList(name, frame []byte) (domain.UserList, error) {
	r, err := wire.UnsealKeyed(frame, listVersion, name)
	return bytes.Clone(r.Rest()), err
}
