package agent

import (
	"context"
	"time"

	"personasync/agent/api"
	"personasync/agent/sending"
	"personasync/store"
	"personasync/store/domain"
)

// pauser pauses sending in the store, which remembers it across restarts, and then in the running senders.
type pauser struct {
	store   *store.Store
	senders *sending.Senders // nil: the agent is stopped
}

var (
	_ api.Pauser = pauser{}
	_ api.Pauser = files{}
)

// begin puts the pause that the store remembers in force at a start.
func (p pauser) begin() error {
	pause, err := p.store.Pause()
	if err == nil && pause.Holds(time.Now()) {
		p.senders.Pause(pause)
	}
	return err
}

// Pause implements api.Pauser.
func (p pauser) Pause(ctx context.Context, pause domain.Pause) (*domain.Pause, error) {
	if err := p.set(ctx, &pause); err != nil {
		return nil, err
	}
	return &pause, nil
}

// Resume implements api.Pauser.
func (p pauser) Resume(ctx context.Context) (*domain.Pause, error) {
	was, err := p.store.Pause()
	if err != nil || !was.Holds(time.Now()) {
		return nil, err
	}
	if err := p.set(ctx, nil); err != nil {
		return nil, err
	}
	return was, nil
}

func (p pauser) set(ctx context.Context, pause *domain.Pause) error {
	if err := p.store.SetPause(ctx, pause); err != nil {
		return err
	}
	if p.senders != nil {
		p.senders.Pause(pause)
	}
	return nil
}

// Pause implements api.Pauser.
func (f files) Pause(ctx context.Context, pause domain.Pause) (now *domain.Pause, err error) {
	err = f.open(ctx, "outbox pause", func(s *store.Store) error {
		now, err = pauser{store: s}.Pause(ctx, pause)
		return err
	})
	return now, err
}

// Resume implements api.Pauser.
func (f files) Resume(ctx context.Context) (was *domain.Pause, err error) {
	err = f.open(ctx, "outbox resume", func(s *store.Store) error {
		was, err = pauser{store: s}.Resume(ctx)
		return err
	})
	return was, err
}
