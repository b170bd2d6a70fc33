package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"personasync/agent/api"
	"personasync/agent/config"
	"personasync/agent/internal/place"
	"personasync/store"
)

// Move moves the data of the agent of c, which must not be running, to another place. The agent is then to be configured for
// that place.
func Move(ctx context.Context, c *config.Config, to store.Destination, version string, progress func(done, total int64)) (r store.MoveReport, err error) {
	client, err := api.Dial(ctx, c.Socket(os.Getenv), version)
	if err == nil {
		return r, errors.Join(fmt.Errorf("%w: %s: stop it first", store.ErrInUse, client.Where()), client.Close())
	}
	if err := errors.Join(place.MovedFrom(ctx, c), place.CheckOwner(c.DataDir)); err != nil {
		return r, err
	}
	options := storeOptions(c, slog.New(slog.DiscardHandler))
	options.Start = ctx
	open := store.OpenToMove
	if c.Store.OnPostgres() {
		shared, err := store.Connect(ctx, sharedConfig(c, "personasync db move", version, options.Log))
		if err != nil {
			return r, fmt.Errorf("store.url: %w", err)
		}
		defer shared.Close()
		open = func(dir string, o store.Options) (*store.Store, error) { return shared.OpenToMove(ctx, dir, o) }
	}
	var s *store.Store
	err = waitForCommand(ctx, c.DataDir, func(store.Holding, time.Duration) {}, func() (err error) {
		s, err = open(c.DataDir, options)
		return err
	})
	if err != nil {
		return r, files{c}.explain(err)
	}
	r, err = s.Move(ctx, to, progress)
	return r, errors.Join(err, s.Close())
}
