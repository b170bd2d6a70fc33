package orders

import (
	"context"
	"time"

	"personasync/store/internal/record"
)

// CompareConsent is Store.CompareConsent.
func (rn *Runner) CompareConsent(ctx context.Context) (some bool, err error) {
	for {
		if err := rn.applied(ctx); err != nil {
			return some, err
		}
		_, under, err := rn.Reader.Comparing()
		if err != nil || !under {
			return some, err
		}
		some = true
		if err := rn.append(ctx, record.AppendOrder(nil, &record.Order{Verb: record.OrderCompare, Received: time.Now()})); err != nil {
			return some, err
		}
	}
}
