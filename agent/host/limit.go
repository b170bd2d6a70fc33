package host

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// How many connections a server keeps open. An idle one costs some 10 KB, with TLS some 40 KB, and each is a descriptor.
// Files need descriptors, too, and clients must not use them up.
const (
	maxAtIngest = 12_000
	maxAtAdmin  = 512 // the status page, and the socket
)

// ConnectionLimits are how many connections may be open at ingest, and how many at each of the two admin listeners.
func ConnectionLimits() (ingest, admin int) {
	var descriptors unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &descriptors); err != nil {
		return maxAtIngest, maxAtAdmin
	}
	return limitsWithin(descriptors.Cur)
}

// limitsWithin leaves files half of few descriptors, and of many the 4,096 that an inbox of a terabyte needs.
func limitsWithin(descriptors uint64) (ingest, admin int) {
	return int(min(maxAtIngest, descriptors-min(descriptors/2, 4096))), int(min(maxAtAdmin, descriptors/8))
}

// limitListener is a listener that accepts a connection only while fewer than so many are open. Further ones wait in the
// kernel's queue until one is closed, by its client or for being idle.
type limitListener struct {
	net.Listener
	slots chan struct{}
	watch func(net.Conn) net.Conn // of Server.ReportUnread, or nil
	log   *slog.Logger
	said  atomic.Int64 // when the log last had that it is full, in Unix nanoseconds

	once   sync.Once
	closed chan struct{}
}

func newLimitListener(l net.Listener, most int, log *slog.Logger) *limitListener {
	return &limitListener{Listener: l, slots: make(chan struct{}, most), log: log, closed: make(chan struct{})}
}

// Accept implements net.Listener. The caller calls release once the connection is closed.
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	default:
		l.warn(time.Now())
		select {
		case l.slots <- struct{}{}:
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		l.release()
		return nil, err
	}
	if l.watch != nil {
		conn = l.watch(conn)
	}
	return conn, nil
}

func (l *limitListener) release() {
	select {
	case <-l.slots:
	default: // one slot too many is better than a connection that never ends
	}
}

func (l *limitListener) warn(now time.Time) {
	last := l.said.Load()
	if now.UnixNano()-last > int64(time.Minute) && l.said.CompareAndSwap(last, now.UnixNano()) {
		l.log.Warn("as many connections are open as may be; others wait until one is closed", "connections", cap(l.slots), "address", l.Addr().String())
	}
}

// Close implements net.Listener.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}
