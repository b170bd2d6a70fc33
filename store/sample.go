package store

import (
	"context"
	"errors"
	"slices"

	bolt "go.etcd.io/bbolt"

	"personasync/store/domain"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/state"
)

// KeepSample keeps s as that of its minute, and lets go of those older than a day.
func (s *Store) KeepSample(ctx context.Context, sample query.Sample) error {
	return s.writer.Do(ctx, func(tx *state.Tx) error {
		kept := tx.Raw.Bucket(state.BucketSamples)
		if kept == nil {
			return nil // an older store on a disk that had no room for the bucket: see openState
		}
		minute := query.SampleNumber(sample.At)
		tx.Put(kept, state.NumberKey(minute), sample.Encode(nil))
		for _, key := range query.Outdated(kept, minute) {
			tx.Remove(kept, key)
		}
		return tx.Err
	}, nil)
}

// addBuckets makes the buckets that an older version did not know. It writes nothing where they are
// there already; without room the store goes on without them.
func (s *Store) addBuckets() error {
	missing := false
	err := s.db.View(func(tx *bolt.Tx) error {
		missing = slices.ContainsFunc(state.StateBuckets, func(name []byte) bool { return tx.Bucket(name) == nil })
		return nil
	})
	if err != nil || !missing {
		return err
	}
	err = datadir.Translate(s.db.Update(func(tx *bolt.Tx) error {
		for _, name := range state.StateBuckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	}))
	if errors.Is(err, domain.ErrFull) {
		s.log.Error("the disk is full: the history of the status page is kept from the next start on", "err", err)
		return nil
	}
	return err
}
