package orders

import (
	"context"
	"fmt"
	"time"

	"personasync/store/internal/datadir"
	"personasync/store/internal/record"
)

// Repair is Store.Repair.
func (rn *Runner) Repair(ctx context.Context, now time.Time, missing []record.Told) error {
	switch {
	case len(missing) == 0:
		return nil
	case len(missing) > record.MaxRepair:
		return fmt.Errorf("%d attributes are too many for one repair", len(missing))
	}
	if err := rn.Budget.Refusal(); err != nil {
		return err
	}
	r := record.Repair{Received: now, Missing: missing}
	return datadir.Translate(rn.Inbox.AppendOther(ctx, r.Encode(nil)))
}
