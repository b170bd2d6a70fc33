package domain

import "errors"

// Errors of the outbox that its users tell apart.
var (
	ErrBusy   = errors.New("the inbox is full") // retry shortly
	ErrClosed = errors.New("the store is closed")
	ErrFull   = errors.New("the disk is full")

	// ErrDatabase is an error whose words say what to do at the database that several agents share.
	ErrDatabase = errors.New("the database refuses")
	// ErrNotWriter says that another of these agents writes.
	ErrNotWriter = errors.New("this agent is not the writer")

	ErrNotFound = errors.New("not found")
	// ErrNoMembers says that a computation is a trait, which has no members.
	ErrNoMembers = errors.New("a computed trait has values and no members")

	// ErrMoved says that a path no longer leads to the file that the agent opened.
	ErrMoved = errors.New("the data was moved or removed while the agent runs")
)
