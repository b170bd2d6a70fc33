package postgres

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/postgres/internal/roundtrip"
	"personasync/store/postgres/pgtest"
)

func TestAfterTheTermNothingIsWritten(t *testing.T) {
	db, s := create(t)
	if err := s.Update(put("k", "first")); err != nil {
		t.Fatal(err)
	}
	later := db.State(newTerm(t, db))
	defer later.Close()
	if err := s.Update(put("k", "too late")); !errors.Is(err, ErrTermOver) || !errors.Is(err, domain.ErrClosed) {
		t.Errorf("a term that is over: %v", err)
	}
	if err := later.Update(put("l", "second")); err != nil {
		t.Error(err)
	}
	if got := get(t, s, "k") + get(t, s, "l"); got != "firstsecond" {
		t.Errorf("read %s", got)
	}
	if err := db.State(nil).Update(put("k", "no term")); !errors.Is(err, ErrNotWriter) {
		t.Errorf("without a term: %v", err)
	}
}

// TestTheEndOfTheTermEndsItsTransaction: the server may not answer for long.
func TestTheEndOfTheTermEndsItsTransaction(t *testing.T) {
	db := open(t)
	term, err := db.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Create(t.Context(), term, 7, buckets, func(engine.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	s := db.State(term)
	defer s.Close()
	err = s.Update(func(tx engine.Tx) error {
		term.end(ErrTermOver)
		return put("k", "v")(tx)
	})
	if got := get(t, db.State(nil), "k"); err == nil || got != "" {
		t.Errorf("a transaction whose term ended: %v, wrote %q", err, got)
	}
	if err := s.Update(put("k", "w")); !errors.Is(err, ErrTermOver) {
		t.Errorf("the next one: %v", err)
	}
	if err := term.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestBucketsOfANewerVersionAreAdded(t *testing.T) {
	db, s := create(t)
	late := []byte("late")
	has := func(of engine.State) (found bool) {
		t.Helper()
		if err := of.View(func(tx engine.Tx) error { found = tx.Bucket(late) != nil; return nil }); err != nil {
			t.Fatal(err)
		}
		return found
	}
	door := db.State(nil)
	if has(s) || has(door) {
		t.Error("there before it was made")
	}
	if err := s.AddBuckets(append(buckets, late)...); err != nil {
		t.Fatal(err)
	}
	if !has(s) || !has(door) {
		t.Error("not there")
	}
	if err := door.AddBuckets(late); !errors.Is(err, ErrNotWriter) {
		t.Error(err)
	}
}

// TestNobodyTakesOverWithinATransaction: the takeover waits, and sees what was written.
func TestNobodyTakesOverWithinATransaction(t *testing.T) {
	db, s := create(t)
	taken := make(chan error, 1)
	err := s.Update(func(tx engine.Tx) error {
		go func() {
			err := db.run(context.Background(), "update personasync.term set number = number + 1")
			taken <- err
		}()
		waitFor(t, db, "select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
		select {
		case err := <-taken:
			t.Errorf("taken over within a transaction: %v", err)
		default:
		}
		return put("k", "v")(tx)
	})
	if err != nil || <-taken != nil || get(t, s, "k") != "v" {
		t.Error(err)
	}
}

// countOf answers a query that counts.
func countOf(t *testing.T, db *DB, query string) (n int64) {
	t.Helper()
	must(t, db.ask(t.Context(), func(_ int, v [][]byte) { n = roundtrip.Integer(v[0]) }, roundtrip.Statement{SQL: query}))
	return n
}

// waitFor waits until a query counts something.
func waitFor(t *testing.T, db *DB, query string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if countOf(t, db, query) != 0 {
			return
		}
	}
	t.Errorf("never came: %s", query)
}

// way is a way to the server of which a test may cut off the answers.
type way struct {
	net.Conn
	deaf *atomic.Bool
}

func (w way) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if w.deaf.Load() {
		return 0, errors.New("the network is gone")
	}
	return n, err
}

// TestACommitWhoseAnswerIsLostIsReadBack: the transaction commits, and the writer learns it from the state.
func TestACommitWhoseAnswerIsLostIsReadBack(t *testing.T) {
	db, s := create(t)
	var deaf atomic.Bool
	config := db.pool.config.Copy()
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		return way{c, &deaf}, err
	}
	pool, err := newPool(config, poolSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s.db = &DB{Config: db.Config, pool: pool}
	err = s.Update(func(tx engine.Tx) error {
		err := put("k", "v")(tx)
		deaf.Store(true)
		return err
	})
	deaf.Store(false)
	if err == nil || errors.Is(err, ErrTermOver) {
		t.Fatalf("a commit whose answer was lost: %v", err)
	}
	if got := get(t, s, "k"); got != "v" {
		t.Errorf("read back %q", got)
	}
	if err := s.Update(put("l", "w")); err != nil || get(t, s, "l") != "w" {
		t.Errorf("the next transaction: %v", err)
	}
}

// TestAReadBackWaitsForTheTransactionBefore: it may still be committing when its answer is given up.
func TestAReadBackWaitsForTheTransactionBefore(t *testing.T) {
	db, s := create(t)
	before, err := db.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close(context.Background())
	if err := s.fence(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	if err := before.Exec(t.Context(), "insert into personasync.rows values ('k', 'v')").Close(); err != nil {
		t.Fatal(err)
	}
	s.doubt.Store(true)
	read := make(chan string)
	go func() { read <- get(t, s, "k") }()
	waitFor(t, db, "select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
	if err := before.Exec(t.Context(), "commit").Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "v" {
		t.Errorf("read back %q, from before the commit", got)
	}
}

// TestAReadThatFailsFailsTheTransaction, even where the reader took it for nothing there.
func TestAReadThatFailsFailsTheTransaction(t *testing.T) {
	db, s := create(t)
	if err := s.Update(put("k", "v")); err != nil {
		t.Fatal(err)
	}
	fail := func(tx engine.Tx) {
		if err := db.run(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction'"); err != nil {
			t.Fatal(err)
		}
		waitFor(t, db, "select (count(*) = 0)::int::bigint from pg_stat_activity where state = 'idle in transaction'")
		b := tx.Bucket([]byte("rows"))
		b.Want(engine.Beginning(slices.Values([][]byte{[]byte("k")})))
		k, _ := b.Cursor().First()
		if v := b.Get([]byte("k")); v != nil || k != nil {
			t.Errorf("read %s, %s", k, v)
		}
	}
	if err := s.View(func(tx engine.Tx) error { fail(tx); return nil }); err == nil {
		t.Error("a view whose reads failed succeeded")
	}
	err := s.Update(func(tx engine.Tx) error { fail(tx); return put("k", "nothing was there")(tx) })
	if err == nil || get(t, s, "k") != "v" {
		t.Errorf("a transaction whose reads failed: %v", err)
	}
	if err := s.Update(put("k", "w")); err != nil || get(t, s, "k") != "w" {
		t.Errorf("the one after it: %v", err)
	}
}

// createOnPair makes a store on a primary whose standby confirms every commit.
func createOnPair(t *testing.T) (*pgtest.Pair, *DB, *State) {
	t.Helper()
	p := pgtest.NewPair(t)
	db, err := Connect(t.Context(), Config{URL: p.URL(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	term := newTerm(t, db)
	if err := db.Create(t.Context(), term, 7, buckets, func(engine.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	s := db.State(term)
	t.Cleanup(func() { s.Close() })
	return p, db, s
}

// TestWhatIsReadBackIsConfirmed: a commit whose wait for the standby was cut short is not taken for written before the
// standby has it. Here it never gets it.
func TestWhatIsReadBackIsConfirmed(t *testing.T) {
	t.Parallel()
	p, db, s := createOnPair(t)
	if err := s.Update(put("k", "v")); err != nil {
		t.Fatal(err)
	}
	p.Standby.Stop(t)
	waits := "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
	done := make(chan error, 1)
	go func() { done <- s.Update(put("k", "lost")) }()
	waitFor(t, db, waits)
	p.Primary.SQL(t, "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
	if err := <-done; err == nil {
		t.Error("a commit that was not confirmed succeeded")
	}
	if got := p.Primary.SQL(t, "select count(*) from personasync.rows where v = 'lost'"); got != "1" {
		t.Fatalf("the primary shows %s rows of it", got)
	}
	go func() { done <- s.View(func(engine.Tx) error { return nil }) }()
	waitFor(t, db, waits)
	p.Primary.Kill(t)
	if err := <-done; err == nil {
		t.Error("what was read back was not confirmed")
	}
	p.Standby.Start(t)
	p.Standby.Promote(t)
	if got := get(t, s, "k"); got != "v" {
		t.Errorf("read back %q", got)
	}
	if err := s.Update(put("k", "w")); err != nil || get(t, s, "k") != "w" {
		t.Errorf("the next one: %v", err)
	}
}

func TestACommitThatTheStandbyDoesNotConfirmIsNoSuccess(t *testing.T) {
	t.Parallel()
	p, db, s := createOnPair(t)
	p.Standby.Stop(t)
	written := make(chan error, 1)
	go func() { written <- s.Update(put("k", "v")) }()
	waitFor(t, db, "select count(*) from pg_stat_activity where wait_event = 'SyncRep'")
	p.Primary.SQL(t, "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
	if err := <-written; err == nil || !strings.Contains(err.Error(), "canceling wait for synchronous replication") {
		t.Errorf("a commit that was not confirmed: %v", err)
	}
	p.Standby.Start(t)
	if got := get(t, s, "k"); got != "v" {
		t.Errorf("read back %q", got)
	}
	if err := s.Update(put("m", "the standby confirms this, and what came before")); err != nil {
		t.Error(err)
	}
	p.Primary.Kill(t)
	p.Standby.Promote(t)
	if err := s.Update(put("l", "v")); err == nil {
		t.Error("a server that was killed took a write")
	}
	if err := s.Update(put("l", "w")); err != nil || get(t, s, "k")+get(t, s, "l") != "vw" {
		t.Errorf("on the standby that was promoted: %v", err)
	}
}

// TestAServerThatTurnsReadOnlyIsLeft: what follows looks for the one that takes writes.
func TestAServerThatTurnsReadOnlyIsLeft(t *testing.T) {
	db, s := create(t)
	if err := s.Update(put("k", "v")); err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(db.URL)
	name := strings.Trim(u.Path, "/")
	if err := db.run(t.Context(), "alter database "+name+" set default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	if err := roundtrip.Do(t.Context(), s.conn, nil, roundtrip.Statement{SQL: "set default_transaction_read_only = on"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(put("k", "w")); roundtrip.Code(err) != roundtrip.StateReadOnly || s.conn != nil {
		t.Errorf("a server that is read only: %v", err)
	}
	if err := s.Update(put("k", "w")); err == nil || !strings.Contains(err.Error(), "name every server") {
		t.Errorf("a connection to it: %v", err)
	}
}

func TestFormats(t *testing.T) {
	_, s := create(t)
	if err := s.View(CheckFormat); err != nil {
		t.Error(err)
	}
	if err := s.db.Create(t.Context(), s.term, 8, buckets, func(engine.Tx) error { return nil }); err == nil {
		t.Error("a store was made over another")
	}
	if found, err := s.db.Exists(t.Context()); !found || err != nil {
		t.Errorf("exists: %v, %v", found, err)
	}
	if err := s.Update(func(tx engine.Tx) error {
		return tx.Bucket(engine.BucketMeta).Put(engine.MetaFormat, []byte{0, 0, 0, 99})
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.View(CheckFormat); err == nil || !strings.Contains(err.Error(), "format 99") {
		t.Errorf("a newer format: %v", err)
	}
	s.Close()
	if err := s.View(func(engine.Tx) error { return nil }); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("a closed state: %v", err)
	}
}

func TestASchemaWithoutAStoreSaysSo(t *testing.T) {
	db := open(t)
	err := db.State(nil).View(func(engine.Tx) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "personasync has no store") {
		t.Error(err)
	}
}
