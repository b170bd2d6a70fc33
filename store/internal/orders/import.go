package orders

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/apply"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Import is a full list of the members of an audience.
type Import struct {
	Key      string    // of the computation, or its id
	AsOf     time.Time // a membership of a later time is left alone
	Events   bool      // queue events, too
	Baseline bool      // MoEngage knows this already: nothing is queued
	DryRun   bool
	Create   bool // a key that no event named yet becomes a computation

	// Users are those of the list, in any order. An error ends the import before anything was changed.
	Users iter.Seq2[string, error]

	Progress Progress // counts users; may be nil
}

// Import is Store.Import.
func (rn *Runner) Import(ctx context.Context, o Import) (r Report, err error) {
	if o.AsOf.After(time.Now()) {
		return r, fmt.Errorf("the list is from %s, which is to come", o.AsOf.UTC().Format(time.RFC3339))
	}
	verb := record.OrderImport
	if o.Baseline {
		verb = record.OrderBaseline
	}
	j := &membershipJob{Runner: rn, order: &record.Order{Verb: verb, Time: o.AsOf, Events: o.Events}, dry: o.DryRun}
	if err := j.load(ctx, o.Key); err != nil && !(o.Create && errors.Is(err, domain.ErrNotFound)) {
		return r, err
	}
	if j.class == domain.ClassTrait {
		return r, ErrNoMembers
	}
	list := newExternalSort(rn.Dir)
	defer list.close()
	for user, err := range o.Users {
		if err == nil {
			err = list.add(user)
		}
		if err != nil {
			return r, err
		}
	}
	if j, err = rn.newJob(ctx, o.Key, j.order, o.Create, o.DryRun); err != nil {
		return r, err
	}
	return j.report(ctx, j.compare(ctx, list, o.AsOf.UnixNano(), o.Progress))
}

// compare walks the list and the rows side by side, and adds the users for whom they differ.
func (j *membershipJob) compare(ctx context.Context, list *externalSort, asOf int64, progress Progress) error {
	next, stop := iter.Pull2(j.rows(ctx, asOf))
	defer stop()
	row, err, some := next()
	pass := func(listed bool) error {
		if err := j.compareUser(ctx, row, listed, asOf); err != nil {
			return err
		}
		row, err, some = next()
		return err
	}
	var last []byte
	for key, failed := range list.sorted() {
		if failed != nil || err != nil {
			return errors.Join(failed, err)
		}
		if bytes.Equal(key, last) {
			j.done.Repeated++
			continue
		}
		last = append(last[:0], key...)
		j.done.Listed++
		for some && bytes.Compare(row.Key, key) < 0 {
			if err := pass(false); err != nil {
				return err
			}
		}
		if some && bytes.Equal(row.Key, key) {
			if err := pass(true); err != nil {
				return err
			}
		} else if err := j.compareUnknown(ctx, key, asOf); err != nil {
			return err
		}
		progress.tell(int64(j.done.Listed+j.done.Repeated), list.count)
	}
	for some && err == nil {
		if err := pass(false); err != nil {
			return err
		}
	}
	return err
}

// compareUnknown is compareUser for a user on the list without a row. A user that was erased since is left alone:
// applying the order passes over them, too.
func (j *membershipJob) compareUnknown(ctx context.Context, key []byte, asOf int64) error {
	forgotten := false
	if user, _, ok := state.UserOf(key); ok && j.salt != nil {
		believable := max(asOf, time.Now().UnixNano()) + int64(domain.MaxAhead)
		err := j.Reader.Look(func(tx engine.Tx) error {
			forgotten = apply.BuriedBy(tx.Bucket(state.BucketTombstones).Get(state.Tombstone(j.salt, user)), asOf, believable)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if forgotten {
		j.done.Newer++
		return nil
	}
	return j.compareUser(ctx, &query.UserRow{Key: key, Time: -1 << 63, Old: true}, true, asOf)
}

// compareUser adds one user as the list has them. A user whose membership does not change is added, too, where that
// advances its time: an event from before the list that comes late must not undo it, and a time that is not believed must
// not keep away later events.
func (j *membershipJob) compareUser(ctx context.Context, row *query.UserRow, listed bool, asOf int64) error {
	d := &j.done
	believable := max(asOf, time.Now().UnixNano()) + int64(domain.MaxAhead)
	switch {
	case row.Time > asOf && row.Time <= believable, row.Time == asOf && listed && !row.In: // at one moment an exit beats an enter
		d.Newer++
		if !row.Old {
			return nil
		}
	case row.In == listed:
		d.Unchanged++
		if !row.Old && row.Time <= believable && j.order.Verb != record.OrderBaseline { // MoEngage may know no more of it than before
			return nil
		}
	case listed:
		d.Enters++
	default:
		d.Exits++
	}
	return j.add(ctx, row.Key, listed)
}
