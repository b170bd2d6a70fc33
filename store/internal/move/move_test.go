package move

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fresh makes an empty state of an epoch.
func fresh(t *testing.T, epoch uint32) *bolt.State {
	t.Helper()
	s, err := bolt.Fresh(filepath.Join(t.TempDir(), "state.db"), 0, epoch, state.StateBuckets)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// stocked has several portions of entries with and without values, inner buckets of several portions and without any, and
// keys that belong to the place.
func stocked(t *testing.T) *bolt.State {
	s := fresh(t, 7)
	must(t, s.Update(func(tx engine.Tx) error {
		var err error
		put := func(b engine.Bucket, n, size int) {
			for i := range n {
				err = errors.Join(err, b.Put(fmt.Appendf(nil, "key %06d", i), make([]byte, size)))
			}
		}
		put(tx.Bucket(state.BucketRows), 5000, 1000)
		put(tx.Bucket(state.BucketDue), 40_000, 0)
		for day, n := range []int{3, 0, 40_000, 1, 0} {
			inner, failed := tx.Bucket(state.BucketMessages).MakeInner(state.NumberKey(uint64(day)))
			must(t, failed)
			put(inner, n, 0)
		}
		meta := tx.Bucket(state.BucketMeta)
		return errors.Join(err, meta.Put(state.MetaSalt, []byte("salt")), meta.Put(state.MetaHome, []byte("here")))
	}))
	return s
}

func sums(t *testing.T, s *Store) map[string]Part {
	t.Helper()
	parts, err := Sums(t.Context(), s, s.Records.First())
	must(t, err)
	all := map[string]Part{}
	for _, p := range parts {
		all[p.Name] = p
	}
	return all
}

// side is a store with an empty inbox that begins with record 50.
func side(t *testing.T, s engine.State) *Store {
	return &Store{State: s, Records: inbox(t, t.TempDir(), 50)}
}

// TestPortionsAreBounded: a transaction that read all of a bucket would need memory for all of it.
func TestPortionsAreBounded(t *testing.T) {
	s, entries := stocked(t), 0
	for _, name := range [][]byte{state.BucketRows, state.BucketMessages} {
		must(t, walk(t.Context(), s, name, func(list []entry) error {
			if entries > 50_000 {
				return errors.New("it walks on for ever")
			}
			bytes := int64(0)
			for i := range list {
				bytes += list[i].size()
			}
			if entries += len(list); bytes > portionBytes+2000 || len(list) > portionBytes/64 {
				t.Errorf("%s: a portion has %d entries of %d bytes", name, len(list), bytes)
			}
			return nil
		}))
	}
	if want := 5000 + 5 + 40_004; entries != want { // 5 inner buckets come as entries of their own
		t.Errorf("%d entries, want %d", entries, want)
	}
}

func TestAStateIsCopiedToTheByte(t *testing.T) {
	from, to := side(t, stocked(t)), side(t, fresh(t, 7))
	var told, of int64
	parts, err := Copy(t.Context(), from, to, 0, func(done, total int64) { told, of = done, total })
	must(t, err)
	was, is := sums(t, from), sums(t, to)
	if diff := cmp.Diff(was, is); diff != "" || len(parts) != len(was) {
		t.Error(diff, parts)
	}
	if was["rows"].Entries != 5000 || was["rows"].Bytes != 5000*1010 || was["due"].Entries != 40_000 || was["messages"].Entries != 40_004 || told != of || of < 6_000_000 {
		t.Errorf("%+v, %d bytes told of %d", was, told, of)
	}
	must(t, to.State.View(func(tx engine.Tx) error {
		if home := tx.Bucket(state.BucketMeta).Get(state.MetaHome); home != nil {
			t.Errorf("the copy has the home %q", home)
		}
		return tx.Check()
	}))
	if epoch, err := Epoch(to.State); epoch != 7 || err != nil {
		t.Errorf("%d, %v", epoch, err)
	}
}

func TestEveryDifferenceIsFound(t *testing.T) {
	from := side(t, stocked(t))
	was, err := Sums(t.Context(), from, 0)
	must(t, err)
	key := []byte("key 000002")
	day := state.NumberKey(2)
	for name, change := range map[string]func(tx engine.Tx) error{
		"rows":     func(tx engine.Tx) error { return tx.Bucket(state.BucketRows).Put(key, append(make([]byte, 999), 1)) },
		"due":      func(tx engine.Tx) error { return tx.Bucket(state.BucketDue).Delete(key) },
		"queue":    func(tx engine.Tx) error { return tx.Bucket(state.BucketQueue).Put(key, nil) },
		"messages": func(tx engine.Tx) error { return tx.Bucket(state.BucketMessages).Inner(day).Delete(key) },
		"meta":     func(tx engine.Tx) error { return tx.Bucket(state.BucketMeta).Put(state.MetaSalt, []byte("malt")) },
	} {
		to := side(t, fresh(t, 7))
		_, err := Copy(t.Context(), from, to, 0, nil)
		must(t, err)
		must(t, to.State.Update(change))
		is, err := Sums(t.Context(), to, 0)
		must(t, err)
		if err := compare(was, is); err == nil || !strings.Contains(err.Error(), "copy of "+name+" ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The bytes of two entries must not be taken for those of another split.
	a, b := newSummer("x"), newSummer("x")
	a.add([]byte("ab"), []byte("c"))
	b.add([]byte("a"), []byte("bc"))
	if compare([]Part{a.part()}, []Part{b.part()}) == nil {
		t.Error("entries with the same bytes in a row count as equal")
	}
}

// full is a state without room.
type full struct{ engine.State }

func (full) Update(func(engine.Tx) error) error { return domain.ErrFull }

// TestACopyThatCannotBeWrittenSaysWhy, and not that the two differ.
func TestACopyThatCannotBeWrittenSaysWhy(t *testing.T) {
	if _, err := Copy(t.Context(), side(t, stocked(t)), side(t, full{fresh(t, 7)}), 0, nil); !errors.Is(err, domain.ErrFull) {
		t.Error(err)
	}
}

// TestAStateWithoutItsEpochIsDamaged: ids of changes would begin with another.
func TestAStateWithoutItsEpochIsDamaged(t *testing.T) {
	for _, text := range [][]byte{{1}, make([]byte, 5)} {
		s := fresh(t, 7)
		must(t, s.Update(func(tx engine.Tx) error { return tx.Bucket(state.BucketMeta).Put(engine.MetaEpoch, text) }))
		if _, err := Epoch(s); !errors.Is(err, wire.ErrDamaged) {
			t.Errorf("of %d bytes: %v", len(text), err)
		}
	}
}

// blind is an inbox that shows nothing from a number on.
type blind struct {
	Records
	from uint64
}

func (b blind) Read(from uint64, most int) ([]engine.Record, error) {
	if from >= b.from {
		return nil, nil
	}
	return b.Records.Read(from, most)
}

// TestRecordsThatAreNotShownEndTheCopy: both sums would lack them, and the copy seem whole.
func TestRecordsThatAreNotShownEndTheCopy(t *testing.T) {
	from := inbox(t, t.TempDir(), 50)
	must(t, from.Append(t.Context(), []byte("a"), []byte("b")))
	if err := copied(t, blind{from, 50}, inbox(t, t.TempDir(), 50), 50); err == nil || !strings.Contains(err.Error(), "the records from 50 to 51 cannot be read") {
		t.Error(err)
	}
}

// lossy keeps all that it is given but one key.
type lossy struct{ engine.State }

func (l lossy) Update(f func(engine.Tx) error) error {
	return l.State.Update(func(tx engine.Tx) error {
		return errors.Join(f(tx), tx.Bucket(state.BucketRows).Delete([]byte("key 004999")))
	})
}

func TestAnEngineThatLosesAKeyIsFound(t *testing.T) {
	to := side(t, lossy{fresh(t, 7)})
	if _, err := Copy(t.Context(), side(t, stocked(t)), to, 0, nil); err == nil || !strings.Contains(err.Error(), "the copy of rows is not the same: 5000 entries") {
		t.Error(err)
	}
}

func TestACopyEndsWhenItsCallerSaysSo(t *testing.T) {
	gone := errors.New("the caller went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := Copy(ctx, side(t, stocked(t)), side(t, fresh(t, 7)), 0, func(int64, int64) { cancel(gone) })
	if !errors.Is(err, gone) {
		t.Error(err)
	}
}

// inbox opens an inbox that begins with a record.
func inbox(t *testing.T, dir string, first uint64) *wal.Log {
	t.Helper()
	in, err := wal.Open(dir, wal.Config{Epoch: 7, First: first, Records: record.InboxRecords})
	must(t, err)
	t.Cleanup(in.Close)
	return in
}

func frames(n int) (list [][]byte) {
	for i := range n {
		list = append(list, fmt.Appendf(make([]byte, 1000), "%d", i))
	}
	return list
}

// copied copies an inbox into another.
func copied(t *testing.T, from, to Records, first uint64) error {
	t.Helper()
	_, err := Copy(t.Context(), &Store{fresh(t, 7), from}, &Store{fresh(t, 7), to}, first, nil)
	return err
}

func TestAnInboxKeepsItsNumbers(t *testing.T) {
	from := inbox(t, t.TempDir(), 1_000_000)
	must(t, from.Append(t.Context(), frames(3000)...))
	must(t, from.RotateNow())
	must(t, from.Append(t.Context(), frames(7)...))
	first, err := Contiguous(t.Context(), from)
	must(t, err)
	to := inbox(t, t.TempDir(), first)
	must(t, copied(t, from, to, first))
	if sum, err := inboxSum(t.Context(), to, first); err != nil || sum.Entries != 3007 || first != 1_000_000 || to.Next() != from.Next() {
		t.Errorf("%+v, %v, next %d and %d", sum, err, from.Next(), to.Next())
	}
	other := inbox(t, t.TempDir(), 5)
	if err := copied(t, from, other, first); err == nil || other.Last() != 0 {
		t.Errorf("records got other numbers: %v", err)
	}
}

// Records that were lost leave a gap, which no inbox in a database can have.
func TestAnInboxWithAGapIsCopiedFromBehindIt(t *testing.T) {
	dir := t.TempDir()
	in, err := wal.Open(dir, wal.Config{Epoch: 7, Records: record.InboxRecords})
	must(t, err)
	must(t, in.Append(t.Context(), frames(3)...))
	in.Close()
	in = inbox(t, dir, 100)
	must(t, in.Append(t.Context(), frames(2)...))
	first, err := Contiguous(t.Context(), in)
	if err != nil || first != 100 {
		t.Errorf("%d, %v", first, err)
	}
	must(t, copied(t, in, inbox(t, t.TempDir(), 100), first))
	if err := copied(t, in, inbox(t, t.TempDir(), 1), 1); err == nil || !strings.Contains(err.Error(), "record 4 is missing") {
		t.Error(err)
	}
}

// TestTheLastRecordIsCopiedThoughItIsReadAlone: records larger than a portion come one by one.
func TestTheLastRecordIsCopiedThoughItIsReadAlone(t *testing.T) {
	from, to := inbox(t, t.TempDir(), 1), inbox(t, t.TempDir(), 1)
	for range 3 {
		must(t, from.Append(t.Context(), make([]byte, portionBytes+1)))
	}
	must(t, copied(t, from, to, 1))
	if to.Last() != 3 {
		t.Errorf("the last of 3 records is number %d", to.Last())
	}
}

func TestAnEmptyInbox(t *testing.T) {
	from, to := inbox(t, t.TempDir(), 50), inbox(t, t.TempDir(), 50)
	first, err := Contiguous(t.Context(), from)
	if err != nil || first != 0 {
		t.Errorf("%d, %v", first, err)
	}
	must(t, copied(t, from, to, first))
	if to.Next() != 50 {
		t.Errorf("the next is %d", to.Next())
	}
}
