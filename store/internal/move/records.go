package move

import (
	"context"
	"fmt"

	"personasync/store/engine"
	"personasync/store/internal/state"
)

// Contiguous returns the number from which on the records have no gap. Records that damage took away leave one, and what
// is kept before it serves no purpose: it was applied, and is too old to rebuild a state from.
func Contiguous(ctx context.Context, from Records) (first uint64, err error) {
	first = from.First()
	err = read(ctx, from, first, func(r engine.Record, expected uint64) error {
		if r.Seq != expected {
			first = r.Seq
		}
		return nil
	})
	return first, err
}

// inbox appends the records from a number on to the new inbox, under the same numbers.
func (c *copying) inbox(first uint64) error {
	from, to := c.from.Records, c.to.Records
	if to.Next() != first && from.Last() >= first && first > 0 {
		return fmt.Errorf("the new inbox begins with record %d instead of %d", to.Next(), first)
	}
	var frames [][]byte
	var bytes int
	flush := func() error {
		if len(frames) == 0 {
			return nil
		}
		err := to.Append(c.ctx, frames...)
		c.tell(int64(bytes))
		frames, bytes = nil, 0
		return err
	}
	err := read(c.ctx, from, first, func(r engine.Record, expected uint64) error {
		if r.Seq != expected {
			return fmt.Errorf("record %d is missing in the inbox", expected)
		}
		frames, bytes = append(frames, r.Frame), bytes+len(r.Frame)
		if bytes < portionBytes {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	return err
}

// inboxSum sums the records up from a number on.
func inboxSum(ctx context.Context, in Records, first uint64) (Part, error) {
	sum := newSummer("records")
	err := read(ctx, in, first, func(r engine.Record, _ uint64) error {
		sum.add(state.NumberKey(r.Seq), r.Frame)
		return nil
	})
	return sum.part(), err
}

// read calls each for every record from a number on, with the number that it should have.
func read(ctx context.Context, in Records, next uint64, each func(r engine.Record, expected uint64) error) error {
	for last := in.Last(); next > 0 && next <= last; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		list, err := in.Read(next, portionBytes)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("the records from %d to %d cannot be read", next, last)
		}
		for _, r := range list {
			if err := each(r, next); err != nil {
				return err
			}
			next = r.Seq + 1
		}
	}
	return nil
}
