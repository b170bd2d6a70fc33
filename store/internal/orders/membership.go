package orders

import (
	"context"
	"iter"
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
	for _, j.order.Field = range j.fields {
		err := j.each(ctx, progress, func(row *query.UserRow) error {
			if row.Some || row.Told || j.class == domain.ClassTrait {
				j.done.Again++
				return j.add(ctx, row.Key, row.In)
			}
			return nil
		})
		if err == nil {
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
