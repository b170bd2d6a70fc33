package datadir

import (
	"errors"
	"fmt"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
)

var (
	ErrNoRoom  = errors.New("there is no room to start") // to make a store in, or to migrate one
	ErrNoData  = errors.New("no data here yet")
	ErrNoPlace = errors.New("the data directory is not there yet") // a disk that is not mounted, perhaps
)

// Roomless tells a start that a full disk ends from those that it does not: nothing is received yet, or
// nothing can be until the data is migrated, so there is no use in trying again unasked.
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
