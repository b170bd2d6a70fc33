package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/apply"
	"personasync/store/internal/datadir"
	"personasync/store/internal/outbox"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// Forget erases a user everywhere in the data directory. Events of before that come later are ignored; newer ones begin
// anew. It returns once the bytes are gone, which waits for the requests under way. Cut short, the user is forgotten all
// the same, and the bytes go within a day.
func (s *Store) Forget(ctx context.Context, user string) (r ForgetReport, err error) {
	if err := s.CaughtUp(ctx); err != nil {
		return r, err
	}
	return s.upkeep.forget(ctx, user, "")
}

// ForgetEverywhere is Forget that also has the user deleted at MoEngage, on the order of an operator whose name is by. The
// delete is on disk before it returns; MoEngage is told of it later, and the files hold the id until then.
func (s *Store) ForgetEverywhere(ctx context.Context, user, by string) (r ForgetReport, err error) {
	if err := s.CaughtUp(ctx); err != nil {
		return r, err
	}
	return s.upkeep.forget(ctx, user, by)
}

// EraseIfDue removes once a day the bytes of users whom Segment deleted.
func (s *Store) EraseIfDue(ctx context.Context, now time.Time) error {
	return s.upkeep.eraseIfDue(ctx, now)
}

// eraseAfter is how long the bytes of a user whom Segment deleted may stay: they go with the one erasure a day.
const eraseAfter = 24 * time.Hour

// upkeepPoll is how often an erasure looks whether other upkeep has ended.
const upkeepPoll = 50 * time.Millisecond

// ForgetReport says how much was erased of a user.
type ForgetReport struct {
	Memberships int    `json:"memberships"`
	Changes     uint64 `json:"changes"` // pending, held or parked ones
	Journal     uint64 `json:"journal"` // enters and exits of the journal
	Records     uint64 `json:"records"` // of the inbox that were blanked, those of other users forgotten lately included
	Before      int64  `json:"before"`  // bytes of state.db
	After       int64  `json:"after"`
	Engine      string `json:"engine,omitempty"` // postgres; absent with files

	// Deletion is the delete at MoEngage that was ordered with it, or the one before that makes another needless. One that
	// is open is named without an order, too: until it is closed, the files hold the user's id.
	Deletion *domain.Deletion `json:"deletion,omitempty"`
}

// forget is Store.Forget, once everything received is applied. by is the operator who wants the user deleted at MoEngage,
// too; "" is nobody. That order is on disk before the user's bytes are erased: an erasure takes a while, and may be cut off.
func (u *upkeep) forget(ctx context.Context, user, by string) (r ForgetReport, err error) {
	if user == "" || len(user) > domain.MaxUserID {
		return r, fmt.Errorf("an id has 1 to %d bytes", domain.MaxUserID)
	}
	now := u.now()
	err = u.writer.Do(ctx, func(tx *state.Tx) error {
		tx.Now = now
		u, before := tx.User(user), tx.State.Ledger.Changes.Forgotten+tx.State.Ledger.Events.Discarded
		r.Memberships = 0
		for _, n := range state.BlockNumbers(tx, u) {
			r.Memberships += len(tx.Block(u, n).Entries)
		}
		r.Journal = state.ForgetJournal(tx, u)
		apply.Forget(tx, u, now)
		r.Changes = tx.State.Ledger.Changes.Forgotten + tx.State.Ledger.Events.Discarded - before
		return nil
	}, nil)
	if err == nil && by != "" {
		err = u.orderDeletion(ctx, user, by, now)
	}
	if err != nil {
		return r, err
	}
	if list, err := u.r.Deletions(user); err == nil && len(list) > 0 && (by != "" || list[0].User != "") {
		r.Deletion = &list[0]
	}
	if u.db == nil {
		r.Engine = "postgres"
	}
	e, err := u.erase(ctx)
	r.Records, r.Before, r.After = e.Records, e.Before, e.After
	if by != "" && r.Records > 0 {
		r.Records-- // the order itself
	}
	if err != nil {
		err = fmt.Errorf("the user is forgotten, but their bytes are in the files still; they go within a day, or when the order is given again: %w", err)
	}
	return r, err
}

// orderDeletion has a user deleted at MoEngage, and returns once the change is made.
func (u *upkeep) orderDeletion(ctx context.Context, user, by string, now time.Time) error {
	o := &record.Order{Verb: record.OrderDelete, Received: now, Time: now, By: by, Targets: []record.JobTarget{{User: user}}}
	err := datadir.Translate(u.records.AppendOther(ctx, record.AppendOrder(nil, o)))
	if err == nil {
		err = u.writer.AwaitApplied(ctx, u.records.Last())
	}
	if err != nil {
		return fmt.Errorf("the user is forgotten here, and the delete at MoEngage may not be queued: give the order again: %w", err)
	}
	return nil
}

