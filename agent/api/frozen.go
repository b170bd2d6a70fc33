package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// An agent may have its socket and answer nobody: stopped by a signal or a debugger, waiting for a disk
// that is gone, hanging at a lock. A command would wait for it in silence. So each greets it first, and
// asks it for a sign of life beside every question and order that takes long. An answer that takes long
// while the agent lives is waited for.

// ErrFrozen says that the agent has its socket and does not answer.
var ErrFrozen = errors.New("the agent does not answer")

// patience is how long a sign of life is waited for, and how long there is silence before one is asked
// for. A live agent needs milliseconds.
const patience = 5 * time.Second

// vigil asks for signs of life during one request.
type vigil struct {
	every  time.Duration                  // how long there is silence before a sign is asked for
	lives  func(ctx context.Context) bool // whether there was one
	frozen func() error                   // says that there was none
	misses int                            // this many in a row mean that the agent is frozen
	heard  atomic.Int64
}

// begin returns a context that ends, with ErrFrozen as its cause, when the agent shows no sign of life.
// The caller calls end when the answer is there.
func (v *vigil) begin(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		missed, heard := 0, int64(0)
		for pause(ctx, v.every) == nil {
			if h := v.heard.Load(); h != heard || v.lives(ctx) {
				missed, heard = 0, h
				continue
			}
			if missed++; missed >= v.misses {
				cancel(v.frozen())
				return
			}
		}
	})
	return ctx, func() { cancel(nil); watching.Wait() }
}

// causeOf is why a request failed: what ended its context, if that did.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrFrozen) {
		return cause
	}
	return unwrapURL(err)
}

// unwrapURL drops the address that net/http puts in front: it is the same for every question, and
// its query holds user ids.
func unwrapURL(err error) error {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// frozenError says who does not answer, why if the kernel knows, and what to do.
func frozenError(pid int, socket string, patience time.Duration) error {
	if pid == 0 {
		return fmt.Errorf("%w: the process that has %s has been silent for %v: find it with `fuser %s`, and see whether it is stopped, or waits for its disk",
			ErrFrozen, socket, patience, socket)
	}
	why, do := "", fmt.Sprintf("`kill -ABRT %d` ends it with a dump of where it hangs, and its unit starts it again: nothing that it acknowledged is lost", pid)
	switch processState(pid) {
	case 'T', 't':
		why, do = ": it is stopped, by a signal or a debugger", fmt.Sprintf("`kill -CONT %d` has it go on", pid)
	case 'D':
		why, do = ": it waits for a disk", "look at the disk of its data_dir and at `dmesg`"
	}
	return fmt.Errorf("%w: process %d has %s and has been silent for %v%s; %s", ErrFrozen, pid, socket, patience, why, do)
}

// inDoubt adds to ErrFrozen what is not known of an order.
func inDoubt(err error) error {
	if !errors.Is(err, ErrFrozen) {
		return err
	}
	return fmt.Errorf("%w. Whether the order is carried out is not known until it answers again", err)
}

// processState is the state of a process as ps(1) shows it, D if one of its threads waits for a disk; 0
// where the kernel does not say.
func processState(pid int) (state byte) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		rest := bytes.TrimSpace(text[bytes.LastIndexByte(text, ')')+1:])
		if len(rest) > 0 && state != 'D' {
			state = rest[0]
		}
	}
	return state
}

// watchedBody is the body of an answer under a vigil, which ends with it.
type watchedBody struct {
	io.ReadCloser
	ctx   context.Context
	heard *atomic.Int64
	end   func()
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.heard.Add(int64(n))
	if err != nil && err != io.EOF {
		err = causeOf(b.ctx, err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *watchedBody) Close() error {
	b.end()
	return b.ReadCloser.Close()
}

// pause waits for d, or for the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
