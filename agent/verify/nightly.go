package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/scheduler"
)

// Job is the name that the schedule of [verify] is listed by.
const Job = "[verify]"

// everything verifies a sample of each computation that is sent as attributes. A failure of one does not keep the others
// from being verified.
func (v *Verifier) everything(sample func() int) func(context.Context, time.Time) error {
	return func(ctx context.Context, _ time.Time) error {
		seen, err := v.store.Computations()
		if err != nil {
			return err
		}
		failed, first := 0, error(nil)
		for _, c := range seen {
			key := c.ID
			key = cmp.Or(key, c.Key)
			r, err := v.Verify(ctx, api.VerifyOrder{Key: key, Sample: sample(), Settle: api.DefaultSettle}, nil)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, api.ErrUnreadable):
			case err != nil:
				if failed++; first == nil {
					first = fmt.Errorf("%s: %w", c.Key, err)
				}
			default:
				v.tell(r)
			}
		}
		if first == nil {
			return nil
		}
		return &scheduler.Failure{Code: failureCode(first), Err: fmt.Errorf("%s could not be verified, the first of them %w", condition.Quantity(uint64(failed), "computation"), first)}
	}
}

// tell writes a result to the log.
func (v *Verifier) tell(r *api.VerifyReport) {
	attrs := []any{"computation", r.Key, "id", r.ID, "compared", r.Compared, "agree", r.Agree, "differ", r.Differ, "moving", r.Moving}
	switch {
	case r.Differ > 0:
		v.log.Warn("MoEngage does not hold every value that was sent: `personasync audience verify KEY` lists what differs, --repair sends it again", attrs...)
	case r.Compared == 0:
		v.log.Info("a verification compared no users, so it proves nothing", attrs...)
	default:
		v.log.Info("a computation was verified", attrs...)
	}
}

// Jobs returns the scheduled verification of spec, each run with a sample of so many users; nothing where spec is "".
func (v *Verifier) Jobs(spec string, zone *time.Location, sample func() int) ([]scheduler.Job, error) {
	if spec == "" {
		return nil, nil
	}
	schedule, err := scheduler.Parse(spec, zone)
	if err != nil {
		return nil, fmt.Errorf("schedule of %s: %w", Job, err)
	}
	return []scheduler.Job{{Name: Job, Schedule: schedule, Do: v.everything(sample)}}, nil
}
