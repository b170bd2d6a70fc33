package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"personasync/store/domain"
	"personasync/store/postgres/internal/roundtrip"
)

// Errors that callers tell apart.
var (
	// ErrNotWriter says that this agent does not write: another one holds the term.
	ErrNotWriter = domain.ErrNotWriter
	// ErrTermOver says that another agent may write now. Nothing of the transaction was written.
	ErrTermOver = fmt.Errorf("the term of this agent is over: %w", domain.ErrClosed)
)

// settings are those of a transaction, set in it because a pooler may give each transaction another session. A commit
// waits for a standby that confirms it no longer than a statement may take. Statements bring arrays of any size, for
// which the planner's estimates are wrong: it would compile them, or read whole tables.
const settings = `set_config('synchronous_commit', case current_setting('synchronous_commit') when 'remote_apply' then 'remote_apply' else 'on' end, true),
	set_config('statement_timeout', '30s', true), set_config('idle_in_transaction_session_timeout', '10s', true),
	set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true)`

// Passes reports whether waiting may cure an error, see roundtrip.Passes. A term that is over is followed by another.
func Passes(err error) bool { return errors.Is(err, ErrTermOver) || roundtrip.Passes(err) }

// Term is the right to write, of one agent at a time. A goroutine renews it until Release. Every transaction of the
// writer locks the row of the table term with its number, so that an agent whose term is over writes nothing.
//
// What the writer does outside the database ends with Context. That is a fifth of the TTL before the database lets
// another agent take over, by the monotonic clock of this machine, reckoned from before the last renewal was sent. So
// two agents send at once only if one of them stood still with its clock, as a virtual machine that is paused does.
//
// All methods may be called concurrently.
type Term struct {
	db       *DB
	number   int64 // in the table term; the fence
	life     context.Context
	end      context.CancelCauseFunc
	deadline *time.Timer               // ends life, unless a renewal moves it
	trusted  atomic.Pointer[time.Time] // when deadline strikes
	table    int64                     // the oid of the table term, see fence
	until    int64                     // what the last renewal wrote, in microseconds by the clock of the database; belongs to renew
	renewed  chan struct{}             // closed when the goroutine that renews has ended
}

// Holder is the agent that has the term, or had it last.
type Holder struct {
	Term    int64 // its number, 0 if there was none yet
	Host    string
	Version string
	Since   time.Time
	Left    time.Duration // until another agent may take over, by the clock of the database
}

// HeldError is the answer to an agent that asks for the term of another. It is ErrHeld.
type HeldError struct{ Holder }

// Error implements error.
func (e *HeldError) Error() string {
	return fmt.Sprintf("%v: %s (version %s), since %s", ErrHeld, e.Host, e.Version, e.Since.Local().Format(time.DateTime))
}

// Unwrap returns ErrHeld.
func (e *HeldError) Unwrap() error { return ErrHeld }

// ErrHeld says that another agent has the term.
var ErrHeld = errors.New("another agent is the writer")

const (
	heldPoll   = 250 * time.Millisecond // between two looks at a term that another agent has
	failedPoll = time.Second            // after a failure
)

// Holder returns the agent that has the term. It fails if the schema has no term yet, and when no answer comes: an agent
// that waited for a server that stands still would never take over, though another server may be the primary by now.
func (db *DB) Holder(ctx context.Context) (h Holder, err error) {
	c, err := db.pool.Acquire(ctx)
	if err != nil {
		return h, err
	}
	defer c.Release()
	asking, cancel := context.WithTimeout(ctx, roundtrip.AskPatience)
	defer cancel()
	err = roundtrip.Send(asking, c.Value(), func(_ int, v [][]byte) {
		h.Term, h.Host, h.Version = roundtrip.Integer(v[0]), string(v[1]), string(v[2])
		h.Since, h.Left = time.UnixMicro(roundtrip.Integer(v[3])), time.Duration(roundtrip.Integer(v[4]))*time.Microsecond
	}, roundtrip.Statement{SQL: fmt.Sprintf(`select number, coalesce(host, ''), coalesce(version, ''), coalesce((extract(epoch from since) * 1e6)::bigint, 0),
	coalesce((extract(epoch from until - clock_timestamp()) * 1e6)::bigint, 0) from %s, %s`, db.quoted("term"), db.quoted("holder"))})
	if asking.Err() != nil {
		db.pool.doubt()
		db.pool.Reset() // a server that stands still does so on the other connections, too
	}
	return h, err
}

