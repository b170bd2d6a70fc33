package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/overlay"
	"personasync/store/internal/wire"
	"personasync/store/postgres/internal/roundtrip"
)

// State is an engine.State. View and Close may be called concurrently, Update by one goroutine. A term has one
// State, by which all is written while it lasts.
type State struct {
	db       *DB
	term     *Term           // nil: for readers
	life     context.Context // of the term: its transactions end with it
	end      context.CancelFunc
	exist    sync.Map    // names of tables that are known to exist
	doubt    atomic.Bool // a transaction of the writer may still be committing; see settle
	settling sync.Mutex  // so that no reader that settled one doubt ends the next one
	mu       sync.Mutex  // covers closed, and the first of readers
	closed   bool
	readers  sync.WaitGroup

	// What follows belongs to the caller of Update.

	conn *pgconn.PgConn    // beside the pool, whose readers must not make the writer wait; nil: none
	kept map[string]*table // the small tables, as the last transaction left them
}

var _ engine.State = (*State)(nil)

// State returns the state of the store. Without a term it is for readers: Update returns ErrNotWriter.
func (db *DB) State(t *Term) *State {
	s := &State{db: db, term: t, life: context.Background()}
	if t != nil {
		s.life = t.life
	}
	s.life, s.end = context.WithCancel(s.life)
	return s
}

// View implements engine.State. A read that failed is its error, even if f has returned none.
func (s *State) View(f func(engine.Tx) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.readers.Done()
	ctx, cancel := context.WithTimeout(s.life, roundtrip.Patience)
	defer cancel()
	if err := s.settle(); err != nil {
		return err
	}
	c, r, err := s.reader(ctx)
	if err != nil {
		return err
	}
	defer c.Release() // which closes it, unless its transaction has ended
	if err = r.run(f, r); r.err != nil {
		return r.err
	}
	if ended := roundtrip.Do(r.life, r.conn, nil, roundtrip.Statement{SQL: "rollback"}); ended != nil {
		return errors.Join(err, ended)
	}
	return err
}

// reader begins a reader on a connection of the pool. After a failover those that were idle lead to a server that is
// gone, so a second attempt has a new one.
func (s *State) reader(ctx context.Context) (c *pooled, r *reader, err error) {
	for range 2 {
		if c, err = s.db.pool.Acquire(ctx); err != nil {
			return nil, nil, roundtrip.Explain(err)
		}
		if r, err = s.begin(c.Value()); err == nil {
			return c, r, nil
		}
		broken := r.conn.IsClosed()
		if c.Release(); !broken {
			return nil, nil, err
		}
		s.db.pool.Reset()
	}
	return nil, nil, err
}

// enter counts a reader.
func (s *State) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return domain.ErrClosed
	}
	s.readers.Add(1)
	return nil
}

// begin begins a reader, with the tables that nearly every one asks for.
func (s *State) begin(conn *pgconn.PgConn) (*reader, error) {
	r := &reader{state: s, life: s.life, conn: conn, tables: make(map[string]*table)}
	statements := []roundtrip.Statement{{SQL: "begin isolation level repeatable read read only"}, {SQL: "select " + settings}}
	spans, m := make([]span, len(atOnce)), memory{}
	for i, name := range atOnce {
		t := &table{name: s.db.quoted(name), known: known{&spans[i]}}
		r.tables[name] = t
		statements = append(statements, whole(t.name))
	}
	err := roundtrip.Do(r.life, conn, func(n int, v [][]byte) {
		if n -= len(statements) - len(atOnce); n >= 0 {
			spans[n].rows = append(spans[n].rows, m.row(v[0], v[1]))
		}
	}, statements...)
	if c := roundtrip.Code(err); c == roundtrip.StateUndefined || c == roundtrip.StateNoSchema {
		return r, fmt.Errorf("the schema %s has no store: %w", s.db.Schema, err)
	}
	return r, roundtrip.Explain(err)
}

// Update implements engine.State. It begins with the fence, so that it writes nothing after the term: ErrTermOver. It
// reads what is committed at each statement, not at its begin: a transaction of before whose outcome is unknown holds
// the fence until it ends, and only then does this one read.
func (s *State) Update(f func(engine.Tx) error) error {
	if s.term == nil {
		return ErrNotWriter
	}
	return roundtrip.Translate(s.transact(nil, f))
}

// transact is Update, with something to do first.
func (s *State) transact(first func(*pgconn.PgConn) error, f func(engine.Tx) error) (err error) {
	ended := false // and the connection is as it was
	defer func() {
		if !ended {
			s.disconnect()
		}
	}()
	if s.life.Err() != nil {
		return context.Cause(s.life)
	}
	if s.conn == nil {
		ctx, cancel := context.WithTimeout(s.life, roundtrip.Patience)
		defer cancel()
		c, err := s.db.connect(ctx)
		if err != nil {
			return err
		}
		s.conn = c
		s.db.pool.Reset() // its connections may lead to another server, which was the primary
	}
	if err := s.fence(s.life, s.conn); err != nil {
		return err
	}
	if first != nil {
		if err := first(s.conn); err != nil {
			return err
		}
	}
	r := &reader{state: s, life: s.life, conn: s.conn, tables: make(map[string]*table)}
	maps.Copy(r.tables, s.kept)
	tx := overlay.Over(r)
	if err = r.run(f, tx); r.err != nil {
		return r.err
	}
	if err != nil {
		ended = roundtrip.Do(s.life, s.conn, nil, roundtrip.Statement{SQL: "rollback"}) == nil
		return err
	}
	_ = roundtrip.Warned(s.conn) // of before the commit
	if err = roundtrip.Do(s.life, s.conn, nil, append(s.writes(r, tx), roundtrip.Statement{SQL: "commit"})...); err != nil {
		err = fmt.Errorf("write to PostgreSQL: %w", err)
	} else {
		err = roundtrip.Warned(s.conn)
	}
	if err != nil {
		s.doubt.Store(true)
		return err
	}
	ended = true
	s.keep(r, tx)
	return nil
}

