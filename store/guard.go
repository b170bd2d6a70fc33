package store

import (
	"errors"
	"fmt"
	"runtime/debug"

	"personasync/store/internal/wire"
)

// ErrUnsalvageable is about a file of which nothing can be saved: starting again does not help, an
// operator must decide.
var ErrUnsalvageable = errors.New("the data is damaged")

// guarded turns a panic, and a fault of the memory map, into an error: what bbolt does about a page
// that is not what it should be. It covers the calling goroutine only.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &fault{r, debug.Stack()}
		}
	}()
	return f()
}

// fault is a panic as an error. Most are bbolt's about a damaged page; where it came from tells those
// that are a mistake of ours.
type fault struct {
	value any
	stack []byte
}

func (f *fault) Error() string { return fmt.Sprintf("%v: %v", wire.ErrDamaged, f.value) }
func (f *fault) Unwrap() error { return wire.ErrDamaged }
