package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"personasync/store/engine"
	"personasync/store/internal/move"
	"personasync/store/internal/state"
	"personasync/store/postgres"
)

// DatabaseHealth is what a store depends on at its server.
type DatabaseHealth = postgres.Health

// AskDatabase asks the server of c for its health, whether there is a store or not. A store that was moved away is a
// *MovedError.
func AskDatabase(ctx context.Context, c SharedConfig) (h DatabaseHealth, err error) {
	c.Replicated = "no"
	db, err := postgres.Connect(ctx, c)
	if err != nil {
		return h, err
	}
	defer db.Close()
	if err := checkMoved(ctx, db, false); err != nil {
		return h, err
	}
	return db.Health(ctx)
}

// Database returns the health of the server of a store that several agents share.
func (s *Store) Database(ctx context.Context) (DatabaseHealth, error) { return s.term.db.Health(ctx) }

// Database is a schema of PostgreSQL as a Destination. It is made if it is missing, and may have a store that was moved
// away, which is removed.
func Database(c SharedConfig) Destination {
	c.Replicated = "no" // an agent that starts there asks for a standby
	return &databaseDestination{config: c}
}

// OpenToMove opens the store of stopped agents for Move, as its writer. It opens one that was moved already, because that
// move may not have come to its end.
func (h *Shared) OpenToMove(ctx context.Context, scratch string, o Options) (*Store, error) {
	found, err := h.db.Exists(ctx)
	if err != nil || !found {
		return nil, errors.Join(ErrNoData, err)
	}
	if h.next, err = acquireToMove(ctx, h.db); err != nil {
		return nil, err
	}
	o.moving = true
	return h.Open(ctx, scratch, o)
}

// acquireToMove acquires the term for a move. That of a process that was killed runs out and is waited for, so that the same
// command can be given again at once. One that is renewed meanwhile is of an agent at work.
func acquireToMove(ctx context.Context, db *postgres.DB) (*postgres.Term, error) {
	t, err := db.Acquire(ctx)
	held := new(postgres.HeldError)
	if !errors.As(err, &held) {
		return t, err
	}
	select {
	case <-time.After(held.Left + 100*time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if t, err = db.Acquire(ctx); errors.Is(err, postgres.ErrHeld) {
		err = fmt.Errorf("%s: %w: stop every agent of this database first", db.Place(), err)
	}
	return t, err
}

// checkMoved returns a *MovedError if no agent may open the store in db. moving lets one be opened that was moved away.
func checkMoved(ctx context.Context, db *postgres.DB, moving bool) error {
	m, found, err := db.Moved(ctx)
	if err != nil || !found || moving && m.To != "" {
		return err
	}
	return &MovedError{Place: db.Place(), To: m.To, From: m.From, At: m.At}
}

type databaseDestination struct {
	config postgres.Config
	db     *postgres.DB
	term   *postgres.Term
	state  *postgres.State
	inbox  *postgres.Log
}

func (d *databaseDestination) String() string { return d.config.Place() }

func (d *databaseDestination) begin(ctx context.Context, from string, epoch uint32, first uint64) (_ *move.Store, err error) {
	if d.db, err = postgres.Connect(ctx, d.config); err != nil {
		return nil, err
	}
	_, marked, err := d.db.Moved(ctx)
	if err != nil {
		return nil, err
	}
	found, err := d.db.Exists(ctx)
	if err != nil || found && !marked {
		return nil, errors.Join(err, fmt.Errorf("%v has a store already, which nobody moved away: name another schema", d))
	}
	if d.term, err = acquireToMove(ctx, d.db); err != nil {
		return nil, err
	}
	if err = d.term.Empty(ctx, from); err == nil {
		err = d.db.Create(ctx, d.term, epoch, state.StateBuckets, func(engine.Tx) error { return nil })
	}
	if err != nil {
		return nil, err
	}
	d.state = d.db.State(d.term)
	d.inbox, err = d.db.Log(first, d.term)
	return &move.Store{State: d.state, Records: d.inbox}, err
}

func (d *databaseDestination) arrive(ctx context.Context) (string, error) {
	return "", d.term.Arrived(ctx)
}

func (d *databaseDestination) end() (err error) {
	if d.inbox != nil {
		d.inbox.Stop()
		d.inbox.CloseFiles()
	}
	if d.state != nil {
		err = d.state.Close()
	}
	(&term{held: d.term}).end()
	if d.db != nil {
		d.db.Close()
	}
	return err
}
