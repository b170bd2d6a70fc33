package store

import (
	"context"
	"encoding/json"
	"errors"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/query"
	"personasync/store/internal/state"
)

// SetJobRun records a run.
func (s *Store) SetJobRun(ctx context.Context, r query.JobRun) error {
	return s.putRun(ctx, query.RunOfJob+r.Job, r)
}

// putRun keeps v as the record of a key of the bucket of runs.
func (s *Store) putRun(ctx context.Context, key string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.writer.Do(ctx, func(tx *state.Tx) error {
		tx.Put(tx.Bucket(state.BucketRuns), []byte(key), text)
		return nil
	}, nil)
}

// SetVerification keeps v in place of the last one of its computation. The differences that one found stay when v is a
// run that failed.
func (s *Store) SetVerification(ctx context.Context, v query.Verification) error {
	return s.writer.Do(ctx, func(tx *state.Tx) error {
		runs, key := tx.Bucket(state.BucketRuns), []byte(query.RunOfVerification+v.Key+"\x00"+v.ID)
		var last query.Verification
		_ = json.Unmarshal(runs.Get(key), &last) // one that cannot be read has no findings
		text, err := json.Marshal(v.WithFindings(last))
		if err == nil {
			tx.Put(runs, key, text)
		}
		return err
	}, nil)
}

// SetNotices keeps n as the record of its receiver.
func (s *Store) SetNotices(ctx context.Context, n query.Notices) error {
	return s.putRun(ctx, query.RunOfNotices+n.Receiver, n)
}

// SetGoodBackup keeps b as the last good scheduled backup.
func (s *Store) SetGoodBackup(ctx context.Context, b query.GoodBackup) error {
	return s.putRun(ctx, query.BackupKey, b)
}

// SetPause keeps p as the pause of sending. A nil p ends it.
func (s *Store) SetPause(ctx context.Context, p *domain.Pause) error {
	if p != nil {
		return s.putRun(ctx, query.PauseKey, p)
	}
	return s.writer.Do(ctx, func(tx *state.Tx) error {
		tx.Remove(tx.Bucket(state.BucketRuns), []byte(query.PauseKey))
		return tx.Err
	}, nil)
}

// SendTo has a store in files know the workspace that it is sent to, and returns the one that was told something before, in whose
// place w comes; "" if there is none. Without an ID it does nothing, and with PostgreSQL opening the store did it. The error is a
// domain.ErrOtherWorkspace if another workspace was told something, to which the store goes on to belong.
func (s *Store) SendTo(ctx context.Context, w domain.Workspace) (before string, err error) {
	if s.term != nil || w.ID == "" {
		return "", nil
	}
	was, told, err := s.sentTo()
	if err != nil || was == w.ID {
		return "", err
	}
	if told {
		if err := w.Admits(was); err != nil {
			return "", err
		}
		before = was
	}
	err = s.writer.Do(ctx, func(tx *state.Tx) error {
		tx.Put(tx.Bucket(state.BucketMeta), engine.MetaWorkspace, []byte(w.ID))
		return tx.Err
	}, nil)
	if errors.Is(err, domain.ErrFull) {
		err = nil // nothing can be sent either; the next start does this again
	}
	return before, err
}

// KeepSample keeps s as the sample of its minute, and removes those older than a day.
func (s *Store) KeepSample(ctx context.Context, sample query.Sample) error {
	return s.writer.Do(ctx, func(tx *state.Tx) error {
		kept := tx.Bucket(state.BucketSamples)
		if kept == nil {
			return nil // an older store on a disk that had no room for the bucket: see openState
		}
		minute := query.SampleNumber(sample.At)
		tx.Put(kept, state.NumberKey(minute), sample.Encode(nil))
		for _, key := range query.Outdated(kept, minute) {
			tx.Remove(kept, key)
		}
		return tx.Err
	}, nil)
}
