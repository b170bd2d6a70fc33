package orders

import (
	"context"
	"slices"
	"time"

	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Decide is Store.Decide.
func (rn *Runner) Decide(ctx context.Context, key string, discard, dryRun bool, progress Progress) (r Report, err error) {
	o := &record.Order{Verb: record.OrderRelease, Received: time.Now()}
	if discard {
		o.Verb = record.OrderDiscard
	} else if !dryRun { // a release would send the exits that the discard had not come to
		if err := rn.finishDiscard(ctx, key, progress); err != nil {
			return r, err
		}
	}
	j, err := rn.newJob(ctx, key, o, false, dryRun)
	if err != nil {
		return r, err
	}
	if err := rn.Reader.Read(func(tx *state.Tx) error {
		j.done.Tripped = !tx.FieldOf(j.order.Field).Exits.Tripped.IsZero()
		return nil
	}); err != nil {
		return r, err
	}
	if discard {
		return j.report(ctx, j.discard(ctx, progress))
	}
	if !dryRun {
		if err := j.append(ctx, record.AppendOrder(nil, o)); err != nil {
			return r, err
		}
	}
	return j.report(ctx, j.decideHeld(ctx, rn.Inbox.Last(), progress))
}

// decideHeld gives the order about every exit that the guard holds, of records up to until.
func (j *membershipJob) decideHeld(ctx context.Context, until uint64, progress Progress) error {
	for from, more := []byte(nil), true; more; {
		page, next, err := j.Reader.HeldExits(j.targetFields, until, from)
		if err != nil {
			return err
		}
		from, more = next, next != nil
		j.done.Decided += uint64(len(page))
		if len(page) == 0 || j.dry {
			continue
		}
		var frames [][]byte
		for ids := range slices.Chunk(page, j.most) {
			part := *j.order
			part.IDs = ids
			frames = append(frames, record.AppendOrder(nil, &part))
		}
		if err := j.append(ctx, frames...); err != nil {
			return err
		}
		if err := j.applied(ctx); err != nil {
			return err
		}
		progress.tell(int64(j.done.Decided), int64(max(j.done.Held, j.done.Decided)))
	}
	return nil
}

// discard makes the users members again that left in the window.
func (j *membershipJob) discard(ctx context.Context, progress Progress) error {
	if j.dry {
		w, err := j.exitWindow(ctx)
		if err != nil {
			return err
		}
		if !w.Tripped.IsZero() {
			w.Undone = state.RecordRange{From: w.Seq, Until: j.Inbox.Last() + 1}
		}
		return j.readmit(ctx, w.Undone, progress)
	}
	if err := j.finish(ctx, progress); err != nil {
		return err
	}
	if err := j.append(ctx, record.AppendOrder(nil, j.order)); err != nil {
		return err
	}
	if err := j.applied(ctx); err != nil {
		return err
	}
	w, err := j.exitWindow(ctx)
	if err != nil {
		return err
	}
	return j.readmit(ctx, w.Undone, progress)
}

// finish readmits the users whom a discard that was cut short had not come to.
func (j *membershipJob) finish(ctx context.Context, progress Progress) error {
	w, err := j.exitWindow(ctx)
	if err != nil || w.Undone == (state.RecordRange{}) {
		return err
	}
	return j.readmit(ctx, w.Undone, progress)
}

// finishDiscard is finish for an order of another kind on the same audience.
func (rn *Runner) finishDiscard(ctx context.Context, key string, progress Progress) error {
	j, err := rn.newJob(ctx, key, &record.Order{Verb: record.OrderDiscard, Received: time.Now()}, false, false)
	if err != nil {
		return err
	}
	return j.finish(ctx, progress)
}

// exitWindow reads what the guard keeps of the audience, once it holds all exits that it will hold.
func (j *membershipJob) exitWindow(ctx context.Context) (w state.ExitWindow, err error) {
	err = j.Writer.Await(ctx, func() (bool, error) {
		err := j.Reader.Read(func(tx *state.Tx) error {
			w = tx.FieldOf(j.order.Field).Exits
			return nil
		})
		return w.Swept == nil, err
	})
	return w, j.cutShort(j.onDisk, err)
}

// readmit makes the users members again that left in a discarded window: first those whose rows say so, then the few
// with a held exit that ended no membership.
func (j *membershipJob) readmit(ctx context.Context, window state.RecordRange, progress Progress) error {
	held := *j
	held.dry = true
	until := max(window.Until, 1) - 1
	if window == (state.RecordRange{}) { // an older program stopped in the middle
		until = j.Inbox.Last()
	}
	if err := held.decideHeld(ctx, until, nil); err != nil {
		return err
	}
	j.done.Decided = held.done.Decided
	if window != (state.RecordRange{}) {
		if err := j.readmitLeft(ctx, window, progress); err != nil {
			return err
		}
	}
	if j.dry {
		return nil
	}
	if err := j.decideHeld(ctx, until, nil); err != nil {
		return err
	}
	j.done.Decided = held.done.Decided
	end := record.Order{Verb: record.OrderDiscarded, Received: time.Now(), Field: j.order.Field}
	return j.append(ctx, record.AppendOrder(nil, &end))
}

func (j *membershipJob) readmitLeft(ctx context.Context, window state.RecordRange, progress Progress) error {
	for row, err := range j.rows(ctx, 0) {
		if err == nil && window.Has(row.Left) {
			j.done.Enters++
			err = j.add(ctx, row.Key, true)
		}
		if err != nil {
			return err
		}
		progress.tell(int64(j.done.Enters), int64(max(j.done.Enters, j.done.Decided)))
	}
	if j.dry {
		return nil
	}
	if err := j.flush(ctx); err != nil {
		return err
	}
	return j.applied(ctx)
}
