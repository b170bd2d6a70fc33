package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"personasync/store/postgres/internal/roundtrip"
)

const form = "postgres://USER:PASSWORD@HOST:5432/DATABASE"

const (
	connectTimeout = 5 * time.Second
	severalTimeout = 3 * time.Second // for each of several servers
	poolSize       = 12              // readers and appends at a time; pool_max_conns in the URL says otherwise
)

// parse reads the URL of a Config. No error has a part of the URL that could be a password.
func parse(address string) (c *pgconn.Config, most int32, err error) {
	if address == "" {
		return nil, 0, errors.New("the address of the store could not be read: `personasync config check` says why; be the user of the agent, or give it in PERSONASYNC_STORE_URL")
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, 0, fmt.Errorf("the address of the store is not of the form %s: write it so; a password with characters such as / or @ has them as %%2F and %%40", form)
	}
	query := u.Query()
	hosts := query.Get("host")
	hosts = cmp.Or(hosts, u.Host)
	switch {
	case hosts == "":
		return nil, 0, fmt.Errorf("the address of the store names no host: write %s, or ?host=/DIRECTORY for a unix socket", form)
	case strings.Trim(u.Path, "/") == "" && query.Get("dbname") == "":
		return nil, 0, fmt.Errorf("the address of the store names no database: write %s", form)
	case u.User.Username() == "" && query.Get("user") == "":
		return nil, 0, fmt.Errorf("the address of the store names no user: write %s", form)
	}
	if err := requireTLS(u, query, hosts); err != nil {
		return nil, 0, err
	}
	if most, err = connections(u); err != nil {
		return nil, 0, err
	}
	if c, err = pgconn.ParseConfig(u.String()); err != nil {
		err = withoutURL(err)
		if query.Has("sslrootcert") || query.Has("sslcert") {
			err = fmt.Errorf("%w (its sslrootcert, sslcert and sslkey name files in PEM form that the agent may read)", err)
		}
		return nil, 0, fmt.Errorf("the address of the store cannot be used: %w", err)
	}
	c.DialFunc = (&net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control:         giveUpSending,
	}).DialContext
	c.AfterConnect = settleSession
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
		if strings.Contains(hosts, ",") {
			c.ConnectTimeout = severalTimeout
		}
	}
	return c, most, nil
}

// namesAuthority reports whether a URL, which was parsed, names a file with the certificate of an authority.
func namesAuthority(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Query().Has("sslrootcert")
}

// connections takes pool_max_conns out of a URL, which is none of PostgreSQL's settings.
func connections(u *url.URL) (most int32, err error) {
	query := u.Query()
	text := query.Get("pool_max_conns")
	if text == "" {
		return poolSize, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return 0, errors.New("the address of the store cannot be used: pool_max_conns is no number from 1 on")
	}
	query.Del("pool_max_conns")
	u.RawQuery = query.Encode()
	return int32(n), nil
}

// sendTimeout is how long a host may leave unconfirmed what was sent to it.
const sendTimeout = 10 * time.Second

// giveUpSending has a connection end when its host is gone while something is on the way there. The kernel sends no
// probes then, and by itself it tries for a quarter of an hour.
func giveUpSending(network, _ string, c syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	controlled := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(sendTimeout.Milliseconds()))
	})
	return errors.Join(controlled, err)
}

// sessionSettings hold whatever an administrator has set for the user or the database.
//
// The server finds out within seconds that this machine is gone. Otherwise it would keep the locks of a transaction of which
// half has arrived for hours: no timeout of its own runs then. A statement alone, such as an append, sees what was committed
// while it waited for a lock. The connections of an agent are idle for as long as nothing comes.
const sessionSettings = `set tcp_keepalives_idle = 4; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3;
	set default_transaction_isolation = 'read committed';
	select set_config(name, '0', false) from unnest(array['idle_session_timeout', 'transaction_timeout']) name where current_setting(name, true) is not null`

func settleSession(ctx context.Context, conn *pgconn.PgConn) error {
	ctx, cancel := context.WithTimeout(ctx, roundtrip.AskPatience)
	defer cancel()
	return conn.Exec(ctx, sessionSettings).Close()
}

// requireTLS has the server's certificate verified wherever the way to it leaves this machine, and refuses less.
func requireTLS(u *url.URL, query url.Values, hosts string) error {
	for host := range strings.SplitSeq(hosts, ",") {
		name, _, err := net.SplitHostPort(host)
		if err != nil {
			name = strings.Trim(host, "[]")
		}
		if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || name == "localhost" || net.ParseIP(name).IsLoopback() {
			continue
		}
		switch mode := query.Get("sslmode"); mode {
		case "verify-full":
		case "":
			query.Set("sslmode", "verify-full")
			u.RawQuery = query.Encode()
		default:
			return fmt.Errorf("sslmode=%s does not prove that %s is your server: write sslmode=verify-full, and sslrootcert=FILE with the certificate of its authority if this machine does not trust it yet", mode, name)
		}
	}
	return nil
}

// withoutURL returns the cause of an error about a URL, which has the URL in its text.
func withoutURL(err error) error {
	if p := new(pgconn.ParseConfigError); errors.As(err, &p) && errors.Unwrap(p) != nil {
		return errors.Unwrap(p)
	}
	return errors.New("a part of it is not understood")
}
