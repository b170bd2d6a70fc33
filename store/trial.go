package store

import (
	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/trial"
)

// Trial is a state to try events on: see View.Try.
type Trial = trial.Trial

// TrialResult is what an event that was tried came to.
type TrialResult = trial.Result

// Try runs f with a trial on top of what the store has, by rules. Nothing is written: the trial is gone when f returns. It
// is one read transaction.
func (v *View) Try(rules domain.Rules, f func(*Trial) error) error {
	return v.look(func(tx engine.Tx) error {
		t, err := trial.Over(tx, v.r.Inbox, rules)
		if err != nil {
			return err
		}
		return f(t)
	})
}

// TryNew runs f with a trial on a store that has received nothing.
func TryNew(rules domain.Rules, f func(*Trial) error) error {
	return boltfile.Guard(func() error {
		t, err := trial.Empty(rules)
		if err != nil {
			return err
		}
		return f(t)
	})
}
