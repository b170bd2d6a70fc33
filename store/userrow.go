package store

import (
	"context"
	"iter"

	"personasync/store/internal/query"
	"personasync/store/internal/state"
)

// everybody visits all that the rows know of the computation.
func (c *membershipJob) everybody(ctx context.Context, progress func(done, total int64), visit func(*query.UserRow) error) error {
	for a, err := range c.known(ctx, 0) {
		if err == nil {
			err = visit(a)
		}
		if err != nil {
			return err
		}
		if progress != nil {
			progress(int64(min(c.done.Again+c.done.Exits, c.members)), int64(c.members))
		}
	}
	return nil
}

// known walks all that the rows know of the computation.
func (c *membershipJob) known(ctx context.Context, before int64) iter.Seq2[*query.UserRow, error] {
	return func(yield func(*query.UserRow, error) bool) {
		if c.o.Field == state.FieldNone {
			return
		}
		voices := []uint32{c.o.Field} // or a column
		if c.o.Field == c.targetFields[0] {
			voices = c.targetFields
		}
		for from, more := []byte(nil), true; more; {
			page, next, err := c.s.r.UserRows(voices, before, from)
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
