package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxSocketPath is what a unix address holds on Linux, its closing zero byte included.
const maxSocketPath = 108

// ErrSocketPath says that no socket can have the path it is given.
var ErrSocketPath = errors.New("socket path cannot be used")

// listen opens the address that key of the configuration has: host:port, or unix:/path.
func listen(ctx context.Context, key, address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return listenSocket(path)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s = %s is taken by another process (ss -ltnp shows which): stop it, or choose another port: %w", key, address, syscall.EADDRINUSE)
	case err != nil:
		return nil, fmt.Errorf("%s = %s cannot be opened: %w", key, address, err)
	}
	return l, nil
}

// listenSocket opens a unix socket that owner and group may use. One that a crash left is replaced,
// one that somebody answers is not. The socket gets its name only when its mode is right, so that
// nobody slips in between.
func listenSocket(path string) (net.Listener, error) {
	if len(path)+len(".new") >= maxSocketPath {
		return nil, fmt.Errorf("%w: %s is longer than %d bytes: set a shorter one", ErrSocketPath, path, maxSocketPath-1-len(".new"))
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("socket %s is in use by another process: %w", path, syscall.EADDRINUSE)
	}
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: next, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open socket in %s: %w", filepath.Dir(path), err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(next, 0o660), os.Rename(next, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("open socket: %w", err), l.Close(), os.Remove(next))
	}
	return &socketListener{l, path}, nil
}

// socketListener removes its file when it closes, under the name it has now.
type socketListener struct {
	*net.UnixListener
	path string
}

// Addr returns the path that clients dial.
func (l *socketListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close stops listening.
func (l *socketListener) Close() error {
	if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, l.UnixListener.Close())
	}
	return l.UnixListener.Close()
}
