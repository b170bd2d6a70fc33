package domain

import (
	"errors"
	"fmt"
)

// ErrOtherWorkspace says that a store was sent to another workspace of MoEngage than the one that an agent would send it to.
// The new one knows nothing of what the old one was told, and the diff would never tell it.
var ErrOtherWorkspace = errors.New("the store belongs to another workspace of MoEngage")

// Workspace is the workspace of MoEngage that an agent sends to.
type Workspace struct {
	ID       string // "": none yet
	Replaces string // the workspace in whose place it comes; "": none
}

// Admits returns an ErrOtherWorkspace if a store that was sent to the workspace was may not be sent to w. was is "" of a store
// that was sent nowhere yet.
func (w Workspace) Admits(was string) error {
	if was == "" || w.ID == "" || was == w.ID || was == w.Replaces {
		return nil
	}
	return fmt.Errorf("%w: it was sent to %s, and this agent would send it to %s", ErrOtherWorkspace, was, w.ID)
}
