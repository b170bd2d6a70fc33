package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"personasync/store/domain"
	"personasync/store/internal/apply"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

// eraseAfter is how long a user whom Segment had deleted waits for the one erasure a day.
const eraseAfter = 24 * time.Hour

// upkeepPoll is how often an erasure looks whether other upkeep has ended.
const upkeepPoll = 50 * time.Millisecond

// ForgetReport says what became of a user, and where the bytes went.
type ForgetReport struct {
	Memberships int    `json:"memberships"`
	Changes     uint64 `json:"changes"` // that waited, were held or parked
	Records     uint64 `json:"records"` // of the inbox that were blanked, those of others forgotten lately included
	Before      int64  `json:"before"`  // bytes of state.db
	After       int64  `json:"after"`
}

// Forget erases a user everywhere in the data directory. What happened up to now and is delivered
// later is ignored; newer news start afresh. It returns once the bytes are gone, which waits for the
// requests under way; cut short, it has forgotten all the same, and the bytes go within a day.
func (s *Store) Forget(ctx context.Context, user string) (r ForgetReport, err error) {
	if user == "" || len(user) > domain.MaxUserID {
		return r, fmt.Errorf("an id has 1 to %d bytes", domain.MaxUserID)
	}
	if err := s.CaughtUp(ctx); err != nil {
		return r, err
	}
	now := s.now()
	err = s.writer.Do(ctx, func(tx *state.Tx) error {
		tx.Now = now
		u, before := tx.User(user), tx.State.Ledger.Changes.Forgotten+tx.State.Ledger.Events.Discarded
		r.Memberships = 0
		for _, n := range apply.BlockNumbers(tx, u) {
			r.Memberships += len(tx.Block(u, n).Entries)
		}
		apply.Forget(tx, u, now)
		r.Changes = tx.State.Ledger.Changes.Forgotten + tx.State.Ledger.Events.Discarded - before
		return nil
	}, nil)
	if err != nil {
		return r, err
	}
	e, err := s.Erase(ctx)
	r.Records, r.Before, r.After = e.Records, e.Before, e.After
	if err != nil {
		err = fmt.Errorf("the user is forgotten, but their bytes are in the files still; they go within a day, or when the order is given again: %w", err)
	}
	return r, err
}

// EraseIfDue erases once a day what Segment had deleted.
func (s *Store) EraseIfDue(ctx context.Context, now time.Time) error {
	var since time.Time
	err := s.look(func(tx *bolt.Tx) error {
		if v := tx.Bucket(state.BucketMeta).Get(apply.MetaErase); len(v) == 16 {
			since = time.Unix(0, int64(binary.BigEndian.Uint64(v)))
		}
		return nil
	})
	age := now.Sub(since)
	if err != nil || since.IsZero() || age < eraseAfter && age >= -outbox.AheadOfClock { // or the clock was set back
		return err
	}
	_, err = s.Erase(ctx)
	return err
}

// Erase takes the bytes of everybody who was forgotten out of the files.
func (s *Store) Erase(ctx context.Context) (r ForgetReport, err error) {
	for {
		err := s.beginUpkeep()
		if err == nil {
			break
		}
		if !errors.Is(err, ErrUnderway) {
			return r, err
		}
		if err := sleep(ctx, upkeepPoll); err != nil {
			return r, err
		}
	}
	defer s.upkeep.Unlock()
	ctx, cancel := s.lifelong(ctx)
	defer cancel()
	before, err := s.eraseMark()
	if err != nil {
		return r, err
	}
	if err := s.landed(ctx); err != nil {
		return r, err
	}
	if r.Records, err = s.eraseInbox(ctx); err != nil {
		return r, fmt.Errorf("erase the received events: %w", datadir.Translate(err))
	}
	c, err := s.compact(ctx, nil)
	if err != nil {
		return r, err
	}
	r.Before, r.After = c.Before, c.After
	return r, s.writer.Do(ctx, func(tx *state.Tx) error {
		meta := tx.Raw.Bucket(state.BucketMeta)
		if bytes.Equal(meta.Get(apply.MetaErase), before) { // else somebody was forgotten meanwhile
			tx.Remove(meta, apply.MetaErase)
		}
		return nil
	}, nil)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) eraseMark() (mark []byte, err error) {
	return mark, s.look(func(tx *bolt.Tx) error {
		mark = bytes.Clone(tx.Bucket(state.BucketMeta).Get(apply.MetaErase))
		return nil
	})
}

// landed waits until every request is answered that is under way now: until then their rows name their users.
func (s *Store) landed(ctx context.Context) error {
	until := uint64(0)
	return s.writer.Await(ctx, func() (landed bool, err error) {
		err = s.look(func(tx *bolt.Tx) error {
			if until == 0 {
				until = state.Number(tx.Bucket(state.BucketMeta).Get(state.MetaFlight))
			}
			k, _ := tx.Bucket(state.BucketFlights).Cursor().First()
			landed = k == nil || state.Number(k) > until
			return nil
		})
		return landed, err
	})
}

// eraseInbox blanks the records of forgotten users in all files but a new one that is begun for it.
func (s *Store) eraseInbox(ctx context.Context) (erased uint64, err error) {
	if err := s.inbox.RotateNow(); err != nil {
		return 0, err
	}
	if err := s.Applied(ctx); err != nil {
		return 0, err
	}
	segments := s.inbox.List()
	for _, g := range segments[:len(segments)-1] {
		n, err := s.eraseSegment(ctx, g)
		if err != nil {
			return erased, err
		}
		erased += n
	}
	return erased, nil
}