// eraseIfDue is Store.EraseIfDue.
func (u *upkeep) eraseIfDue(ctx context.Context, now time.Time) error {
	var since time.Time
	err := u.r.Look(func(tx engine.Tx) error {
		if v := tx.Bucket(state.BucketMeta).Get(outbox.MetaErase); len(v) == 16 {
			since = time.Unix(0, int64(binary.BigEndian.Uint64(v)))
		}
		return nil
	})
	age := now.Sub(since)
	if err != nil || since.IsZero() || age < eraseAfter && age >= -outbox.AheadOfClock { // or the clock was set back
		return err
	}
	_, err = u.erase(ctx)
	return err
}

// erase removes the bytes of every forgotten user from the files.
func (u *upkeep) erase(ctx context.Context) (r ForgetReport, err error) {
	ctx, end, err := u.beginErase(ctx)
	if err != nil {
		return r, err
	}
	defer end()
	before, err := u.eraseMark()
	if err != nil {
		return r, err
	}
	if err := u.awaitLeases(ctx); err != nil {
		return r, err
	}
	if r.Records, err = u.eraseInbox(ctx); err != nil {
		return r, fmt.Errorf("erase the received events: %w", datadir.Translate(err))
	}
	if u.db != nil {
		c, err := u.compactNow(ctx, nil)
		if err != nil {
			return r, err
		}
		r.Before, r.After = c.Before, c.After
	}
	return r, u.writer.Do(ctx, func(tx *state.Tx) error {
		meta := tx.Bucket(state.BucketMeta)
		if bytes.Equal(meta.Get(outbox.MetaErase), before) { // else somebody was forgotten meanwhile
			tx.Remove(meta, outbox.MetaErase)
		}
		return nil
	}, nil)
}

// beginErase is begin, but waits for other upkeep to end.
func (u *upkeep) beginErase(ctx context.Context) (_ context.Context, end func(), err error) {
	for {
		work, end, err := u.begin(ctx)
		if !errors.Is(err, ErrUnderway) {
			return work, end, err
		}
		select {
		case <-time.After(upkeepPoll):
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// eraseMark reads the mark that says since when bytes of forgotten users are in the files; nil without such bytes.
func (u *upkeep) eraseMark() (mark []byte, err error) {
	return mark, u.r.Look(func(tx engine.Tx) error {
		mark = bytes.Clone(tx.Bucket(state.BucketMeta).Get(outbox.MetaErase))
		return nil
	})
}

// awaitLeases waits until every lease that is open now is settled: until then their rows name their users.
func (u *upkeep) awaitLeases(ctx context.Context) error {
	until := uint64(0)
	return u.writer.Await(ctx, func() (settled bool, err error) {
		err = u.r.Look(func(tx engine.Tx) error {
			if until == 0 {
				until = state.Number(tx.Bucket(state.BucketMeta).Get(state.MetaLastLease))
			}
			k, _ := tx.Bucket(state.BucketLeases).Cursor().First()
			settled = k == nil || state.Number(k) > until
			return nil
		})
		return settled, err
	})
}

// eraseInbox blanks the records of forgotten users: in all files but a new one that is begun for it, or in the table.
func (u *upkeep) eraseInbox(ctx context.Context) (erased uint64, err error) {
	if u.inbox != nil {
		if err := u.inbox.RotateNow(); err != nil {
			return 0, err
		}
	}
	if err := u.writer.AwaitApplied(ctx, u.records.Last()); err != nil {
		return 0, err
	}
	return u.records.Rewrite(ctx, u.blank)
}

// blank empties the records of forgotten users in a chunk.
func (u *upkeep) blank(frames [][]byte) (erased uint64, err error) {
	err = u.r.Look(func(tx engine.Tx) error {
		t := tombs{tx.Bucket(state.BucketTombstones), tx.Bucket(state.BucketMeta).Get(state.MetaSalt)}
		for i, frame := range frames {
			blanked, gone := t.blank(frame)
			if gone {
				frames[i] = blanked
				erased++
			}
		}
		return nil
	})
	return erased, err
}

// tombs finds out whether a user was forgotten, and when.
type tombs struct {
	bucket engine.Bucket
	salt   []byte
}

func (t tombs) cover(user string, at time.Time) bool {
	return user != "" && slices.ContainsFunc(apply.StoneTimes(t.bucket.Get(state.Tombstone(t.salt, user))), func(stone int64) bool { return at.UnixNano() <= stone })
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
		n := len(rec.Order.Targets)
		rec.Order.Targets = slices.DeleteFunc(rec.Order.Targets, func(m record.JobTarget) bool { return t.cover(m.User, rec.Order.Time) })
		switch left := len(rec.Order.Targets); {
		case left == 0 && n > 0: // without users an order may mean something else
			return wire.Seal([]byte{record.RecordErased}, 0), true
		case left < n:
			return record.AppendOrder(nil, rec.Order), true
		}
	}
	return frame, false
}
