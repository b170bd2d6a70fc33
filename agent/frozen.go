package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	client *Client
	sign   string // the question that is one
	misses int    // this many in a row mean that nobody is there
	heard  atomic.Int64
}

// question watches over a question. It reads the state as the status does, so that an agent which cannot
// even answer that hangs.
func (c *Client) question() *vigil { return &vigil{client: c, sign: "/api/status", misses: 1} }

// command watches over an order. Giving it up leaves in doubt what became of it, and it may keep the
// machine busy: a greeting will do as a sign of life, and one may be missed.
func (c *Client) command() *vigil { return &vigil{client: c, sign: "/api/hello", misses: 2} }

// begin returns a context that ends, with ErrFrozen as its cause, when the agent shows no sign of life.
// The caller calls end when the answer is there.
func (v *vigil) begin(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		missed, heard := 0, int64(0)
		for pause(ctx, v.client.patience) == nil {
			if h := v.heard.Load(); h != heard || v.client.lives(ctx, v.sign) {
				missed, heard = 0, h
				continue
			}
			if missed++; missed >= v.misses {
				cancel(v.client.frozen())
				return
			}
		}
	})
	return ctx, func() { cancel(nil); watching.Wait() }
}

// lives asks for a sign of life. A refused connection is one: that is an agent which has ended, and the
// request under way ends with it.
func (c *Client) lives(ctx context.Context, sign string) bool {
	err := c.ask(ctx, sign)
	return err == nil || ctx.Err() != nil || !errors.Is(err, ErrFrozen)
}

// ask asks for what is answered at once, on whatever connection is free.
func (c *Client) ask(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.patience, ErrFrozen)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://personasync"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set(versionHeader, c.version)
	resp, err := c.patient.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// causeOf is why a request failed: what ended its context, if that did.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrFrozen) {
		return cause
	}
	return unwrapURL(err)
}

// frozen says who does not answer, why if the kernel knows, and what to do.
func (c *Client) frozen() error {
	pid := int(c.pid.Load())
	if pid == 0 {
		return fmt.Errorf("%w: the process that has %s has been silent for %v: find it with `fuser %s`, and see whether it is stopped, or waits for its disk",
			ErrFrozen, c.socket, c.patience, c.socket)
	}
	why, do := "", fmt.Sprintf("`kill -ABRT %d` ends it with a dump of where it hangs, and its unit starts it again: nothing that it acknowledged is lost", pid)
	switch processState(pid) {
	case 'T', 't':
		why, do = ": it is stopped, by a signal or a debugger", fmt.Sprintf("`kill -CONT %d` has it go on", pid)
	case 'D':
		why, do = ": it waits for a disk", "look at the disk of its data_dir and at `dmesg`"
	}
	return fmt.Errorf("%w: process %d has %s and has been silent for %v%s; %s", ErrFrozen, pid, c.socket, c.patience, why, do)
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
