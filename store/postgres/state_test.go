package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/engine/overlay"
	"personasync/store/postgres/internal/roundtrip"
)

// buckets of these tests: one that is small, one that is not, one with inner buckets.
var buckets = [][]byte{[]byte("jobs"), []byte("rows"), []byte("fields"), []byte("flights"), []byte("messages")}

// create makes a store in a database of the test, and a state that may write.
func create(t *testing.T) (*DB, *State) {
	t.Helper()
	db := open(t)
	term := newTerm(t, db)
	if err := db.Create(t.Context(), term, 7, buckets, func(engine.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	s := db.State(term)
	t.Cleanup(func() { s.Close() })
	return db, s
}

// newTerm raises the number, as a takeover does.
func newTerm(t testing.TB, db *DB) *Term {
	t.Helper()
	if err := db.ensureTerm(context.Background()); err != nil {
		t.Fatal(err)
	}
	term := &Term{db: db, life: context.Background()}
	err := db.ask(context.Background(), func(_ int, v [][]byte) { term.number, term.table = roundtrip.Integer(v[0]), roundtrip.Integer(v[1]) },
		roundtrip.Statement{SQL: "update personasync.term set number = number + 1 returning number, tableoid::bigint"})
	if err != nil {
		t.Fatal(err)
	}
	return term
}

// fill puts one value.
func put(key, value string) func(engine.Tx) error {
	return func(tx engine.Tx) error { return tx.Bucket([]byte("rows")).Put([]byte(key), []byte(value)) }
}

// get reads one value.
func get(t *testing.T, s engine.State, key string) (value string) {
	t.Helper()
	if err := s.View(func(tx engine.Tx) error { value = string(tx.Bucket([]byte("rows")).Get([]byte(key))); return nil }); err != nil {
		t.Fatal(err)
	}
	return value
}

// memoryState is an engine.State in memory.
type memoryState struct{ *overlay.Tx }

func (m memoryState) View(f func(engine.Tx) error) error { return f(m.Tx) }
func (m memoryState) Update(f func(engine.Tx) error) error {
	over := overlay.Over(m.Tx)
	if err := f(over); err != nil {
		return err
	}
	for c := range over.Changes() {
		b := m.Tx.Bucket([]byte(c.Bucket))
		if c.Inner != "" {
			b, _ = b.MakeInner([]byte(c.Inner))
		}
		switch nested := c.Bucket == "messages" && c.Inner == ""; {
		case nested && c.Value != nil:
			_, _ = b.MakeInner([]byte(c.Key))
		case c.Value == nil:
			_ = b.Delete([]byte(c.Key))
		default:
			_ = b.Put([]byte(c.Key), c.Value)
		}
	}
	return nil
}
func (m memoryState) Close() error { return nil }

// TestEnginesAgree has every engine do the same at random, and compares all that they answer.
func TestEnginesAgree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	if err := bolt.Create(path, 7, buckets, func(engine.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	file, err := bolt.Open(path, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	_, s := create(t)
	for seed := range uint64(40) {
		want := script(t, file, seed)
		for name, other := range map[string]engine.State{"memory": model, "postgres": s} {
			if got := script(t, other, seed); got != want {
				t.Fatalf("seed %d: %s answered\n%s\nwant\n%s", seed, name, got, want)
			}
		}
		if seed%8 < 7 {
			continue
		}
		s.disconnect() // and nothing kept: all is there, and no more
		if got, want := content(t, s), content(t, file); !slices.Equal(got, want) {
			t.Fatalf("seed %d: on a new connection there are\n%q\nwant\n%q", seed, got, want)
		}
	}
}

// content is everything in the buckets of these tests.
func content(t *testing.T, s engine.State) (all []string) {
	t.Helper()
	must(t, s.View(func(tx engine.Tx) error {
		for _, name := range buckets {
			b := tx.Bucket(name)
			must(t, b.ForEach(func(k, v []byte) error {
				all = append(all, fmt.Sprintf("%s %s=%s", name, k, v))
				if v != nil {
					return nil
				}
				return b.Inner(k).ForEach(func(id, v []byte) error {
					all = append(all, fmt.Sprintf("%s %s %s=%s", name, k, id, v))
					return nil
				})
			}))
		}
		return nil
	}))
	return all
}

var model = memoryState{overlay.Empty(buckets...)}

// script does one thing after another, and returns what it was answered.
func script(t *testing.T, s engine.State, seed uint64) string {
	var log strings.Builder
	r := rand.New(rand.NewPCG(seed, 1))
	failed := errors.New("failed on purpose")
	for range 4 {
		fails := r.IntN(4) == 0
		err := s.Update(func(tx engine.Tx) error {
			for range 1 + r.IntN(60) {
				step(r, tx, &log, true)
			}
			if fails {
				return failed
			}
			return nil
		})
		if fails != errors.Is(err, failed) || err != nil && !fails {
			t.Fatal(err)
		}
		err = s.View(func(tx engine.Tx) error {
			for range 20 {
				step(r, tx, &log, false)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return log.String()
}

// step does one thing to a bucket or an inner one.
func step(r *rand.Rand, tx engine.Tx, log *strings.Builder, writes bool) {
	name := buckets[r.IntN(len(buckets))]
	b := tx.Bucket(name)
	key := func() []byte { return fmt.Appendf(nil, "%03d", r.IntN(300)) }
	fmt.Fprintf(log, "\n%s ", name)
	if bytes.Equal(name, []byte("messages")) {
		day := fmt.Appendf(nil, "day%d", r.IntN(4))
		switch n := r.IntN(12); {
		case n == 0:
			_ = b.ForEach(func(k, v []byte) error { fmt.Fprintf(log, "%s %v,", k, v == nil); return nil })
			return
		case n == 1 && writes:
			if b.Inner(day) != nil {
				_ = b.DropInner(day)
			}
			return
		case n < 8 && writes:
			b, _ = b.MakeInner(day)
		default:
			b = b.Inner(day)
		}
		if b == nil {
			return
		}
	}
	k := key()
	fmt.Fprintf(log, "%s: ", k)
	switch n := r.IntN(11); {
	case n < 4 && writes:
		_ = b.Put(k, bytes.Repeat([]byte{'v'}, r.IntN(40)))
	case n == 4 && writes:
		for range 50 {
			_ = b.Put(key(), []byte("many"))
		}
	case n < 7 && writes:
		_ = b.Delete(k)
	case n == 7:
		b.Want(engine.Beginning(slices.Values([][]byte{key()[:2], key(), key()[:1], nil})))
	case n == 8:
		fmt.Fprintf(log, "%d %q", engine.Count(b), b.Get(k))
	case n == 9:
		c := b.Cursor()
		c.Within(k[:2])
		for found, v := c.Seek(k); bytes.HasPrefix(found, k[:2]); found, v = c.Next() {
			fmt.Fprintf(log, "%s=%s ", found, v)
		}
	default:
		fmt.Fprintf(log, "%q %v ", b.Get(k), b.Get(k) == nil)
		c := b.Cursor()
		found, v := c.Seek(k)
		for range r.IntN(120) {
			if found == nil {
				break
			}
			fmt.Fprintf(log, "%s=%s ", found, v)
			if r.IntN(3) == 0 {
				found, v = c.Prev()
			} else {
				found, v = c.Next()
			}
		}
		for found, v = c.Last(); found != nil && r.IntN(40) > 0; found, v = c.Prev() {
			fmt.Fprintf(log, "%s=%s ", found, v)
		}
		found, _ = c.First()
		fmt.Fprintf(log, "%s", found)
	}
}

// TestALongWalkKeepsLittle: a transaction keeps what it read, but not all that it walked through.
func TestALongWalkKeepsLittle(t *testing.T) {
	db, s := create(t)
	must(t, db.run(t.Context(), "insert into personasync.rows select int8send(n), 'v' from generate_series(1, 5000) n"))
	must(t, s.View(func(tx engine.Tx) error {
		if n := engine.Count(tx.Bucket([]byte("rows"))); n != 5000 {
			t.Errorf("%d rows, want 5000", n)
		}
		kept := 0
		for _, span := range tx.(*reader).tables["rows"].known {
			kept += len(span.rows)
		}
		if kept == 0 || kept > 2*keptChunk {
			t.Errorf("%d rows are kept", kept)
		}
		return nil
	}))
}
