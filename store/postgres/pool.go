package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"
)

// pool has the connections of readers. The parts of pgx above pgconn convert between types of Go and of PostgreSQL, which a
// store of bytes needs nothing of, and would make the program 3 MB larger.
type pool struct {
	*puddle.Pool[*pgconn.PgConn]
	config *pgconn.Config
}

// lease is a connection of a pool. Release gives it back.
type lease struct {
	*puddle.Resource[*pgconn.PgConn]
}

// idleTrusted is how long a connection may be idle before it is asked whether it is still one.
const idleTrusted = time.Second

// connectionLife is how long a connection is used: a load balancer, or an address that leads elsewhere, is followed then.
const connectionLife = time.Hour

// newPool makes a pool of at most so many connections. It opens none yet.
func newPool(config *pgconn.Config, most int32) (*pool, error) {
	p, err := puddle.NewPool(&puddle.Config[*pgconn.PgConn]{
		Constructor: func(ctx context.Context) (*pgconn.PgConn, error) { return pgconn.ConnectConfig(ctx, config) },
		Destructor:  hangUp,
		MaxSize:     most,
	})
	if err != nil {
		return nil, fmt.Errorf("the address of the store cannot be used: %w", err)
	}
	return &pool{p, config}, nil
}

// hangUp closes a connection as a client does that has time: the server is told.
func hangUp(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// Acquire returns a connection that works, and waits for one if all are in use.
func (p *pool) Acquire(ctx context.Context) (*lease, error) {
	for {
		r, err := p.Pool.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		if r.IdleDuration() < idleTrusted && time.Since(r.CreationTime()) < connectionLife {
			return &lease{r}, nil
		}
		asking, cancel := context.WithTimeout(ctx, askPatience)
		err = r.Value().Ping(asking)
		cancel()
		if err == nil && time.Since(r.CreationTime()) < connectionLife {
			return &lease{r}, nil
		}
		r.Destroy()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// Release gives a connection back, and closes it unless its transaction has ended.
func (l *lease) Release() {
	if conn := l.Value(); conn.IsClosed() || conn.IsBusy() || conn.TxStatus() != 'I' {
		l.Destroy()
		return
	}
	l.Resource.Release()
}

// row asks for one row of text and scans it into the strings.
func (db *DB) row(ctx context.Context, into []*string, sql string, params ...string) error {
	c, err := db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	values := make([][]byte, len(params))
	for i, p := range params {
		values[i] = []byte(p)
	}
	r := c.Value().ExecParams(ctx, sql, values, nil, nil, nil).Read()
	if r.Err != nil {
		return r.Err
	}
	if len(r.Rows) != 1 {
		return fmt.Errorf("PostgreSQL answered %d rows in place of one", len(r.Rows))
	}
	for i, s := range into {
		*s = string(r.Rows[0][i])
	}
	return nil
}

// exists reports whether a question is answered with true.
func (db *DB) exists(ctx context.Context, sql string, params ...string) (bool, error) {
	var answer string
	err := db.row(ctx, []*string{&answer}, sql, params...)
	return answer == "t", err
}

// run has the server run statements that answer nothing.
func (db *DB) run(ctx context.Context, sql string) error {
	c, err := db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	return c.Value().Exec(ctx, sql).Close()
}

// quote returns a name as SQL has it.
func quote(name string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(name, "\x00", ""), `"`, `""`) + `"`
}
