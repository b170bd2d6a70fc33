package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"

	"personasync/store/domain"
	"personasync/store/postgres/internal/roundtrip"
)

// Config says how to reach a store. The password is part of URL and is never printed.
type Config struct {
	URL        string           // postgres://user:password@host:port/database; the form key=value is not taken
	Schema     string           // "" is personasync
	TTL        time.Duration    // of a term; 0 is 5 s
	Replicated string           // who keeps a second copy: "standby" (or "") is PostgreSQL itself, "elsewhere", "no"
	Host       string           // this agent, as others are told: name of the host and its admin address
	Version    string           // of this program
	Workspace  domain.Workspace // that this agent sends to; see Admits
	Log        *slog.Logger
}

// DB is a way to the server. Its methods may be called concurrently.
type DB struct {
	Config
	pool   *pool
	term   atomic.Int64           // number of the term of this process, 0 without one; see sameHistory
	noTerm atomic.Pointer[string] // see Health.NoTerm
	met    atomic.Bool            // the schema has been there: one that is gone is not made again
}

const oldest = 130000 // server_version_num

// Connect opens connections, and checks that the server can keep a store safely. An error says what is wrong and what to
// do, without the password.
func Connect(ctx context.Context, c Config) (*DB, error) {
	c.Schema, c.TTL, c.Replicated = cmp.Or(c.Schema, "personasync"), cmp.Or(c.TTL, 5*time.Second), cmp.Or(c.Replicated, "standby")
	db := &DB{Config: c}
	config, most, err := db.configure()
	if err != nil {
		return nil, err
	}
	if db.pool, err = newPool(config, most); err != nil {
		return nil, err
	}
	if namesAuthority(c.URL) {
		db.pool.reread = func() (*pgconn.Config, error) { config, _, err := db.configure(); return config, err }
	}
	if err := db.check(ctx); err != nil {
		db.pool.Close()
		return nil, err
	}
	return db, nil
}

// configure returns the settings of every connection, and how many readers there may be.
func (db *DB) configure() (config *pgconn.Config, most int32, err error) {
	if config, most, err = parse(db.URL); err != nil {
		return nil, 0, err
	}
	config.OnNotice = roundtrip.NoteWarning
	config.RuntimeParams["application_name"] = application(db.Schema, db.Host)
	config.ValidateConnect = db.sameHistory
	return config, most, nil
}

// Close ends the connections. Those in use end when they are given back.
func (db *DB) Close() { db.pool.Close() }

// connect opens a connection beside the pool, for what must not wait for readers. Where the server has none left, they give
// up theirs.
func (db *DB) connect(ctx context.Context) (*pgconn.PgConn, error) {
	conn, err := db.pool.dial(ctx)
	for try := 0; roundtrip.Code(err) == roundtrip.StateTooMany && try < 10 && ctx.Err() == nil; try++ {
		db.pool.Reset()
		time.Sleep(50 * time.Millisecond) // for the server to see that they are closed
		conn, err = db.pool.dial(ctx)
	}
	return conn, roundtrip.Explain(err)
}

// sameHistory refuses a server that is read only, and one without the term of this process: it was the primary when another
// one was promoted, and goes on beside it. The next server of the address is tried.
func (db *DB) sameHistory(ctx context.Context, conn *pgconn.PgConn) error {
	readOnly := ""
	err := roundtrip.Send(ctx, conn, func(_ int, v [][]byte) { readOnly = string(v[0]) }, roundtrip.Statement{SQL: "select current_setting('transaction_read_only')"})
	if err == nil && readOnly != "off" {
		err = roundtrip.ErrReadOnlyServer
	}
	mine := db.term.Load()
	if err != nil || mine == 0 {
		return err
	}
	there := int64(0)
	err = roundtrip.Send(ctx, conn, func(_ int, v [][]byte) { there = roundtrip.Integer(v[0]) }, roundtrip.Statement{SQL: "select number from " + db.quoted("term")})
	if err == nil && there < mine {
		err = fmt.Errorf("this server has term %d, and the writer was given term %d: it is no longer the primary", there, mine)
	}
	return err
}

// ask sends one statement on a connection of the pool.
func (db *DB) ask(ctx context.Context, each func(statement int, row [][]byte), s roundtrip.Statement) error {
	ctx, cancel := context.WithTimeout(ctx, roundtrip.Patience)
	defer cancel()
	c, err := db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	return roundtrip.Send(ctx, c.Value(), each, s)
}

