package postgres

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"personasync/store/postgres/internal/roundtrip"
)

// stagger is how much later each further server of an address is tried, if none before it has answered. One that stands
// still takes connections and says nothing.
const stagger = 250 * time.Millisecond

// dialer connects to the server that takes writes, of those that an address names. The one that did last is tried first.
// Its methods may be called concurrently.
type dialer struct {
	hosts   []*pgconn.Config
	reread  func() (*pgconn.Config, error) // reads the file of the authority again; nil: the address names none
	moves   atomic.Int64                   // how often another server answered than before
	moved   func()                         // called when another server answers than before
	first   atomic.Int32                   // the one of hosts that is tried first
	suspect atomic.Bool                    // see doubt
}

// serversOf makes a configuration for each server of c, which may be tried with TLS and without.
func serversOf(c *pgconn.Config) (hosts []*pgconn.Config) {
	for _, f := range append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...) {
		if n := len(hosts); n > 0 && hosts[n-1].Host == f.Host && hosts[n-1].Port == f.Port {
			hosts[n-1].Fallbacks = append(hosts[n-1].Fallbacks, f)
			continue
		}
		one := *c // not Copy, whose settings for TLS are others: pgx finds the certificate of the client by them
		one.Host, one.Port, one.TLSConfig, one.Fallbacks = f.Host, f.Port, f.TLSConfig, nil
		hosts = append(hosts, &one)
	}
	return hosts
}

// servers is hosts with the authority that its file has now: it is replaced before it expires. pgx reads the files of a client
// for each connection, and that of the authority only once. One that cannot be used, as while it is being replaced, changes nothing.
func (d *dialer) servers() []*pgconn.Config {
	if d.reread == nil {
		return d.hosts
	}
	c, err := d.reread()
	if err != nil {
		return d.hosts
	}
	return serversOf(c)
}

// doubt has the next connection lead to the newest primary of all that answer. An old one that nobody fenced takes
// connections as before, and waits with every commit for a standby that has left it.
func (d *dialer) doubt() { d.suspect.Store(true) }

// dialed is what came of a try.
type dialed struct {
	host int
	conn *pgconn.PgConn
	err  error
}

// dial opens a connection.
func (d *dialer) dial(ctx context.Context) (*pgconn.PgConn, error) {
	hosts := d.servers()
	if len(hosts) == 1 {
		return pgconn.ConnectConfig(ctx, hosts[0])
	}
	all := d.suspect.Load()
	trying, enough := context.WithCancel(ctx)
	defer enough()
	tries := d.try(trying, hosts, all)
	errs := make([]error, len(hosts))
	var best dialed
	newest := int64(-1)
	for left := len(hosts); left > 0; left-- {
		t := <-tries
		switch errs[t.host] = t.err; {
		case t.err != nil:
		case !all:
			go closeRest(tries, left-1)
			return d.take(t), nil
		default:
			if at := timeline(trying, t.conn); at > newest {
				best.conn, t.conn, best.host, newest = t.conn, best.conn, t.host, at
			}
			closeNow(t.conn)
		}
	}
	if best.conn == nil {
		return nil, errors.Join(errs...)
	}
	d.suspect.Store(false)
	return d.take(best), nil
}

// timeline returns the number of the timeline that a server writes, which grows with each promotion; 0 if it does not say.
func timeline(ctx context.Context, conn *pgconn.PgConn) (number int64) {
	_ = roundtrip.Send(ctx, conn, func(_ int, v [][]byte) { number = roundtrip.Integer(v[0]) },
		roundtrip.Statement{SQL: "select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint"})
	return number
}

// try tries each server, one after the other or all at once.
func (d *dialer) try(ctx context.Context, hosts []*pgconn.Config, atOnce bool) <-chan dialed {
	tries := make(chan dialed, len(hosts))
	for i := range hosts {
		n, wait := (int(d.first.Load())+i)%len(hosts), stagger*time.Duration(i)
		if atOnce {
			wait = 0
		}
		go func() {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			conn, err := pgconn.ConnectConfig(ctx, hosts[n])
			tries <- dialed{n, conn, err}
		}()
	}
	return tries
}

// take notes which server answered.
func (d *dialer) take(t dialed) *pgconn.PgConn {
	if was := d.first.Swap(int32(t.host)); int(was) != t.host && d.moved != nil {
		d.moves.Add(1)
		d.moved()
	}
	return t.conn
}

// closeRest closes what further tries bring.
func closeRest(tries <-chan dialed, left int) {
	for range left {
		closeNow((<-tries).conn)
	}
}

// closeNow closes a connection without waiting for its server. nil is none.
func closeNow(conn *pgconn.PgConn) {
	if conn != nil {
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		_ = conn.Close(gone)
	}
}
