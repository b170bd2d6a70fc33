package orders

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Reconcile is Store.Reconcile.
func (rn *Runner) Reconcile(ctx context.Context, key string, events, dryRun bool, progress Progress) (r Report, err error) {
	j, err := rn.newJob(ctx, key, &record.Order{Verb: record.OrderReconcile, Events: events}, false, dryRun)
	if err != nil {
		return r, err
	}
	everyone := func(*query.UserRow) (bool, error) { return true, nil }
	return j.reconcile(ctx, progress, func() (pick, func()) { return everyone, func() {} })
}

// ReconcileTold is Store.ReconcileTold.
func (rn *Runner) ReconcileTold(ctx context.Context, key string, since, until time.Time, events, dryRun bool, progress Progress) (r Report, err error) {
	j, err := rn.newJob(ctx, key, &record.Order{Verb: record.OrderReconcile, Events: events}, false, dryRun)
	if err != nil {
		return r, err
	}
	list := newExternalSort(rn.Dir)
	defer list.close()
	search := &query.ToldBetween{Fields: slices.Concat(j.fields, j.targetFields), Since: since, Until: until}
	for !search.Done() {
		users, err := search.Read(j.Reader)
		if err == nil {
			err = ctx.Err()
		}
		for i := 0; err == nil && i < len(users); i++ {
			err = list.add(users[i])
		}
		if err != nil {
			return j.report(ctx, err)
		}
	}
	j.done.HistoryFrom = domain.Timestamp(search.Oldest)
	return j.reconcile(ctx, progress, list.listed)
}

// pick reports whether a user is wanted. It is asked about users in the order of their keys.
type pick func(*query.UserRow) (bool, error)

// listed returns a pick of the users of the list, and a function that ends it.
func (s *externalSort) listed() (pick, func()) {
	next, stop := iter.Pull2(s.sorted())
	key, err, some := next()
	return func(row *query.UserRow) (bool, error) {
		for some && err == nil && bytes.Compare(key, row.Key) < 0 {
			key, err, some = next()
		}
		return some && bytes.Equal(key, row.Key), err
	}, stop
}

// reconcile orders users to be sent again. It asks for a pick for each pass over the rows: one for the computation, and
// one for each column.
func (j *membershipJob) reconcile(ctx context.Context, progress Progress, wanted func() (pick, func())) (r Report, err error) {
	for _, j.order.Field = range j.fields {
		wants, end := wanted()
		err := j.each(ctx, progress, func(row *query.UserRow) error {
			again, err := wants(row)
			if err != nil || !again {
				return err
			}
			if row.Some || row.Told || j.class == domain.ClassTrait {
				j.done.Again++
				return j.add(ctx, row.Key, row.In)
			}
			return nil
		})
		if end(); err == nil {
			err = j.flush(ctx)
		}
		if err != nil {
			return j.report(ctx, err)
		}
	}
	return j.report(ctx, nil)
}

// CloseAudience is Store.CloseAudience.
func (rn *Runner) CloseAudience(ctx context.Context, key string, events, dryRun bool, progress Progress) (r Report, err error) {
	now := time.Now()
	j, err := rn.newJob(ctx, key, &record.Order{Verb: record.OrderClose, Time: now, Events: events}, false, dryRun)
	if err != nil {
		return r, err
	}
	if j.class == domain.ClassTrait {
		return r, ErrNoMembers
	}
	return j.report(ctx, j.each(ctx, progress, func(row *query.UserRow) error {
		if !row.In {
			return nil
		}
		j.done.Exits++
		return j.add(ctx, row.Key, false)
	}))
}

// each visits every user with a row of the computation.
func (j *membershipJob) each(ctx context.Context, progress Progress, visit func(*query.UserRow) error) error {
	for row, err := range j.rows(ctx, 0) {
		if err == nil {
			err = visit(row)
		}
		if err != nil {
			return err
		}
		progress.tell(int64(min(j.done.Again+j.done.Exits, j.members)), int64(j.members))
	}
	return nil
}

// rows walks the users with a row of the computation, as it was before that time in ns; 0: as it is.
func (j *membershipJob) rows(ctx context.Context, before int64) iter.Seq2[*query.UserRow, error] {
	return func(yield func(*query.UserRow, error) bool) {
		if j.order.Field == state.FieldNone {
			return
		}
		fields := []uint32{j.order.Field} // or a column
		if j.order.Field == j.targetFields[0] {
			fields = j.targetFields
		}
		for from, more := []byte(nil), true; more; {
			page, next, err := j.Reader.UserRows(fields, before, from)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range page {
				if !yield(&page[i], nil) {
					return
				}
			}
			from, more = next, next != nil
		}
	}
}