// check asks the server what it is.
func (db *DB) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, roundtrip.Patience)
	defer cancel()
	var version string
	err := db.ask(ctx, func(_ int, v [][]byte) { version = string(v[0]) }, roundtrip.Statement{SQL: "select current_setting('server_version_num')"})
	if err != nil {
		return roundtrip.Explain(err)
	}
	if n, _ := strconv.Atoi(version); n < oldest {
		return fmt.Errorf("this PostgreSQL is of version %d, and the store needs 13 or later: upgrade the server", n/10000)
	}
	return nil
}

// RequireStandby fails where PostgreSQL waits for no standby, and is to keep the second copy.
func (db *DB) RequireStandby(ctx context.Context) error {
	var standbys string
	err := db.ask(ctx, func(_ int, v [][]byte) { standbys = string(v[0]) }, roundtrip.Statement{SQL: "select current_setting('synchronous_standby_names')"})
	if err == nil && db.Replicated == "standby" && standbys == "" {
		return errors.New("this PostgreSQL waits for no standby, so the loss of its host loses events that were answered with 200: " +
			"set synchronous_standby_names there, or say in [store] who keeps a second copy: replicated = \"elsewhere\" (the provider or the disk does) or \"no\"")
	}
	return roundtrip.Explain(err)
}

// application is what the server calls the connections of an agent. It keeps 63 bytes.
func application(schema, host string) string {
	name := schema + "@" + host
	return name[:min(len(name), 63)]
}

// pool has the connections of readers. The parts of pgx above pgconn convert between types of Go and of PostgreSQL, which a
// store of bytes needs nothing of, and would make the program 3 MB larger.
type pool struct {
	*puddle.Pool[*pgconn.PgConn]
	*dialer
	config *pgconn.Config
}

// pooled is a connection of a pool. Release gives it back.
type pooled struct {
	*puddle.Resource[*pgconn.PgConn]
}

// idleTrusted is how long a connection may be idle before it is asked whether it is still one.
const idleTrusted = time.Second

// connectionLife is how long a connection is used: a load balancer, or an address that leads elsewhere, is followed then.
const connectionLife = time.Hour

// newPool makes a pool of at most so many connections. It opens none yet.
func newPool(config *pgconn.Config, most int32) (*pool, error) {
	d := &dialer{hosts: serversOf(config)}
	p, err := puddle.NewPool(&puddle.Config[*pgconn.PgConn]{
		Constructor: d.dial,
		Destructor:  hangUp,
		MaxSize:     most,
	})
	if err != nil {
		return nil, fmt.Errorf("the address of the store cannot be used: %w", err)
	}
	d.moved = p.Reset
	return &pool{p, d, config}, nil
}

// hangUp closes a connection as a client does that has time: the server is told.
func hangUp(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// Acquire returns a connection that works, and waits for one if all are in use.
func (p *pool) Acquire(ctx context.Context) (*pooled, error) {
	for {
		r, err := p.Pool.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		if r.IdleDuration() < idleTrusted && time.Since(r.CreationTime()) < connectionLife {
			return &pooled{r}, nil
		}
		asking, cancel := context.WithTimeout(ctx, roundtrip.AskPatience)
		err = r.Value().Ping(asking)
		cancel()
		if err == nil && time.Since(r.CreationTime()) < connectionLife {
			return &pooled{r}, nil
		}
		r.Destroy()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// Release gives a connection back, and closes it unless its transaction has ended.
func (p *pooled) Release() {
	if conn := p.Value(); conn.IsClosed() || conn.IsBusy() || conn.TxStatus() != 'I' {
		p.Destroy()
		return
	}
	p.Resource.Release()
}

// exists reports whether to, such as to_regclass, finds what has a name, which is quoted.
func (db *DB) exists(ctx context.Context, to, name string) (found bool, err error) {
	err = db.ask(ctx, func(_ int, v [][]byte) { found = v[0][0] != 0 },
		roundtrip.Statement{SQL: "select " + to + "($1) is not null", Params: [][]byte{[]byte(name)}, Types: []uint32{roundtrip.TypeText}})
	return found, err
}

// run has the server run statements that answer nothing.
func (db *DB) run(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, roundtrip.Patience)
	defer cancel()
	c, err := db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	return c.Value().Exec(ctx, sql).Close()
}

// quoted returns the name of a table of the schema, as SQL has it.
func (db *DB) quoted(table string) string { return quote(db.Schema) + "." + quote(table) }

// quote returns a name as SQL has it.
func quote(name string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(name, "\x00", ""), `"`, `""`) + `"`
}