// eraseSlice is how much of a file one transaction copies.
const eraseSlice = 4 << 20

// eraseSegment writes a file of the inbox anew, if it speaks of anybody who was forgotten. Prune takes
// files away meanwhile, so one that is gone is no failure.
func (s *Store) eraseSegment(ctx context.Context, g *wal.Segment) (erased uint64, err error) {
	if erased, err = s.eraseChunks(ctx, g, nil); err != nil || erased == 0 {
		return 0, err
	}
	temporary := g.Path + ".new"
	err = boltfile.Fill(temporary, func(db *bolt.DB) error {
		if err := boltfile.Init(db, s.inbox.Epoch, wal.BucketRecords); err != nil {
			return err
		}
		if _, err := s.eraseChunks(ctx, g, db); err != nil {
			return err
		}
		return db.Update(func(tx *bolt.Tx) error { // the last commit, as segment.write leaves it
			return errors.Join(tx.Bucket(wal.BucketRecords).SetSequence(max(g.LastAssigned, g.Last)), wal.StampTxid(tx))
		})
	})
	if err != nil {
		return 0, err
	}
	db, err := wal.OpenFile(temporary, false)
	if err != nil {
		return 0, errors.Join(err, os.Remove(temporary))
	}
	if err := s.inbox.Exchange(g, db, temporary); err != nil {
		return 0, err
	}
	return erased, boltfile.SyncDir(s.dir)
}

// eraseChunks walks a segment and counts what is to be blanked, and copies it so to another file.
func (s *Store) eraseChunks(ctx context.Context, g *wal.Segment, to *bolt.DB) (erased uint64, err error) {
	for from, more := uint64(0), true; more; {
		if err := ctx.Err(); err != nil {
			return erased, context.Cause(ctx)
		}
		var chunks []wal.Chunk
		if chunks, more, err = s.inbox.Chunks(g, from, eraseSlice); err != nil {
			return erased, err
		}
		for i := range chunks {
			n, err := s.blank(&chunks[i])
			if err != nil {
				return erased, err
			}
			erased += n
			from = chunks[i].First + 1
		}
		if to == nil {
			continue
		}
		err := to.Update(func(tx *bolt.Tx) error {
			b := tx.Bucket(wal.BucketRecords)
			b.FillPercent = 1
			for _, c := range chunks {
				if err := b.Put(state.NumberKey(c.First), c.Bytes); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return erased, err
		}
	}
	return erased, nil
}

// blank empties the records of forgotten users in a chunk. What cannot be read is left as it is.
func (s *Store) blank(c *wal.Chunk) (erased uint64, err error) {
	var out []byte
	err = s.look(func(tx *bolt.Tx) error {
		t := tombs{tx.Bucket(state.BucketTombstones), tx.Bucket(state.BucketMeta).Get(state.MetaSalt)}
		f := wal.Frames{Rest: c.Bytes}
		for f.Next() {
			frame, gone := t.blank(f.Frame)
			if gone {
				erased++
			}
			out = wire.AppendBytes(out, frame)
		}
		if f.Err != nil {
			out, erased = nil, 0
		}
		return nil
	})
	if erased > 0 {
		c.Bytes = out
	}
	return erased, err
}

// tombs answers who was forgotten, and when.
type tombs struct {
	bucket *bolt.Bucket
	salt   []byte
}

func (t tombs) cover(user string, at time.Time) bool {
	if user == "" {
		return false
	}
	return slices.ContainsFunc(apply.StoneTimes(t.bucket.Get(apply.Tombstone(t.salt, user))), func(stone int64) bool { return at.UnixNano() <= stone })
}

func (t tombs) coverEvent(e *domain.Event) bool {
	return t.cover(e.User.ID, e.Time) || t.cover(e.Anonymous.ID, e.Time) || t.cover(e.Email.ID, e.Time)
}

// blank returns what stays of a record.
func (t tombs) blank(frame []byte) (_ []byte, gone bool) {
	rec, err := record.DecodeRecord(0, frame)
	switch {
	case err != nil:
	case rec.Event != nil, rec.Again != nil:
		if t.coverEvent(rec.Told()) {
			return wire.Seal([]byte{record.RecordErased}, 0), true
		}
	case rec.Repair != nil:
		n := len(rec.Repair.Missing)
		rec.Repair.Missing = slices.DeleteFunc(rec.Repair.Missing, func(m record.Told) bool { return t.cover(m.User, rec.Repair.Received) })
		if len(rec.Repair.Missing) < n {
			return rec.Repair.Encode(nil), true
		}
	case rec.Order != nil:
		n := len(rec.Order.Words)
		rec.Order.Words = slices.DeleteFunc(rec.Order.Words, func(m record.JobTarget) bool { return t.cover(m.User, rec.Order.Time) })
		switch left := len(rec.Order.Words); {
		case left == 0 && n > 0: // without users an order may mean something else
			return wire.Seal([]byte{record.RecordErased}, 0), true
		case left < n:
			return record.AppendOrder(nil, rec.Order), true
		}
	}
	return frame, false
}

// removeHalfErased removes what a crash left of a file that was being written anew.
func (s *Store) removeHalfErased() {
	half, _ := boltfile.Named(s.dir, "inbox-*.db.new")
	for _, path := range half {
		os.Remove(path)
	}
}
