package agent

import (
	"context"
	"fmt"
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
	noted   func()           // has the housekeeper compare every user with a pause of a computation
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
	if name := pause.Computation; name != "" {
		pause, err := p.store.PauseComputation(ctx, name, pause)
		if err != nil {
			return nil, err
		}
		p.noted()
		return &pause, nil
	}
	if err := p.set(ctx, &pause); err != nil {
		return nil, err
	}
	return &pause, nil
}

// Resume implements api.Pauser.
func (p pauser) Resume(ctx context.Context, computation string) (*domain.Pause, error) {
	if computation != "" {
		was, err := p.store.ResumeComputation(ctx, computation)
		if err == nil {
			p.noted()
		}
		return was, err
	}
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
		if now, err = f.pauser(s).Pause(ctx, pause); err != nil {
			return err
		}
		return f.recordPauses(ctx, s)
	})
	return now, err
}

// Resume implements api.Pauser.
func (f files) Resume(ctx context.Context, computation string) (was *domain.Pause, err error) {
	err = f.open(ctx, "outbox resume", func(s *store.Store) error {
		if was, err = f.pauser(s).Resume(ctx, computation); err != nil {
			return err
		}
		return f.recordPauses(ctx, s)
	})
	return was, err
}

// pauser leaves it to the next start to compare the users.
func (f files) pauser(s *store.Store) pauser { return pauser{store: s, noted: func() {}} }

// recordPauses has the rules pause what operators paused. Equal rules cost nothing.
func (f files) recordPauses(ctx context.Context, s *store.Store) error {
	if err := s.SetRules(ctx, f.config.Rules()); err != nil {
		return fmt.Errorf("record the rules: %w", err)
	}
	return s.CaughtUp(ctx)
}