// Acquire takes the term if no agent has it. It returns a *HeldError otherwise. It makes the schema and the table of the
// term if there have been none, and an ErrOtherWorkspace to an agent that would send elsewhere. Release gives the term back.
func (db *DB) Acquire(ctx context.Context) (*Term, error) {
	h, err := db.Holder(ctx)
	if c := roundtrip.Code(err); c == roundtrip.StateUndefined || c == roundtrip.StateNoSchema {
		if db.met.Load() {
			return nil, db.gone()
		}
		if err := db.ensureTerm(ctx); err != nil {
			return nil, err
		}
		h, err = db.Holder(ctx)
	}
	db.met.CompareAndSwap(false, err == nil)
	switch {
	case err != nil:
		return nil, roundtrip.Explain(err)
	case h.Left > 0:
		return nil, &HeldError{h}
	}
	workspace, err := db.SentTo(ctx)
	if err = errors.Join(err, db.Admits(workspace)); err != nil {
		return nil, err
	}
	conn, err := db.connect(ctx)
	if err != nil {
		return nil, err
	}
	t, err := db.take(ctx, conn)
	if roundtrip.Code(err) == roundtrip.StateLockTimeout { // a transaction is open, and nobody goes on with it
		if err = db.disconnect(ctx, h); err == nil {
			t, err = db.take(ctx, conn)
		}
	}
	if err != nil {
		closeNow(conn)
		if errors.Is(err, ErrHeld) {
			if h, err = db.Holder(ctx); err == nil {
				return nil, &HeldError{h}
			}
		}
		if roundtrip.Code(err) == roundtrip.StateLockTimeout {
			err = fmt.Errorf("another transaction has its row locked: %w: end that, pg_locks lists it", err)
		}
		return nil, fmt.Errorf("take the term: %w", err)
	}
	go t.renew(conn)
	return t, nil
}

// gone is the error of a store that was there and is not any more. An agent that made another one would answer 200, and
// what it took would go when the backup comes back.
func (db *DB) gone() error {
	return fmt.Errorf("the store in the schema %s is gone, as after DROP SCHEMA: have an administrator restore it from a backup of PostgreSQL; to begin a new store instead, restart every agent", db.Schema)
}

