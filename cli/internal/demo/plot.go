package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"personasync/cli/internal/term"
)

// patience limits the duration of the demo. It needs a third of it on a busy machine.
const patience = 15 * time.Second

// Run runs the demo and prints it. With keep, the agent runs on until ctx is done. It returns an error if an
// expectation failed.
func Run(ctx context.Context, screen *term.Terminal, version string, keep bool) (err error) {
	w, err := newWorld(version)
	if err != nil {
		return err
	}
	s := &story{world: w, narrator: newNarrator(screen)}
	defer func() {
		err = errors.Join(err, w.close())
		if err == nil {
			err = os.RemoveAll(w.dir)
		} else if ctx.Err() == nil {
			err = fmt.Errorf("the demo did not keep its promise: %w\nits data and the agent's log are kept in %s", err, w.dir)
		}
	}()
	if err := s.tell(ctx); err != nil {
		return err
	}
	if keep {
		return s.linger(ctx)
	}
	return nil
}

// tell runs the whole story, within patience.
func (s *story) tell(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, act := range []func(context.Context) error{
		s.opening, s.everyday, s.outage, s.restart, s.recovery, s.comparison, s.accounts,
	} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	s.closing()
	return nil
}

func (s *story) opening(ctx context.Context) error {
	if err := s.startAgent(ctx); err != nil {
		return err
	}
	s.title("personasync demo: Segment Engage -> agent -> MoEngage, all on this machine")
	s.fact("agent", "%s", s.webhook())
	s.fact("data", "%s", s.dir)
	s.fact("MoEngage", "%s (a sandbox that validates requests)", s.moengage)
	return nil
}

// everyday is an ordinary day: new transitions, and the usual duplicates and late events.
func (s *story) everyday(ctx context.Context) error {
	s.act("Segment sends its audiences and traits in signed deliveries")
	first := membership(identify, "usr_ana", shoppers, true)
	steps := []func() error{
		func() error { return s.post(ctx, enters, first) },
		func() error {
			return s.postArray(ctx, enters,
				membership(identify, "usr_ben", shoppers, true),
				membership(identify, "usr_chloe", shoppers, true),
				membership(identify, "usr_dev", shoppers, true))
		},
		func() error { return s.post(ctx, enters, membership(track, "usr_ana", carts, true)) },
		func() error { return s.post(ctx, changes, trait("usr_ana", value, 1284.5)) },
	}
	if err := inOrder(steps); err != nil {
		return err
	}
	s.act("... and what every receiver gets as well")
	noise := []func() error{
		func() error { return s.post(ctx, repeats, first) },
		func() error {
			return s.post(ctx, isStale, anHourEarlier(membership(identify, "usr_ana", shoppers, false)))
		},
		func() error { return s.post(ctx, isParked, undetermined("usr_ben", shoppers)) },
		func() error { return s.forge(ctx, membership(identify, "usr_mallory", shoppers, true)) },
	}
	if err := inOrder(noise); err != nil {
		return err
	}
	if err := s.drained(ctx); err != nil {
		return err
	}
	s.requests()
	s.before = s.lastWrites()
	return s.compare(ctx)
}

// outage makes MoEngage unavailable while Segment continues.
func (s *story) outage(ctx context.Context) error {
	s.act("MoEngage goes offline (503); Segment goes on")
	s.takeOffline()
	return inOrder([]func() error{
		func() error { return s.post(ctx, exits, membership(track, "usr_ben", shoppers, false)) },
		func() error { return s.post(ctx, exits, membership(identify, "usr_chloe", shoppers, false)) },
		func() error { return s.post(ctx, enters, membership(identify, "usr_chloe", shoppers, true)) },
		func() error {
			return s.postArray(ctx, exits, membership(identify, "usr_dev", shoppers, false))
		},
		func() error { return s.post(ctx, enters, membership(identify, "usr_eve", shoppers, true)) },
		func() error { return s.post(ctx, changes, trait("usr_ana", value, 1300)) },
		func() error { return s.post(ctx, changes, trait("usr_ana", value, 1342.75)) },
		func() error { return s.refused(ctx) },
	})
}

// restart stops the agent during the outage, reads its files, and starts it again.
func (s *story) restart(ctx context.Context) error {
	s.act("The agent restarts meanwhile")
	if err := s.stopAgent(); err != nil {
		return err
	}
	if err := s.inspect(ctx); err != nil {
		return err
	}
	waiting, err := s.pending(ctx)
	if err != nil {
		return err
	}
	s.line("stopped", "%s in its files", s.Paint.Yellow(term.Plural(waiting, "pending change")))
	if err := s.startAgent(ctx); err != nil {
		return err
	}
	found, err := s.pending(ctx)
	if err != nil {
		return err
	}
	if found != waiting || waiting == 0 {
		return fmt.Errorf("%d changes were pending before the restart, %d after it", waiting, found)
	}
	s.line("started", "%s, as before", s.Paint.Yellow(term.Plural(found, "pending change")))
	return s.post(ctx, enters, membership(identify, "usr_finn", shoppers, true))
}

// recovery makes MoEngage available again, and checks that it receives the net difference and nothing else.
func (s *story) recovery(ctx context.Context) error {
	s.act("MoEngage is back")
	s.sent = len(s.box.Requests()) // refused requests are printed as a number
	s.box.Heal()
	began := time.Now()
	if err := s.drained(ctx); err != nil {
		return err
	}
	s.requests()
	s.line("outbox", "%s after %d ms", s.Paint.Green("empty"), time.Since(began).Milliseconds())
	return s.netDifference()
}

func (s *story) comparison(ctx context.Context) error {
	s.act("Do both sides agree?")
	if err := s.compare(ctx); err != nil {
		return err
	}
	return s.showSides(ctx)
}

func (s *story) accounts(ctx context.Context) error {
	s.act("Is anything unaccounted for?")
	return s.audit(ctx)
}

func (s *story) closing() {
	s.act(s.Paint.Green("Everything above was checked") + fmt.Sprintf(", in %.1f s", time.Since(s.started).Seconds()))
	s.fact("next", "README.md: connect Segment and MoEngage")
}

// linger keeps the demo's agent running until the user interrupts it.
func (s *story) linger(ctx context.Context) error {
	s.act("Left running, until you press Ctrl-C")
	s.fact("status", "http://%s/", s.at.Admin)
	s.fact("MoEngage", "%s/sandbox/users/usr_ana", s.moengage)
	s.fact("try", "personasync user show usr_chloe --config %s", s.configFile())
	s.fact("try", "personasync outbox list --state delivered --config %s", s.configFile())
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.ended:
		s.ended <- err
		return fmt.Errorf("the agent ended: %w", err)
	}
}

func inOrder(steps []func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
