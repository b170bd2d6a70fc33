package store

import (
	"context"
	"encoding/json"

	"personasync/store/internal/query"
	"personasync/store/internal/state"
)

// SetJobRun records a run.
func (s *Store) SetJobRun(ctx context.Context, r query.JobRun) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.writer.Do(ctx, func(tx *state.Tx) error {
		tx.Put(tx.Raw.Bucket(state.BucketRuns), []byte(query.RunOfJob+r.Job), text)
		return nil
	}, nil)
}
