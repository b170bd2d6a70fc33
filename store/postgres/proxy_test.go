package postgres

import (
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
)

// proxy stands between an agent and the database, and fails as a network does.
type proxy struct {
	listener net.Listener
	database string // the socket of the server
	address  string
	ended    sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	pairs []*pair
	// watch is given every piece that goes to the server, before it goes. Its answer false swallows it and all that
	// follows on this connection, in both directions.
	watch func(toServer []byte) bool
}

// pair is one connection and its other half.
type pair struct {
	client, server net.Conn
	dead           bool // nothing passes any more, and nobody is told
}

func newProxy(t testing.TB, address string) *proxy {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{listener: l, database: filepath.Join(u.Query().Get("host"), ".s.PGSQL.5432")}
	p.address = "postgres://postgres@" + l.Addr().String() + u.Path + "?sslmode=disable"
	p.ended.Go(func() { p.accept(l) })
	t.Cleanup(func() {
		p.listener.Close()
		p.Break()
		p.ended.Wait()
	})
	return p
}

// URL is the address by way of the proxy.
func (p *proxy) URL() string { return p.address }

// listen listens again at the same address, once the listener was closed.
func (p *proxy) listen(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", p.listener.Addr().String())
	must(t, err)
	p.listener = l
	p.ended.Go(func() { p.accept(l) })
}

func (p *proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.database)
		if err != nil {
			client.Close()
			continue
		}
		both := &pair{client: client, server: server}
		p.mu.Lock()
		both.dead = p.cut
		p.pairs = append(p.pairs, both)
		p.mu.Unlock()
		p.ended.Go(func() { p.pass(both, server, client, true) })
		p.ended.Go(func() { p.pass(both, client, server, false) })
	}
}

// pass copies one direction until a side closes.
func (p *proxy) pass(both *pair, to io.WriteCloser, from io.Reader, toServer bool) {
	defer both.close()
	b := make([]byte, 1<<16)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		if toServer && !both.dead && p.watch != nil && n > 0 && !p.watch(b[:n]) {
			both.dead = true
		}
		dead := both.dead
		p.mu.Unlock()
		if !dead && n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (both *pair) close() {
	both.client.Close()
	both.server.Close()
}

// Cut lets nothing pass any more, on connections there are and on new ones, until Heal. Nobody is told.
func (p *proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for _, both := range p.pairs {
		both.dead = true
	}
}

// Heal lets new connections work, and closes those that were cut.
func (p *proxy) Heal() {
	p.mu.Lock()
	p.cut = false
	p.mu.Unlock()
	p.Break()
}

// Break closes all connections.
func (p *proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, both := range p.pairs {
		both.close()
	}
	p.pairs = nil
}

// Watch sets what is asked about each piece for the server.
func (p *proxy) Watch(watch func(toServer []byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watch = watch
}
