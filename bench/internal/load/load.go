//go:build linux

package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Load posts events on a number of connections. Each connection sends its next request once the last was
// answered. It is one goroutine over epoll, because a client shares the cores with the measured server and must
// be cheap.
type Load struct {
	Address     string
	Connections int
	Batch       int // events per request
	Events      *Events
	First       uint64 // number of the first event
	Warmup      time.Duration
	During      time.Duration // of the measurement, after the warm-up

	epoll    int
	conns    []*connection
	next     uint64
	measured Result
	opens    time.Time // start and end of the measurement
	closes   time.Time
}

// Result has the answers received during the measurement.
type Result struct {
	Posts   int
	Events  int
	Refused int // answers other than 200
	Sent    uint64
	Took    time.Duration

	latencies []uint32 // of posts, µs, sorted
}

// Rate returns the acknowledged events per second.
func (r *Result) Rate() float64 { return float64(r.Events) / r.Took.Seconds() }

// Quantile returns a latency in milliseconds.
func (r *Result) Quantile(q float64) float64 {
	if len(r.latencies) == 0 {
		return 0
	}
	return float64(r.latencies[min(int(q*float64(len(r.latencies))), len(r.latencies)-1)]) / 1000
}

// connection is a keep-alive connection with at most one request in progress.
type connection struct {
	fd      int
	request *Request
	unsent  []byte
	answer  []byte
	sent    time.Time
	busy    bool
}

// patience is the longest wait for any answer.
const patience = 30 * time.Second

// Run posts until the time is over and the last answers have arrived.
func (l *Load) Run(ctx context.Context) (_ Result, err error) {
	defer l.hangUp()
	if err := l.dial(); err != nil {
		return Result{}, fmt.Errorf("connect to %s: %w", l.Address, err)
	}
	l.next = l.First
	l.opens = time.Now().Add(l.Warmup)
	l.closes = l.opens.Add(l.During)
	for _, c := range l.conns {
		if err := l.post(c); err != nil {
			return Result{}, err
		}
	}
	if err := l.turn(ctx); err != nil {
		return Result{}, err
	}
	l.measured.Took = l.During
	l.measured.Sent = l.next - l.First
	slices.Sort(l.measured.latencies)
	return l.measured, nil
}

// dial opens all connections before the first request, so that none pays for it.
func (l *Load) dial() (err error) {
	at, err := netip.ParseAddrPort(l.Address)
	if err != nil {
		return err
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	to := &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	for range l.Connections {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		l.conns = append(l.conns, &connection{fd: fd, request: NewRequest(l.Address, l.Batch), answer: make([]byte, 0, 4096)})
		watch := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET, Fd: int32(len(l.conns) - 1)}
		err = errors.Join(
			unix.Connect(fd, to),
			unix.SetNonblock(fd, true),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
			unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &watch),
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *Load) hangUp() {
	for _, c := range l.conns {
		_ = unix.Close(c.fd)
	}
	if l.epoll > 0 {
		_ = unix.Close(l.epoll)
	}
}

// turn serves the connections until all of them are idle.
func (l *Load) turn(ctx context.Context) error {
	ready := make([]unix.EpollEvent, max(64, l.Connections))
	for heard := time.Now(); slices.ContainsFunc(l.conns, func(c *connection) bool { return c.busy }); {
		n, err := unix.EpollWait(l.epoll, ready, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if n > 0 {
			heard = time.Now()
		}
		if time.Since(heard) > patience {
			return fmt.Errorf("%s has not answered for %v", l.Address, patience)
		}
		for i := range max(n, 0) {
			if err := l.serve(l.conns[ready[i].Fd]); err != nil {
				return err
			}
		}
	}
	return nil
}

// serve makes progress on a connection: it sends the rest of a request, reads an answer, or posts the next.
func (l *Load) serve(c *connection) error {
	if err := c.send(); err != nil {
		return err
	}
	for c.busy && len(c.unsent) == 0 {
		status, whole, err := c.read()
		if err != nil || !whole {
			return err
		}
		now := time.Now()
		l.count(c, status, now)
		c.busy = false
		if now.Before(l.closes) {
			return l.post(c) // epoll reports its answer separately
		}
	}
	return nil
}

// post sends the next request on an idle connection.
func (l *Load) post(c *connection) error {
	c.request.Fill(l.Events, l.next)
	l.next += uint64(l.Batch)
	c.unsent, c.answer, c.busy = c.request.bytes, c.answer[:0], true
	c.sent = time.Now()
	return c.send()
}

// count records an answer if it arrived during the measurement.
func (l *Load) count(c *connection, status int, now time.Time) {
	if now.Before(l.opens) || now.After(l.closes) {
		return
	}
	l.measured.Posts++
	l.measured.latencies = append(l.measured.latencies, uint32(min(now.Sub(c.sent).Microseconds(), 1<<32-1)))
	if status != 200 {
		l.measured.Refused++
		return
	}
	l.measured.Events += l.Batch
}

func (c *connection) send() error {
	for len(c.unsent) > 0 {
		n, err := unix.Write(c.fd, c.unsent)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		c.unsent = c.unsent[n:]
	}
	return nil
}

// read reads available bytes and reports whether the answer is complete.
func (c *connection) read() (status int, whole bool, err error) {
	n, err := unix.Read(c.fd, c.answer[len(c.answer):cap(c.answer)])
	switch {
	case errors.Is(err, unix.EAGAIN):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("read an answer: %w", err)
	case n == 0:
		return 0, false, errors.New("the server hung up, or answered more than it should")
	}
	c.answer = c.answer[:len(c.answer)+n]
	return ParseAnswer(c.answer)
}

var (
	answerStart  = []byte("HTTP/1.1 ")
	answerLength = []byte("\r\nContent-Length: ")
	answerBlank  = []byte("\r\n\r\n")
)

// ParseAnswer parses the status of an answer with a Content-Length, as net/http writes it.
func ParseAnswer(b []byte) (status int, whole bool, err error) {
	end := bytes.Index(b, answerBlank)
	if end < 0 {
		return 0, false, nil
	}
	head := b[:end+2]
	at := bytes.Index(head, answerLength)
	if !bytes.HasPrefix(head, answerStart) || len(head) < 12 || at < 0 {
		return 0, false, fmt.Errorf("not an answer: %.60q", b)
	}
	rest := head[at+len(answerLength):]
	length, errLength := strconv.Atoi(string(rest[:bytes.IndexByte(rest, '\r')]))
	status, errStatus := strconv.Atoi(string(head[9:12]))
	if err := errors.Join(errLength, errStatus); err != nil {
		return 0, false, fmt.Errorf("not an answer: %.60q", b)
	}
	return status, len(b) >= end+len(answerBlank)+length, nil
}
