package datadir

import (
	"errors"
	"fmt"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
)

// Errors of a directory that no store can be opened in.
var (
	// ErrNoRoom means that the disk has no room to create or migrate a store.
	ErrNoRoom = errors.New("there is no room to start")

	// ErrNoData means that a directory has no store.
	ErrNoData = errors.New("no data here yet")

	// ErrNoPlace means that the data directory does not exist: perhaps a disk is not mounted.
	ErrNoPlace = errors.New("the data directory is not there yet")
)

// Roomless makes a full disk ErrNoRoom, for the steps of a start that need space: a new store has received nothing yet, and
// one that is to be migrated can receive nothing, so retrying without the operator is no use.
func Roomless(err error) error {
	if errors.Is(Translate(err), domain.ErrFull) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	return err
}

// Translate wraps an error of a full disk as domain.ErrFull. It returns any other error unchanged.
func Translate(err error) error {
	switch {
	case err == nil, errors.Is(err, domain.ErrFull):
		return err
	case boltfile.IsFull(err):
		return fmt.Errorf("%w: %w", domain.ErrFull, err)
	}
	return err
}
