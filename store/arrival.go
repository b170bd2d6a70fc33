package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"

	"personasync/store/internal/datadir"
	"personasync/store/internal/state"
)

// asLeft reports whether the state is as the last run left it: what is written over it later, even in its place
// and with its times, is a copy. A run that was killed left no word of that.
func (s *Store) asLeft() bool {
	last := s.marker.Last
	return last.Phase == datadir.PhaseStopped && last.Changed != 0 && last.Changed == datadir.ChangedAt(filepath.Join(s.dir, datadir.StateFile))
}

// arrival compares where the state is with its home, where it last ran, and how it is with how that run left it. It
// is nil when both are the same. A state of a version that did not note its home is where it was.
func (s *Store) arrival(last []byte) *state.Arrival {
	home := datadir.HomeOf(filepath.Join(s.dir, datadir.StateFile))
	if bytes.Equal(home, last) && s.left {
		return nil
	}
	a := &state.Arrival{Home: home, First: s.inbox.Next()}
	if len(last) > 0 && !s.retention.Load().restoring {
		a.Epoch = rand.Uint32() | 1
		s.log.Info("the files may be a copy, or the last run was cut off: change ids made from now on bear another epoch", "epoch", fmt.Sprintf("%08x", a.Epoch),
			"first_record", a.First)
	}
	return a
}
