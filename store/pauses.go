package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// PauseComputation pauses the computation of a key or an id as p says, in place of an earlier pause of it, and returns the
// pause. It holds for every event that is appended afterwards; CompareConsent holds the pending changes. The error is
// ErrNotFound or an AmbiguousError where name means no computation, or several.
func (s *Store) PauseComputation(ctx context.Context, name string, p domain.Pause) (domain.Pause, error) {
	if err := s.read(func(tx *state.Tx) error {
		f, err := tx.State.Registry.One(name)
		if err != nil {
			return err
		}
		p.Computation, p.ID = f.Key, ""
		if len(tx.State.Registry.Computations(f.Key)) > 1 {
			p.ID = f.ID
		}
		return nil
	}); err != nil {
		return domain.Pause{}, err
	}
	return p, s.rules.pause(ctx, func(list []domain.Pause) []domain.Pause {
		list = slices.DeleteFunc(list, func(o domain.Pause) bool { return o.Name() == p.Name() })
		list = append(list, p)
		slices.SortFunc(list, func(a, b domain.Pause) int {
			return cmp.Or(cmp.Compare(a.Computation, b.Computation), cmp.Compare(a.ID, b.ID))
		})
		return list
	})
}

// ResumeComputation ends the pauses that hold the computation of a key or an id, and returns one of them, nil if there is
// none. CompareConsent lets go the changes that they held. The error is ErrNotFound or an AmbiguousError as that of PauseComputation.
func (s *Store) ResumeComputation(ctx context.Context, name string) (was *domain.Pause, err error) {
	key, id := name, name
	if err := s.read(func(tx *state.Tx) error {
		if f, err := tx.State.Registry.One(name); err == nil {
			key, id = f.Key, f.ID
		} else if list, _ := s.Pauses(); !slices.ContainsFunc(list, func(p domain.Pause) bool { return p.Name() == name }) {
			return err
		}
		return nil
	}); err != nil {
		return nil, err
	}
	err = s.endPauses(ctx, func(p *domain.Pause) bool {
		ends := p.Name() == name || p.Of(key, id)
		if ends {
			was = p
		}
		return ends
	})
	return was, err
}

// EndPauses ends the pauses of computations whose time has come, and returns them.
func (s *Store) EndPauses(ctx context.Context, now time.Time) (over []domain.Pause, err error) {
	list, err := s.Pauses()
	if err != nil || !slices.ContainsFunc(list, func(p domain.Pause) bool { return !p.Holds(now) }) {
		return nil, err
	}
	err = s.endPauses(ctx, func(p *domain.Pause) bool {
		if !p.Holds(now) {
			over = append(over, *p)
		}
		return !p.Holds(now)
	})
	return over, err
}

func (s *Store) endPauses(ctx context.Context, over func(*domain.Pause) bool) error {
	return s.rules.pause(ctx, func(list []domain.Pause) (rest []domain.Pause) {
		for _, p := range list {
			if !over(&p) {
				rest = append(rest, p)
			}
		}
		return rest
	})
}

// widenPauses has a pause of one of several computations of a key hold all of them, because an order makes one of two of
// them, which it names by keys or ids.
func (s *Store) widenPauses(ctx context.Context, names ...string) error {
	list, err := s.Pauses()
	i := slices.IndexFunc(list, func(p domain.Pause) bool {
		return p.ID != "" && (slices.Contains(names, p.Computation) || slices.Contains(names, p.ID))
	})
	if err != nil || i < 0 {
		return err
	}
	key := list[i].Computation
	return s.rules.pause(ctx, func(list []domain.Pause) (rest []domain.Pause) {
		for _, p := range list {
			if p.Computation == key {
				p.ID = ""
			}
			if !slices.ContainsFunc(rest, func(o domain.Pause) bool { return o.Name() == p.Name() }) {
				rest = append(rest, p)
			}
		}
		return rest
	})
}
