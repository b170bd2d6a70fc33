package domain

import "errors"

// Errors of the outbox that its users tell apart.
var (
	ErrBusy   = errors.New("the inbox is full") // retry shortly
	ErrClosed = errors.New("the store is closed")
	ErrFull   = errors.New("the disk is full")
)
