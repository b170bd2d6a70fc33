package writer

import (
	"context"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// Command is something to do in the writer's next transaction. An error of Do ends the whole transaction: other
// commands that ride in it fail with the same error.
type Command struct {
	Do    func(tx *state.Tx) error
	After func(tx *state.Tx) // reads the result, once everything is written and before the commit; may be nil
	done  chan error         // buffer of one; nil: nobody waits for the answer
}

// mailbox is how other goroutines reach the writer's.
type mailbox struct {
	commands chan *Command
	between  chan func()   // run between two transactions
	awaited  chan struct{} // buffer of one: somebody waits until records are applied
	closing  chan struct{} // closed by Stop; ends the writer
	ended    chan struct{} // closed when the writer has ended: it answers nothing more
	absent   func() error  // of a writer that is in another process: who writes; nil: it is here
}

func newMailbox() mailbox {
	return mailbox{
		commands: make(chan *Command), between: make(chan func()), awaited: make(chan struct{}, 1),
		closing: make(chan struct{}), ended: make(chan struct{}),
	}
}

// Do has the writer do something in its next transaction, and returns when that is on disk. after may be nil. ctx
// can stop the wait for the writer's attention, but not a transaction that has begun: after a nil error the caller
// may rely on what do and after wrote. An ended writer answers ErrClosed.
func (m *mailbox) Do(ctx context.Context, do func(tx *state.Tx) error, after func(tx *state.Tx)) error {
	c := &Command{Do: do, After: after, done: make(chan error, 1)}
	if err := m.send(ctx, c); err != nil {
		return err
	}
	return <-c.done // the writer answers every command it took before it ends
}

// probe has the writer make an empty transaction, and returns nil when it has ended, well or badly. Other than Do it
// does not wait for one that has begun and does not end.
func (m *mailbox) probe(ctx context.Context) error {
	c := &Command{Do: func(*state.Tx) error { return nil }, done: make(chan error, 1)}
	if err := m.send(ctx, c); err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *mailbox) send(ctx context.Context, c *Command) error {
	select {
	case m.commands <- c:
		return nil
	case <-m.ended:
		return m.gone()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gone is what a caller is answered that finds the writer ended.
func (m *mailbox) gone() error {
	if m.absent != nil {
		return m.absent()
	}
	return domain.ErrClosed
}

// Pause runs f in the writer's goroutine between two transactions, and returns when it has. An ended writer answers
// ErrClosed, and f does not run.
func (m *mailbox) Pause(f func()) error {
	done := make(chan struct{})
	select {
	case m.between <- func() { f(); close(done) }:
		<-done
		return nil
	case <-m.ended:
		return m.gone()
	}
}

// gather takes the other commands that wait by now.
func (m *mailbox) gather(first *Command) []*Command {
	commands := []*Command{first}
	for {
		select {
		case c := <-m.commands:
			commands = append(commands, c)
		default:
			return commands
		}
	}
}

func answer(commands []*Command, err error) {
	for _, c := range commands {
		if c.done != nil {
			c.done <- err
		}
	}
}

// Ended reports whether the writer has ended: it takes no more commands.
func (m *mailbox) Ended() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}
