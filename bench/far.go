//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"time"
)

// roundTrip is how much longer the way to a far server takes, both ways together.
const roundTrip = 2 * time.Millisecond

// far is a way to a server of TCP on which everything is late, as if it were elsewhere. It delays and does not throttle: what
// is sent at once arrives at once.
type far struct {
	net.Listener
	url  string // of the server, by this way
	ways sync.WaitGroup
}

// lengthen makes a way to the server at an address. Close ends it, once the connections on it have ended.
func lengthen(ctx context.Context, address string) (*far, error) {
	u, err := url.Parse(address)
	if err != nil || u.Port() == "" {
		return nil, errors.New("-postgres needs a URL with host and port, to measure a server that is further away")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := u.Host
	u.Host = l.Addr().String()
	f := &far{Listener: l, url: u.String()}
	f.ways.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			there, err := (&net.Dialer{}).DialContext(ctx, "tcp", server)
			if err != nil {
				_ = near.Close()
				continue
			}
			f.ways.Go(func() { delay(there, near) })
			f.ways.Go(func() { delay(near, there) })
		}
	})
	return f, nil
}

// Close implements io.Closer.
func (f *far) Close() error {
	err := f.Listener.Close()
	f.ways.Wait()
	return err
}

// late is what is under way.
type late struct {
	bytes []byte
	due   time.Time
}

// delay copies what comes from one end to the other, half of roundTrip later, and closes both at its end.
func delay(to io.WriteCloser, from io.ReadCloser) {
	way := make(chan late, 1<<16)
	go func() {
		defer close(way)
		for {
			buf := make([]byte, 64<<10)
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			way <- late{buf[:n:n], time.Now().Add(roundTrip / 2)}
		}
	}()
	failed := error(nil)
	for l := range way {
		if failed == nil {
			time.Sleep(time.Until(l.due))
			if _, failed = to.Write(l.bytes); failed != nil {
				_ = from.Close()
			}
		}
	}
	_, _ = to.Close(), from.Close()
}
