//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"personasync/bench/internal/child"
	"personasync/bench/internal/figures"
	"personasync/bench/internal/load"
)

// measureProduct measures the released program: its size, its memory when idle, and the time to its first
// event.
func measureProduct(ctx context.Context, b *bench) error {
	program, err := b.product(ctx)
	if err != nil {
		return err
	}
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	b.book.Add("product/size", float64(info.Size())/1e6)

	empty, err := b.folder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(empty)
	full, err := sown(ctx, b, "state", int(b.sizes.State))
	if err != nil {
		return err
	}
	defer os.RemoveAll(full)
	for rep := range b.reps {
		if err := errors.Join(coldStart(ctx, b, program, empty, "empty"), coldStart(ctx, b, program, full, "full")); err != nil {
			return err
		}
		b.say("product %d/%d  %.1f MB;  start %.0f ms, with %d MB of state %.0f ms;  idle %.1f and %.1f MiB", rep+1, b.reps, b.book.Last("product/size"),
			b.book.Last("product/empty/start"), b.sizes.State>>20, b.book.Last("product/full/start"),
			b.book.Last("product/empty/idle"), b.book.Last("product/full/idle"))
	}
	return nil
}

// product builds the program as it is released, and returns its path.
func (b *bench) product(ctx context.Context) (path string, err error) {
	path = filepath.Join(b.work, "personasync")
	return path, b.goBuild(ctx, []string{"CGO_ENABLED=0"}, "-trimpath", "-ldflags=-s -w", "-o", path, "./cli/personasync")
}

// idleFor is how long an agent is idle before its memory is read.
const idleFor = 3 * time.Second

// coldStart runs the product on a data directory that is not in the page cache.
func coldStart(ctx context.Context, b *bench, program, dir, name string) (err error) {
	if err := dropCache(dir); err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	began := time.Now()
	c, err := b.launch(ctx, program, quietConfig(dir, address), address, uint64(b.served))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	b.book.Add("product/"+name+"/start", figures.Milliseconds(time.Since(began)))
	b.served++ // the next event must be a new one
	select {
	case <-time.After(idleFor):
	case <-ctx.Done():
		return ctx.Err()
	}
	b.book.Add("product/"+name+"/idle", float64(c.Memory())/(1<<20))
	return nil
}

// launch starts the product, and returns when it has acknowledged a first event, which has this number.
func (b *bench) launch(ctx context.Context, program string, config []byte, address string, first uint64) (*child.Child, error) {
	settings := filepath.Join(b.work, "agent.toml")
	if err := os.WriteFile(settings, config, 0o600); err != nil {
		return nil, err
	}
	c := &child.Child{Command: exec.Command(program, "run", "--config", settings)}
	c.End = func() error { return c.Command.Process.Signal(syscall.SIGTERM) }
	c.Command.Env = []string{} // our environment must not affect it
	if err := c.Launch(ctx, func() error { return firstEvent(ctx, address, first) }); err != nil {
		return nil, err
	}
	c.PID, c.Address = c.Command.Process.Pid, address
	return c, nil
}

// quietConfig is a configuration with which nothing is sent.
func quietConfig(dir, address string) []byte {
	return productConfig(dir, address, "http://127.0.0.1:9", `mode = "cron"
cron = "0 0 1 1 *"
catch_up = "skip"`)
}

// productConfig is a configuration that sends to target by the keys of [schedule].
func productConfig(dir, address, target, schedule string) []byte {
	return fmt.Appendf(nil, `data_dir = %q
[log]
level = "error"
[ingest]
listen = %q
shared_secret = %q
[admin]
listen = ""
[moengage]
workspace_id = "workspace"
api_key = "key"
base_url = %q
[schedule]
%s
`, dir, address, load.Secret, target, schedule)
}

// dropCache removes the files in dir from the page cache.
func dropCache(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil {
		return err
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
		if err != nil {
			return err
		}
	}
	return nil
}

// freeAddress returns a loopback address that is not in use.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// startPatience is the longest cold start.
const startPatience = 2 * time.Minute

// firstEvent posts an event until it is acknowledged.
func firstEvent(ctx context.Context, address string, number uint64) error {
	r := load.NewRequest(address, 1)
	r.Fill(load.NewEvents(load.Unlimited), number)
	client := &http.Client{Timeout: startPatience}
	defer client.CloseIdleConnections()
	for deadline := time.Now().Add(startPatience); time.Now().Before(deadline); {
		switch status, err := postOne(ctx, client, address, r); {
		case err == nil && status == http.StatusOK:
			return nil
		case err == nil && status != http.StatusServiceUnavailable:
			return fmt.Errorf("the first event was answered %d", status)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		time.Sleep(2 * time.Millisecond)
	}
	return fmt.Errorf("no event was taken within %v", startPatience)
}

// postOne posts one event, and returns the status of the answer.
func postOne(ctx context.Context, client *http.Client, address string, r *load.Request) (status int, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/segment/webhook", bytes.NewReader(r.Bodies[0]))
	if err != nil {
		return 0, err
	}
	q.Header.Set("X-Signature", string(r.Signature))
	answer, err := client.Do(q)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}
