package socket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// An agent may have its socket and not answer: stopped by a signal or a debugger, waiting for a lost disk, or
// deadlocked. A command would hang without a word. So a client greets the agent first, and asks for a sign of life
// beside every question and order that takes long. While there are signs of life, it waits for the answer.

// ErrFrozen says that the agent has its socket and does not answer.
var ErrFrozen = errors.New("the agent does not answer")

// patience is how long a sign of life may take, and how long there is silence before one is asked for. A live agent needs
// milliseconds.
const patience = 5 * time.Second

// vigil asks for signs of life during one request.
type vigil struct {
	every  time.Duration                  // how long there is silence before a sign is asked for
	lives  func(ctx context.Context) bool // whether there was one
	frozen func() error                   // says that there was none
	misses int                            // this many in a row mean that the agent is frozen
	heard  atomic.Int64
}

// begin returns a context that ends, with ErrFrozen as its cause, when the agent shows no sign of life. The caller calls
// end once it has the answer.
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

// causeOf returns ErrFrozen if that ended ctx, else err without its address.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrFrozen) {
		return cause
	}
	return unwrapURL(err)
}

// unwrapURL drops the address that net/http puts in front. Its query holds user ids.
func unwrapURL(err error) error {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// frozenError names the process that does not answer, the reason if the kernel knows it, and a remedy.
func frozenError(pid int, socket string, patience time.Duration) error {
	if pid == 0 {
		return fmt.Errorf("%w: the process that has %s has been silent for %v: find it with `fuser %s`, and look whether it is stopped or waits for its disk",
			ErrFrozen, socket, patience, socket)
	}
	why, do := "", fmt.Sprintf("`kill -ABRT %d` ends it with a dump of its goroutines, and its unit restarts it: no acknowledged event is lost", pid)
	switch processState(pid) {
	case 'T', 't':
		why, do = ": it is stopped, by a signal or a debugger", fmt.Sprintf("`kill -CONT %d` continues it", pid)
	case 'D':
		why, do = ": it waits for a disk", "look at the disk of its data_dir and at `dmesg`"
	}
	return fmt.Errorf("%w: process %d has %s and has been silent for %v%s; %s", ErrFrozen, pid, socket, patience, why, do)
}

// cutOff says of a request whose agent ended after its greeting what to do. Any other err is returned as it is.
func (c *Client) cutOff(method string, err error) error {
	is := func(one error) bool { return errors.Is(err, one) }
	gone := slices.ContainsFunc([]error{syscall.ECONNREFUSED, syscall.ENOENT}, is) // before it was asked
	cut := slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE}, is)
	switch {
	case !gone && !cut || c.hello == (Hello{}):
		return err
	case method == http.MethodGet:
		return errors.New("the agent stopped before it answered: run the command again")
	case gone:
		return errors.New("the agent stopped before it got the order: give it again when the agent runs")
	}
	return errors.New("the agent stopped in the middle of it, so a part of it may be done: give the order again when the agent runs, which completes it")
}

// inDoubt adds to ErrFrozen that the outcome of an order is unknown.
func inDoubt(err error) error {
	if !errors.Is(err, ErrFrozen) {
		return err
	}
	return fmt.Errorf("%w. Whether the order is carried out is not known until it answers again", err)
}

// processState is the state of a process as ps(1) shows it, D if one of its threads waits for a disk. It is 0 where the
// kernel does not say.
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

// watchedBody is the body of an answer under a vigil. The vigil ends when it is closed.
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
