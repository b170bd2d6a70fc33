//go:build linux

package contender

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"net/http"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"personasync/agent/ingest"
	"personasync/store/domain"
)

// boltInbox stores membership and outbox in one bbolt file, in the acknowledged transaction.
type boltInbox struct{ db *bolt.DB }

var (
	_ ingest.Inbox = boltInbox{}

	boltMembership = []byte("membership")
	boltOutbox     = []byte("outbox")
)

func boltHandler(dir string, log *slog.Logger) (http.Handler, func() error, error) {
	db, err := bolt.Open(filepath.Join(dir, "bolt.db"), 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, InitialMmapSize: 16 << 30})
	if err != nil {
		return nil, nil, err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(boltMembership); err != nil {
			return err
		}
		_, err := tx.CreateBucketIfNotExists(boltOutbox)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return Ingest(boltInbox{db}, log), db.Close, nil
}

// Append implements ingest.Inbox.
func (in boltInbox) Append(_ context.Context, events ...*domain.Event) error {
	return in.db.Batch(func(tx *bolt.Tx) error {
		membership, outbox := tx.Bucket(boltMembership), tx.Bucket(boltOutbox)
		outbox.FillPercent = 1 // its keys only grow
		for _, e := range events {
			if err := boltApply(membership, outbox, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// boltApply writes the changes of an event. A membership is its time and its flag.
func boltApply(membership, outbox *bolt.Bucket, e *domain.Event) error {
	user, computation, in, ok := membershipOf(e)
	if !ok {
		return nil
	}
	key := []byte(user + "\x00" + computation)
	value := binary.BigEndian.AppendUint64(nil, uint64(e.Time.UnixNano()))
	value = append(value, 0)
	if in {
		value[8] = 1
	}
	was := membership.Get(key)
	if was != nil && (bytes.Compare(was[:8], value[:8]) >= 0 || was[8] == value[8]) {
		return nil
	}
	if err := membership.Put(key, value); err != nil {
		return err
	}
	number, err := outbox.NextSequence()
	if err != nil {
		return err
	}
	return outbox.Put(binary.BigEndian.AppendUint64(nil, number), e.Raw)
}

// CountRefusal implements ingest.Inbox.
func (boltInbox) CountRefusal(domain.Refusal) {}
