package store

import (
	"context"
	"errors"
	"log/slog"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/state"
)

// SendTo has a store in files know the workspace that it is sent to. Without an ID it does nothing, and with PostgreSQL opening
// the store did it. The error is a domain.ErrOtherWorkspace if another workspace was told something, which the store goes on to
// belong to.
func (s *Store) SendTo(ctx context.Context, w domain.Workspace) error {
	if s.term != nil || w.ID == "" {
		return nil
	}
	was, told, err := s.sentTo()
	if err != nil || was == w.ID {
		return err
	}
	if told {
		if err := w.Admits(was); err != nil {
			return err
		}
		noteReplaced(s.upkeep.log, w.ID, was)
	}
	err = s.writer.Do(ctx, func(tx *state.Tx) error {
		tx.Put(tx.Bucket(state.BucketMeta), engine.MetaWorkspace, []byte(w.ID))
		return tx.Err
	}, nil)
	if errors.Is(err, domain.ErrFull) {
		return nil // nothing can be sent to be noted either; the next start does this again
	}
	return err
}

// SentTo returns the workspace of MoEngage that was told what the store knows to be sent; "" if none was told anything yet.
func (v *View) SentTo() (workspace string, err error) {
	was, told, err := v.sentTo()
	if !told {
		was = ""
	}
	return was, err
}

// sentTo returns the workspace that a store knows, and whether MoEngage accepted anything.
func (v *View) sentTo() (workspace string, told bool, err error) {
	err = v.r.Read(func(tx *state.Tx) error {
		workspace = string(tx.Bucket(state.BucketMeta).Get(engine.MetaWorkspace))
		told = tx.State.Ledger.Changes.Delivered > 0
		return nil
	})
	return workspace, told, err
}

// noteReplaced logs that a store goes on with another workspace than the one it was sent to before; "" of one that has known none.
func noteReplaced(log *slog.Logger, workspace, was string) {
	if was != "" {
		log.Warn("the store goes on with another workspace of MoEngage, which knows nothing of what the one before was told: `personasync audience reconcile --all` sends it everything",
			"workspace", workspace, "before", was)
	}
}
