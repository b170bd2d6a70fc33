package datadir

import (
	"errors"
	"fmt"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
)

var (
	// ErrNoRoom means that the disk has no room to create or migrate a store.
	ErrNoRoom = errors.New("there is no room to start")

	// ErrNoData means that a directory has no store.
	ErrNoData = errors.New("no data here yet")

	// ErrNoPlace means that the data directory does not exist: perhaps a disk is not mounted.
	ErrNoPlace = errors.New("the data directory is not there yet")
)

// Roomless wraps an error of a full disk as ErrNoRoom, for a start that cannot go on without room: it receives no event
// before, so a retry without the operator is of no use. It returns any other error unchanged.
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
