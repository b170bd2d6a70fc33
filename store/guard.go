package store

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// guarded turns a panic, and a fault of the memory map, into an error: what bbolt does about a page
// that is not what it should be. It covers the calling goroutine only.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	return f()
}

// ErrUnsalvageable is about files that cannot be worked with, and of which nothing could be saved: starting
// again does not help, an operator must decide.
var ErrUnsalvageable = errors.New("the data is damaged")