// take writes the next term. It locks the row of the holder, which each renewal writes, and then the fence, which a
// transaction of the writer before holds until it ends. It waits for each half a second, and a commit that takes longer than the
// TTL gives no term. So what takes longer than both is a server that stands still, and another one may be the primary by now.
func (db *DB) take(ctx context.Context, conn *pgconn.PgConn) (_ *Term, err error) {
	defer func() {
		if err != nil && roundtrip.Code(err) == "" { // it does not answer, or no standby confirms: another server may be the primary
			db.pool.doubt()
			db.pool.Reset()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, db.TTL+time.Second)
	defer cancel()
	var held bool
	var was, table int64
	err = roundtrip.Send(ctx, conn, func(n int, v [][]byte) {
		switch n {
		case 2:
			held = v[0][0] != 0
		case 3:
			was, table = roundtrip.Integer(v[0]), roundtrip.Integer(v[1])
		}
	}, roundtrip.Statement{SQL: "begin isolation level read committed"}, roundtrip.Statement{SQL: "select " + settings + ", set_config('lock_timeout', '500ms', true)"},
		roundtrip.Statement{SQL: "select coalesce(until > clock_timestamp(), false) from " + db.quoted("holder") + " where id = 1 for update"},
		roundtrip.Statement{SQL: "select number, tableoid::bigint from " + db.quoted("term") + " where id = 1 for update"})
	switch {
	case err != nil:
		return nil, errors.Join(err, roundtrip.Send(ctx, conn, nil, roundtrip.Statement{SQL: "rollback"}))
	case held:
		return nil, ErrHeld
	}
	_ = roundtrip.Warned(conn) // of before
	t, sent := &Term{db: db, number: was + 1, table: table, renewed: make(chan struct{})}, time.Now()
	err = roundtrip.Send(ctx, conn, func(_ int, v [][]byte) { t.until = roundtrip.Integer(v[0]) },
		roundtrip.Statement{SQL: "update " + db.quoted("term") + " set number = $1", Params: [][]byte{roundtrip.Number(t.number)}, Types: []uint32{roundtrip.TypeNumber}},
		roundtrip.Statement{SQL: "update " + db.quoted("holder") + " set holder = $1, host = $2, version = $3, since = clock_timestamp(), until = clock_timestamp() + " + db.ttl() + " returning " + untilMicros,
			Params: [][]byte{t.holder(), []byte(db.Host), []byte(db.Version)}, Types: []uint32{roundtrip.TypeText, roundtrip.TypeText, roundtrip.TypeText}},
		roundtrip.Statement{SQL: "commit"})
	if err == nil {
		err = roundtrip.Warned(conn)
	}
	if err != nil {
		return nil, err
	}
	db.term.Store(t.number)
	db.pool.Reset() // its connections may lead to another server, which was the primary
	t.life, t.end = context.WithCancelCause(context.Background())
	t.deadline = time.AfterFunc(t.trust(sent), func() {
		t.end(fmt.Errorf("%w: it could not be renewed for %v", ErrTermOver, db.TTL))
	})
	return t, nil
}

// disconnect ends the connections of the agent that had the term and left a transaction of that time open: it stands still, or
// is cut off from the database. If it lives, and another transaction is in the way, what it does as a door goes on.
func (db *DB) disconnect(ctx context.Context, h Holder) error {
	ended := 0
	err := db.ask(ctx, func(int, [][]byte) { ended++ }, roundtrip.Statement{
		SQL: "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and application_name = $1" +
			" and xact_start < (select until from " + db.quoted("holder") + ")",
		Params: [][]byte{[]byte(application(db.Schema, h.Host))}, Types: []uint32{roundtrip.TypeText}})
	if err != nil {
		return fmt.Errorf("end the connections of %s, whose term is over: %w", h.Host, err)
	}
	if ended == 0 {
		return nil
	}
	db.Config.Log.Warn("the agent whose term is over had a transaction open: its connections to PostgreSQL are ended", "host", h.Host)
	return nil
}

// Wait is Acquire as soon as that succeeds. It logs what keeps it from asking, and returns the error of ctx.
func (db *DB) Wait(ctx context.Context) (*Term, error) {
	defer db.noTerm.Store(nil)
	for {
		t, err := db.Acquire(ctx)
		if err == nil {
			return t, nil
		}
		pause := heldPoll
		if errors.Is(err, ErrHeld) || ctx.Err() != nil {
			db.noTerm.Store(nil)
		} else {
			pause = failedPoll
			why := err.Error()
			if db.noTerm.Swap(&why) == nil {
				db.Config.Log.Warn("the term cannot be asked for; trying again", "err", err)
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Number returns the number of the term, which only grows.
func (t *Term) Number() int64 { return t.number }

// Context returns the context of all that only the writer may do. Its cause tells why the term ended: an ErrTermOver.
func (t *Term) Context() context.Context { return t.life }

// Release ends the term and lets another agent have it at once. It must be called for each term, also after its end. If it
// fails, others wait until the TTL has passed.
func (t *Term) Release(ctx context.Context) error {
	t.end(ErrTermOver)
	<-t.renewed
	t.deadline.Stop()
	t.db.term.Store(0)
	err := t.db.ask(ctx, nil, roundtrip.Statement{
		SQL:    "update " + t.db.quoted("holder") + " set until = least(until, clock_timestamp()), holder = null where holder = $1", // a renewal on its way finds it no more
		Params: [][]byte{t.holder()}, Types: []uint32{roundtrip.TypeText}})
	if err != nil {
		return fmt.Errorf("hand over the term: %w: another agent takes over within %v", err, t.db.TTL)
	}
	return nil
}

// renew renews the term every third of its TTL, on a connection of its own, which no reader can keep busy. After a failure
// it tries again soon, on another connection.
func (t *Term) renew(conn *pgconn.PgConn) {
	defer close(t.renewed)
	pause, failing := t.db.TTL/3, false
	for {
		select {
		case <-time.After(pause):
		case <-t.life.Done():
			closeNow(conn)
			return
		}
		sent, err := time.Now(), error(nil)
		if conn == nil {
			conn, err = t.db.connect(t.life)
		}
		if err == nil {
			err = t.renewOnce(conn)
		}
		switch {
		case err == nil:
			t.deadline.Reset(t.trust(sent)) // if it has ended the term already, it does so again
			pause, failing = t.db.TTL/3, false
			continue
		case errors.Is(err, ErrTermOver):
			t.end(err)
		case !failing && t.life.Err() == nil:
			t.db.Config.Log.Warn("the term could not be renewed; trying again", "err", err)
		}
		closeNow(conn)
		t.db.pool.doubt()
		conn, pause, failing = nil, t.db.TTL/20, true
	}
}

// renewOnce moves the time until which no other agent takes over. Only a commit that the standby has confirmed counts. A time
// before that of the last renewal is of a backup that was restored.
func (t *Term) renewOnce(conn *pgconn.PgConn) error {
	_ = roundtrip.Warned(conn) // of before
	until := int64(0)
	err := roundtrip.Send(t.life, conn, func(_ int, v [][]byte) { until = roundtrip.Integer(v[0]) }, roundtrip.Statement{
		SQL:    "update " + t.db.quoted("holder") + " set until = clock_timestamp() + " + t.db.ttl() + " where holder = $1 and " + untilMicros + " >= $2 returning " + untilMicros + ", " + settings,
		Params: [][]byte{t.holder(), roundtrip.Number(t.until)}, Types: []uint32{roundtrip.TypeText, roundtrip.TypeNumber}})
	if err == nil {
		err = roundtrip.Warned(conn)
	}
	if err == nil && until == 0 {
		err = fmt.Errorf("%w: another agent has taken over, or a backup was restored", ErrTermOver)
	}
	if err == nil {
		t.until = until
	}
	return err
}

// holder is what the table holder has of this term, so that a renewal changes no other.
func (t *Term) holder() []byte { return strconv.AppendInt(nil, t.number, 10) }

// ttl returns the TTL in SQL.
func (db *DB) ttl() string { return fmt.Sprintf("interval '%d microseconds'", db.TTL.Microseconds()) }

// trust notes until when a renewal counts that was sent then, and returns for how much longer that is.
func (t *Term) trust(sent time.Time) time.Duration {
	until := sent.Add(t.db.TTL - t.db.TTL/5)
	t.trusted.Store(&until)
	return time.Until(until)
}

// Trusted reports whether the term counts, by the monotonic clock of this machine. After a process stood still it says so before
// Context, which a timer ends.
func (t *Term) Trusted() bool { return t.life.Err() == nil && time.Now().Before(*t.trusted.Load()) }

// untilMicros is until when a term counts, in SQL.
const untilMicros = "(extract(epoch from until) * 1e6)::bigint"

// fence begins a transaction with these settings, and locks the term. While it is open nobody takes over. It returns ErrTermOver
// when another agent has, and when the table is another one than before: a backup of the same term was restored, and what this
// process knows of the store is of before.
func (t *Term) fence(ctx context.Context, conn *pgconn.PgConn, settings string) error {
	locked := false
	err := roundtrip.Send(ctx, conn, func(int, [][]byte) { locked = true }, roundtrip.Statement{SQL: "begin isolation level read committed"}, roundtrip.Statement{
		SQL:    "select " + settings + " from " + t.db.quoted("term") + " where id = 1 and number = $1 and tableoid::bigint = $2 for update",
		Params: [][]byte{roundtrip.Number(t.number), roundtrip.Number(t.table)}, Types: []uint32{roundtrip.TypeNumber, roundtrip.TypeNumber}})
	if err == nil && !locked {
		err = ErrTermOver
	}
	return err
}

// fenced runs f in a transaction that begins with the fence, and commits it unless f fails. It waits for no lock of a table
// longer than half a second: everything that comes after it would wait too.
func (t *Term) fenced(ctx context.Context, f func(*pgconn.PgConn) error) error {
	c, err := t.db.pool.Acquire(ctx)
	if err != nil {
		return roundtrip.Explain(err)
	}
	defer c.Release() // which closes it, unless its transaction has ended
	conn := c.Value()
	if err = t.fence(ctx, conn, settings+", set_config('lock_timeout', '500ms', true)"); err == nil {
		err = f(conn)
	}
	if err != nil {
		return err
	}
	_ = roundtrip.Warned(conn) // of before the commit
	if err = roundtrip.Send(ctx, conn, nil, roundtrip.Statement{SQL: "commit"}); err == nil {
		err = roundtrip.Warned(conn)
	}
	return err
}
