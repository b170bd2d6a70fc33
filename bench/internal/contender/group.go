//go:build linux

package contender

import (
	"context"
	"sync"
)

// committer is a plain group commit: one goroutine takes all queued requests, commits them at once, and answers
// each.
type committer[T any] struct {
	requests chan waiting[T]
	commit   func([]T) error
	gone     sync.WaitGroup
}

type waiting[T any] struct {
	item T
	done chan error // buffer of one
}

// groupLimit is the largest group, as in the agent's inbox.
const groupLimit = 4096

// newCommitter starts the goroutine. It ends with close.
func newCommitter[T any](commit func([]T) error) *committer[T] {
	c := &committer[T]{requests: make(chan waiting[T], groupLimit), commit: commit}
	c.gone.Go(c.loop)
	return c
}

func (c *committer[T]) loop() {
	var items []T
	var done []chan error
	for first := range c.requests {
		items, done = append(items[:0], first.item), append(done[:0], first.done)
		for more := true; more && len(items) < groupLimit; {
			select {
			case w, open := <-c.requests:
				if more = open; open {
					items, done = append(items, w.item), append(done, w.done)
				}
			default:
				more = false
			}
		}
		err := c.commit(items)
		for _, d := range done {
			d <- err
		}
	}
}

// submit waits until item is committed.
func (c *committer[T]) submit(ctx context.Context, item T) error {
	w := waiting[T]{item, make(chan error, 1)}
	select {
	case c.requests <- w:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close waits for the last commit. It must not be called while submit is in progress.
func (c *committer[T]) close() {
	close(c.requests)
	c.gone.Wait()
}
