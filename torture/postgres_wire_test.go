package torture

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// wire is the network between an agent and the servers of its database: a proxy that can be cut.
type wire struct {
	listeners []*net.TCPListener
	done      sync.WaitGroup

	mu      sync.Mutex // covers what follows
	changed *sync.Cond
	up      fate // of what the agent sends
	down    fate // of what the servers answer
	conns   map[net.Conn]bool
	closed  bool
}

// fate is what becomes of bytes.
type fate int

const (
	arrive  fate = iota
	late         // once the wire is whole again
	swallow      // never; connections that lost any end once the wire is whole again
	cut          // connections end, and none can be opened
)

func (f fate) String() string { return [...]string{"arrive", "are late", "are lost", "end"}[f] }

// newWire lays a wire to servers that listen at sockets. It ends with t.
func newWire(t *testing.T, sockets ...string) *wire {
	t.Helper()
	w := &wire{conns: map[net.Conn]bool{}}
	w.changed = sync.NewCond(&w.mu)
	t.Cleanup(w.close)
	for _, socket := range sockets {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		w.listeners = append(w.listeners, l)
		w.done.Go(func() { w.accept(l, socket) })
	}
	return w
}

// url returns the address of the database behind w.
func (w *wire) url() string {
	var hosts, ports []string
	for _, l := range w.listeners {
		hosts, ports = append(hosts, "127.0.0.1"), append(ports, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	}
	return "postgres://postgres@/postgres?host=" + strings.Join(hosts, ",") + "&port=" + strings.Join(ports, ",")
}

func (w *wire) accept(l *net.TCPListener, socket string) {
	for {
		agent, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", socket)
		w.mu.Lock()
		if err != nil || w.closed || w.up == cut || w.down == cut {
			_ = agent.(*net.TCPConn).SetLinger(0) // as where nothing listens
			agent.Close()
			if server != nil {
				server.Close()
			}
		} else {
			w.conns[agent], w.conns[server] = true, true
			w.done.Go(func() { w.pump(agent, server, &w.up) })
			w.done.Go(func() { w.pump(server, agent, &w.down) })
		}
		w.mu.Unlock()
	}
}

// pump carries bytes one way until a side ends.
func (w *wire) pump(from, to net.Conn, fate *fate) {
	defer w.end(from, to)
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		w.mu.Lock()
		for *fate == late && !w.closed {
			w.changed.Wait()
		}
		lost := *fate == swallow
		for lost && err != nil && *fate == swallow && !w.closed {
			w.changed.Wait() // nor does the other side learn that this one ended
		}
		w.mu.Unlock()
		if err == nil && !lost {
			_, err = to.Write(buffer[:n])
		}
		if err != nil {
			return
		}
	}
}

func (w *wire) end(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(w.conns, c)
	}
}

// set says what becomes of bytes from now on.
func (w *wire) set(up, down fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	broken := w.up == swallow || w.down == swallow || up == cut || down == cut
	w.up, w.down = up, down
	if broken {
		for c := range w.conns {
			c.Close()
		}
	}
	w.changed.Broadcast()
}

func (w *wire) close() {
	w.mu.Lock()
	w.closed = true
	for c := range w.conns {
		c.Close()
	}
	w.changed.Broadcast()
	w.mu.Unlock()
	for _, l := range w.listeners {
		l.Close()
	}
	w.done.Wait()
}

// TestAWireDoesToBytesWhatItIsTold: an echo behind a wire.
func TestAWireDoesToBytesWhatItIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "echo")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	w := newWire(t, socket)
	say := func(c net.Conn, word string) string {
		if _, err := c.Write([]byte(word)); err != nil {
			return err.Error()
		}
		return hear(c)
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", w.listeners[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c := dial()
	if got := say(c, "one"); got != "one" {
		t.Errorf("a whole wire: %q", got)
	}
	w.set(arrive, late)
	if got := say(c, "two"); got != silence {
		t.Errorf("answers are late: %q", got)
	}
	w.set(arrive, arrive)
	if got := hear(c); got != "two" {
		t.Errorf("late answers: %q", got)
	}
	w.set(swallow, arrive)
	if got := say(c, "three"); got != silence {
		t.Errorf("questions are lost: %q", got)
	}
	w.set(arrive, arrive)
	if got := hear(c); got != gone {
		t.Errorf("after lost bytes: %q", got)
	}
	c = dial()
	w.set(cut, cut)
	if got := hear(c); got != gone {
		t.Errorf("a cut wire: %q", got)
	}
	if c, err := net.Dial("tcp", w.listeners[0].Addr().String()); err == nil {
		if got := hear(c); got != gone {
			t.Errorf("a new connection by a cut wire: %q", got)
		}
		c.Close()
	}
}

const (
	silence = "nothing is heard"
	gone    = "the connection ended"
)

// hear returns what comes next.
func hear(c net.Conn) string {
	b := make([]byte, 100)
	_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	n, err := c.Read(b)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return silence
	case err != nil:
		return gone
	}
	return string(b[:n])
}
