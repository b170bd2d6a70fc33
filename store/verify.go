package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

// Repair queues attributes again that MoEngage was found not to hold, and returns once that survives a
// crash. What moves by the time it is applied is left alone: it is being sent anyway.
func (s *Store) Repair(ctx context.Context, now time.Time, missing []record.Told) error {
	switch {
	case len(missing) == 0:
		return nil
	case len(missing) > record.MaxRepair:
		return fmt.Errorf("%d attributes are too many for one repair", len(missing))
	}
	if err := s.budget.Refusal(); err != nil {
		return err
	}
	r := record.Repair{Received: now, Missing: missing}
	return datadir.Translate(s.inbox.AppendOther(ctx, r.Encode(nil)))
}

// SetVerification keeps v in place of the last one of its computation, whose differences outlive a failure.
func (s *Store) SetVerification(ctx context.Context, v query.Verification) error {
	return s.writer.Do(ctx, func(tx *state.Tx) error {
		runs, key := tx.Raw.Bucket(state.BucketRuns), []byte(query.RunOfVerification+v.Key+"\x00"+v.ID)
		var last query.Verification
		_ = json.Unmarshal(runs.Get(key), &last) // one that cannot be read has no findings
		text, err := json.Marshal(v.WithFindings(last))
		if err == nil {
			tx.Put(runs, key, text)
		}
		return err
	}, nil)
}