// fence is that of the term, for as long as a round trip may take.
func (s *State) fence(ctx context.Context, conn *pgconn.PgConn) error {
	ctx, cancel := context.WithTimeout(ctx, roundtrip.Patience)
	defer cancel()
	err := s.term.fence(ctx, conn, settings)
	if err != nil && !errors.Is(err, ErrTermOver) {
		err = fmt.Errorf("begin to write to PostgreSQL: %w", err)
	}
	return err
}

// settle waits until a transaction whose outcome is unknown has ended: it holds the fence for as long as it may still
// commit. Then it commits something itself, which the standby confirms only with all that was committed before: a commit
// whose wait was cut short is seen, and would be lost if the standby were promoted. Who reads afterwards sees what became
// of it.
func (s *State) settle() error {
	if !s.doubt.Load() {
		return nil
	}
	s.settling.Lock()
	defer s.settling.Unlock()
	if !s.doubt.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.life, roundtrip.Patience)
	defer cancel()
	c, err := s.db.connect(ctx)
	if err != nil {
		return err
	}
	defer closeNow(c)
	if err := s.fence(ctx, c); err != nil && !errors.Is(err, ErrTermOver) { // a term that is over was locked by another
		return err
	} else if err == nil {
		_ = roundtrip.Warned(c) // of before the commit
		err = roundtrip.Do(ctx, c, nil, roundtrip.Statement{SQL: "update " + s.db.quoted("term") + " set number = number"}, roundtrip.Statement{SQL: "commit"})
		if err = errors.Join(err, roundtrip.Warned(c)); err != nil {
			return fmt.Errorf("see what became of a write to PostgreSQL: %w", err)
		}
	}
	s.db.pool.Reset() // its connections may lead to another server, which was the primary
	s.doubt.Store(false)
	return nil
}

// disconnect drops the connection of the writer, and what was known by it.
func (s *State) disconnect() {
	if s.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), roundtrip.Patience)
		defer cancel()
		_ = s.conn.Close(ctx)
	}
	s.conn, s.kept = nil, nil
}

// Close implements engine.State, and ends the readers. It is called when Update is not.
func (s *State) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end() // a reader that waits for a server that is gone must not keep the next role from beginning
	s.readers.Wait()
	s.disconnect()
	return nil
}

// AddBuckets makes those of the buckets that are missing, as after an update of the program. It may take as long as a
// statement of an administrator that has a table locked.
func (s *State) AddBuckets(names ...[]byte) error {
	if s.term == nil {
		return ErrNotWriter
	}
	return roundtrip.Translate(s.transact(s.tables(names), func(engine.Tx) error { return nil }))
}

// tables returns what makes the tables of a store, as the first thing of a transaction.
func (s *State) tables(buckets [][]byte) func(*pgconn.PgConn) error {
	return func(conn *pgconn.PgConn) error {
		if err := conn.Exec(s.life, s.db.tables(buckets)).Close(); err != nil {
			return fmt.Errorf("make the tables in PostgreSQL: %w", err)
		}
		return nil
	}
}

// Create makes the tables of a store, with its epoch and what fill writes: all of it or nothing.
func (db *DB) Create(ctx context.Context, t *Term, epoch uint32, buckets [][]byte, fill func(engine.Tx) error) error {
	s := db.State(t)
	s.life = ctx // the fence is its end anyway
	defer s.Close()
	err := s.transact(s.tables(buckets), func(tx engine.Tx) error {
		meta := tx.Bucket(engine.BucketMeta)
		if meta.Get(engine.MetaFormat) != nil {
			return fmt.Errorf("the schema %s has a store already", db.Schema)
		}
		return errors.Join(meta.Put(engine.MetaFormat, binary.BigEndian.AppendUint32(nil, engine.Format)),
			meta.Put(engine.MetaEpoch, binary.BigEndian.AppendUint32(nil, epoch)), fill(tx))
	})
	return roundtrip.Translate(err)
}

// CheckFormat returns an error unless this program can read the store that tx sees.
func CheckFormat(tx engine.Tx) error {
	meta := tx.Bucket(engine.BucketMeta)
	format := meta.Get(engine.MetaFormat)
	if len(format) != 4 || len(meta.Get(engine.MetaEpoch)) != 4 {
		return fmt.Errorf("bucket meta: %w", wire.ErrDamaged)
	}
	if v := binary.BigEndian.Uint32(format); v > engine.Format {
		return fmt.Errorf("%w: the store in PostgreSQL has format %d, this program knows %d: install the newer version again", wire.ErrNewer, v, engine.Format)
	}
	return nil
}
