package host

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// How many connections a server keeps open. An idle one costs some 10 KB, with TLS some 40 KB, and each
// is a descriptor; files need descriptors, too, and must not go without because somebody connects.
const (
	maxAtDoor   = 12_000
	maxAtWindow = 512 // the status page, and the socket
)

// ConnectionLimits are how many connections may be open at the door, and how many at each window.
func ConnectionLimits() (door, window int) {
	var descriptors unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &descriptors); err != nil {
		return maxAtDoor, maxAtWindow
	}
	return limitsWithin(descriptors.Cur)
}

// limitsWithin leaves the files half of few descriptors, or of many what an inbox of a terabyte takes.
func limitsWithin(descriptors uint64) (door, window int) {
	return int(min(maxAtDoor, descriptors-min(descriptors/2, 4096))), int(min(maxAtWindow, descriptors/8))
}

// gate is a listener that accepts a connection only while fewer than so many are open. Those beyond
// wait in the kernel's queue, until somebody leaves or is sent away for being idle.
type gate struct {
	net.Listener
	places chan struct{}
	log    *slog.Logger
	said   atomic.Int64 // when it was last said that it is full, ns

	once   sync.Once
	closed chan struct{}
}

func newGate(l net.Listener, most int, log *slog.Logger) *gate {
	return &gate{Listener: l, places: make(chan struct{}, most), log: log, closed: make(chan struct{})}
}

// Accept implements net.Listener. Whoever accepts calls leave once the connection is closed.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case g.places <- struct{}{}:
	default:
		g.complain(time.Now())
		select {
		case g.places <- struct{}{}:
		case <-g.closed:
			return nil, net.ErrClosed
		}
	}
	conn, err := g.Listener.Accept()
	if err != nil {
		g.leave()
	}
	return conn, err
}

func (g *gate) leave() {
	select {
	case <-g.places:
	default: // one place too many is better than a connection that never ends
	}
}

func (g *gate) complain(now time.Time) {
	last := g.said.Load()
	if now.UnixNano()-last > int64(time.Minute) && g.said.CompareAndSwap(last, now.UnixNano()) {
		g.log.Warn("as many connections are open as may be; others wait until one is closed", "connections", cap(g.places), "address", g.Addr().String())
	}
}

// Close implements net.Listener.
func (g *gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Listener.Close()
}
