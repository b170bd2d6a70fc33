package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxSocketPath is what a unix address holds on Linux, its closing zero byte included.
const maxSocketPath = 108

// ErrSocketPath says that no socket can have the path it is given.
var ErrSocketPath = errors.New("socket path cannot be used")

// Listen opens the address that key of the configuration has: host:port, or unix:/path.
func Listen(ctx context.Context, key, address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		l, err := ListenSocket(path)
		if err != nil {
			return nil, fmt.Errorf("%s = %s: %w", key, address, err)
		}
		return l, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s = %s is taken by another process (ss -ltnp shows which): stop it, or choose another port: %w", key, address, syscall.EADDRINUSE)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s = %s is no address of this host (`ip -brief address` lists those there are): correct it, or wait until it is there: %w", key, address, syscall.EADDRNOTAVAIL)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s = %s may not be opened by this user: choose a port above 1023, or have systemd open it (personasync.socket): %w", key, address, syscall.EACCES)
	case err != nil:
		return nil, fmt.Errorf("%s = %s cannot be opened: write an address of this host, such as 127.0.0.1, and a port: %w", key, address, err)
	}
	return l, nil
}

// ListenSocket opens a unix socket that owner and group may use. It replaces a socket that a crash left. It does not
// replace one that a process answers at, nor a file that is no socket.
func ListenSocket(path string) (*SocketListener, error) {
	l := &SocketListener{Path: path}
	var err error
	if l.current, l.own, err = bindSocket(path); err != nil {
		return nil, err
	}
	return l, nil
}

// bindSocket makes the socket. It gets its name once its mode is right, so that no other user can connect before.
func bindSocket(path string) (*net.UnixListener, fs.FileInfo, error) {
	if len(path)+len(".new") >= maxSocketPath {
		return nil, nil, fmt.Errorf("%w: %s is longer than %d bytes: set a shorter one", ErrSocketPath, path, maxSocketPath-1-len(".new"))
	}
	next := path + ".new"
	for _, name := range []string{path, next} {
		if err := vacant(name); err != nil {
			return nil, nil, err
		}
	}
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("open socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: next, Net: "unix"})
	if err != nil {
		return nil, nil, fmt.Errorf("open socket in %s: %w", filepath.Dir(path), err)
	}
	l.SetUnlinkOnClose(false)
	own, err := os.Lstat(next)
	if err = errors.Join(err, os.Chmod(next, 0o660), os.Rename(next, path)); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open socket: %w", err), l.Close(), os.Remove(next))
	}
	return l, own, nil
}

// vacant returns nil if path does not exist, or is a socket at which no process answers.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("open socket: %w", err)
	case info.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%w: %s names %s, which was left as it is: choose a path where nothing is, or move that away", ErrSocketPath, path, KindOf(info.Mode()))
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
	}
	if err == nil || errors.Is(err, syscall.EAGAIN) { // its queue is full
		return fmt.Errorf("socket %s is in use by another process (ss -lxp shows which): stop it, or choose another path: %w", path, syscall.EADDRINUSE)
	}
	return nil
}

// KindOf names the kind of file that is in the place of a socket.
func KindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode.IsRegular():
		return "a file"
	case mode&fs.ModeSymlink != 0:
		return "a link"
	}
	return "something else"
}

// SocketListener listens at a path, also after its file was removed: see Renew.
type SocketListener struct {
	Path   string // of the file
	Ingest bool   // it takes deliveries

	mu      sync.Mutex // covers the rest
	current *net.UnixListener
	own     fs.FileInfo // of the socket
	closed  bool
}

// Addr returns the path that clients dial.
func (l *SocketListener) Addr() net.Addr { return &net.UnixAddr{Name: l.Path, Net: "unix"} }

// Accept waits for a connection to the socket that has the path.
func (l *SocketListener) Accept() (net.Conn, error) {
	for {
		now := l.listener()
		conn, err := now.Accept()
		if err == nil || now == l.listener() {
			return conn, err
		}
	}
}

func (l *SocketListener) listener() *net.UnixListener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}

// Renew makes a new socket if the old one has lost its path: it was removed, or something was mounted or moved over its
// folder. It reports whether it did. The error says why nobody can connect.
func (l *SocketListener) Renew() (renewed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.named() {
		return false, nil
	}
	next, own, err := bindSocket(l.Path)
	if err != nil {
		return false, err
	}
	_ = l.current.Close()
	l.current, l.own = next, own
	return true, nil
}

// named reports whether the path leads to the socket.
func (l *SocketListener) named() bool {
	info, err := os.Lstat(l.Path)
	return err == nil && os.SameFile(info, l.own)
}

// Close stops listening and removes the socket, but no other file that has taken its place.
func (l *SocketListener) Close() (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed && l.named() {
		err = os.Remove(l.Path)
	}
	l.closed = true
	return errors.Join(err, l.current.Close())
}
