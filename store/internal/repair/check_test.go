package repair

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/dirtest"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

func TestACheckCountsWhatItReads(t *testing.T) {
	d := crowded(t)
	last, steps := int64(0), 0
	r, err := Check(t.Context(), d.Path, func(done, total int64) {
		if done < last || done > total {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last, steps = done, steps+1
	})
	must(t, err)
	size := boltfile.Size(d.StatePath()) + boltfile.Size(wal.Path(d.Path, 1))
	if !r.OK() || !r.Pages || r.Bytes != size || last != 2*size || steps < 3 {
		t.Errorf("%d of %d bytes in %d steps: %+v", last, size, steps, r)
	}
	if r.Users != crowd || r.Pending != 2*crowd || r.Records != crowd+1 || r.Rows < 2*crowd || r.Held+r.Parked+r.History+r.Damaged != 0 {
		t.Errorf("%+v", r)
	}
	if r.Findings == nil || r.DamagedFiles == nil {
		t.Error("empty lists are null in JSON")
	}
	pages, err := CheckPages(d.Path)
	if err != nil || !pages.OK() {
		t.Errorf("the pages alone: %v, %+v", err, pages)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the caller went away")
	cancel(gone)
	if _, err := Check(ctx, d.Path, nil); !errors.Is(err, gone) {
		t.Errorf("a check that is cancelled: %v", err)
	}
}

func TestADirectoryThatIsNoStore(t *testing.T) {
	if _, err := Check(t.Context(), t.TempDir(), nil); !errors.Is(err, datadir.ErrNoData) {
		t.Errorf("empty: %v", err)
	}
	d := dirtest.New(t, domain.SendBoth)
	must(t, os.Remove(d.StatePath()))
	if _, err := Check(t.Context(), d.Path, nil); !errors.Is(err, datadir.ErrNoData) {
		t.Errorf("an inbox alone: %v", err)
	}
	if paths, err := DataFiles(d.Path); err != nil || !reflect.DeepEqual(paths, []string{wal.Path(d.Path, 1)}) {
		t.Errorf("%v, %v", paths, err)
	}
	must(t, os.Mkdir(d.StatePath(), 0o700))
	if _, err := DataFiles(d.Path); err == nil {
		t.Error("a folder is taken for the state")
	}
}

func TestAnInboxFileThatIsNotInOrderIsFound(t *testing.T) {
	three := dirtest.New(t, domain.SendBoth)
	for _, user := range []string{"ann", "bob", "cid"} {
		three.Receive(statetest.Enter(user, "vip", 1))
		three.Rotate()
	}
	three.Receive(statetest.Enter("dan", "vip", 1))
	for _, tc := range []struct {
		name, want string
		applied    bool
		do         func(d *dirtest.Dir) error
	}{
		{"in order", "", false, func(*dirtest.Dir) error { return nil }},
		{"a hole before it", "record 4 follows record 2", false, func(d *dirtest.Dir) error { return os.Remove(wal.Path(d.Path, 2)) }},
		{"a hole that is applied", "", true, func(d *dirtest.Dir) error { return os.Remove(wal.Path(d.Path, 2)) }},
		{"the first is missing", "begins with record 3, the state ends with 1", false, func(d *dirtest.Dir) error { return os.Remove(wal.Path(d.Path, 1)) }},
		{"a copy", "inbox-00000009.db begins with record 1, and a file before it ends with record 5: it is a copy", false, func(d *dirtest.Dir) error {
			d.CopyFile(wal.Path(d.Path, 1), wal.Path(d.Path, 9))
			return nil
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := three.Clone(t)
			if tc.applied {
				d.Apply()
			}
			must(t, tc.do(d))
			r, err := Check(t.Context(), d.Path, nil)
			must(t, err)
			if r.OK() != (tc.want == "") || !r.OK() && !strings.Contains(r.Findings[0].Message, tc.want) {
				t.Errorf("%+v", r.Findings)
			}
			if r.OnlyCopies() != (r.OK() || tc.name == "a copy") {
				t.Errorf("only copies: %v, %+v", r.OnlyCopies(), r.Findings)
			}
		})
	}
}

func TestAFindingNamesItsFileAndTheListIsBounded(t *testing.T) {
	r := &CheckReport{File: "inbox-1"}
	r.Find("record", "key %x", bytes.Repeat([]byte{1}, 1<<20))
	if len(r.DamagedFiles) != 0 || len(r.Findings[0].Message) > 4*domain.MaxUserID || r.Findings[0].File != "inbox-1" {
		t.Errorf("%d bytes, damaged %v", len(r.Findings[0].Message), r.DamagedFiles)
	}
	for range MaxFindings {
		r.Find("pages", "a page")
	}
	if r.Faults != MaxFindings+1 || len(r.Findings) != MaxFindings || !reflect.DeepEqual(r.DamagedFiles, []string{"inbox-1"}) || r.OK() || r.OnlyCopies() {
		t.Errorf("%d faults, %d listed, damaged %v", r.Faults, len(r.Findings), r.DamagedFiles)
	}
	copies := &CheckReport{}
	for range MaxFindings + 1 {
		copies.Find(findCopy, "a copy")
	}
	if copies.OnlyCopies() {
		t.Error("those that are not listed may be others")
	}
}

func TestTheCheckingProcessAnswersOrDied(t *testing.T) {
	d := crowded(t)
	ask := func(dir string) (*CheckReport, error) {
		var answer bytes.Buffer
		must(t, AnswerCheck(t.Context(), &answer, dir))
		child := exec.Command("cat")
		child.Stdin = &answer
		return CheckInChild(t.Context(), child)
	}
	own, err := Check(t.Context(), d.Path, nil)
	must(t, err)
	own.File = ""
	if r, err := ask(d.Path); err != nil || r.Users != own.Users || r.Bytes != own.Bytes || !r.OK() {
		t.Errorf("%v, %+v", err, r)
	}
	if _, err := ask(t.TempDir()); !errors.Is(err, datadir.ErrNoData) || strings.Count(err.Error(), datadir.ErrNoData.Error()) != 1 {
		t.Errorf("the kind of the error is lost, or said twice: %v", err)
	}
	for script, words := range map[string]string{"kill -SEGV $$": "signal", "echo fatal error; exit 2": "", "echo the end >&2; echo more >&2; exit 2": "the end", "echo no JSON": "", ":": ""} {
		if _, err := CheckInChild(t.Context(), exec.Command("sh", "-c", script)); !errors.Is(err, ErrReaderDied) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "more") {
			t.Errorf("%s: %v", script, err)
		}
	}
	for answer, want := range map[string]error{`{"error":"x","kind":1}`: wire.ErrNewer, `{"error":"x","kind":2}`: boltfile.ErrInUse, `{"error":"x","kind":5}`: os.ErrPermission} {
		if _, err := CheckInChild(t.Context(), exec.Command("echo", answer)); !errors.Is(err, want) {
			t.Errorf("%s: %v", answer, err)
		}
	}
	for _, answer := range []string{`{"error":"plain"}`, `{}`, `{"error":"x","kind":99}`} {
		if _, err := CheckInChild(t.Context(), exec.Command("echo", answer)); err == nil || errors.Is(err, ErrReaderDied) {
			t.Errorf("%s: %v", answer, err)
		}
	}
	if _, err := CheckInChild(t.Context(), exec.Command(filepath.Join(d.Path, "missing"))); err == nil || errors.Is(err, ErrReaderDied) {
		t.Errorf("a program that is missing: %v", err)
	}
	if r, err := CheckInChild(t.Context(), exec.Command("sh", "-c", `test "$`+CheckingVariable+`" = 1 && echo '{"report":{}}'`)); err != nil || r == nil {
		t.Errorf("the child does not know what it is: %v", err)
	}
}

// stocked has a change in each state but settled ones, and a pending event.
func stocked(t *testing.T) *dirtest.Dir {
	t.Helper()
	d := dirtest.New(t, domain.SendBoth)
	d.Receive(statetest.Enter("ann", "vip", 1), statetest.Enter("bob", "vip", 2), statetest.Exit("bob", "vip", 3), statetest.Trait("cid", "score", 1, "score", "7"))
	d.Apply()
	return d
}

func TestACheckFindsEachContradiction(t *testing.T) {
	first := func(b engine.Bucket) (k, v []byte) { k, v = b.Cursor().First(); return bytes.Clone(k), bytes.Clone(v) }
	drop := func(name []byte) func(kv engine.Tx) error {
		return func(kv engine.Tx) error { k, _ := first(kv.Bucket(name)); return kv.Bucket(name).Delete(k) }
	}
	put := func(name, k, v []byte) func(kv engine.Tx) error {
		return func(kv engine.Tx) error { return kv.Bucket(name).Put(k, v) }
	}
	flip := func(name []byte) func(kv engine.Tx) error {
		return func(kv engine.Tx) error {
			k, v := first(kv.Bucket(name))
			v[len(v)-1] ^= 1
			return kv.Bucket(name).Put(k, v)
		}
	}
	ledger := func(change func(l *state.Ledger)) func(kv engine.Tx) error {
		return func(kv engine.Tx) error {
			b := kv.Bucket(state.BucketMeta)
			l, err := state.DecodeLedger(b.Get(state.MetaLedger))
			change(&l)
			return errors.Join(err, b.Put(state.MetaLedger, l.Encode()))
		}
	}
	for _, tc := range []struct {
		name, code, words string
		harm              func(kv engine.Tx) error
	}{
		{"a bit of a row", "frame", "rows", flip(state.BucketRows)},
		{"a row without a user", "frame", "not the key of a row", put(state.BucketRows, []byte{1}, []byte("x"))},
		{"a lost id", "pointer", "the locator knows", drop(state.BucketLocator)},
		{"a place that is none", "frame", "not the place of a change", func(kv engine.Tx) error {
			k, _ := first(kv.Bucket(state.BucketLocator))
			return kv.Bucket(state.BucketLocator).Put(k, []byte("zzzzzz"))
		}},
		{"a lost due entry", "due", "is due and the due index does not say so", drop(state.BucketDue)},
		{"a lost event", "pointer", "changes are pending in lane", drop(state.BucketQueue)},
		{"a bit of an event", "frame", "queue", flip(state.BucketQueue)},
		{"a key that is none of a queue", "frame", "not an entry of a queue", put(state.BucketQueue, []byte{1, 2}, []byte("x"))},
		{"pending", "ledger", "changes pending: the ledger says", ledger(func(l *state.Ledger) { l.Changes.Pending++ })},
		{"parked", "ledger", "changes parked: the ledger says 1, there are 0", ledger(func(l *state.Ledger) { l.Changes.Parked++ })},
		{"held", "ledger", "changes held: the ledger says 1, there are 0", ledger(func(l *state.Ledger) { l.Changes.Held++ })},
		{"parked events", "ledger", "events parked: the ledger says 1, there are 0", ledger(func(l *state.Ledger) { l.Events.Parked++ })},
		{"users", "ledger", "users: the ledger says", ledger(func(l *state.Ledger) { l.Users++ })},
		{"tombstones", "ledger", "tombstones: the ledger says 1, there are 0", ledger(func(l *state.Ledger) { l.Tombstones++ })},
		{"accepted", "ledger", "events were accepted, their terms make", ledger(func(l *state.Ledger) { l.Events.Accepted++ })},
		{"created", "ledger", "changes were created, their terms make", ledger(func(l *state.Ledger) { l.Changes.Created++ })},
		{"a tombstone", "frame", "not a tombstone", put(state.BucketTombstones, []byte("k"), []byte("v"))},
		{"a second", "frame", "sent", put(state.BucketSent, []byte("k"), []byte("12345678"))},
		{"a run", "frame", "not the record of a run", put(state.BucketRuns, []byte("job:x"), []byte("{"))},
		{"a sample", "frame", "not a sample", put(state.BucketSamples, []byte("12345678"), []byte("v"))},
		{"a list of users", "frame", "lists pilot", put(state.BucketLists, []byte("pilot"), []byte("v"))},
		{"verdicts", "frame", "not those of", put(state.BucketVerdicts, []byte("1234567"), []byte("v"))},
		{"a lease", "frame", "lease", put(state.BucketLeases, []byte("12345678"), []byte("v"))},
		{"a parked frame", "frame", "parked", put(state.BucketParked, []byte("1234567890"), []byte("v"))},
		{"an entry of the history", "frame", "history", put(state.BucketHistory, []byte("12345678"), []byte("v"))},
		{"a ledger that cannot be read", "frame", "state.db", put(state.BucketMeta, state.MetaLedger, []byte("v"))},
		{"an id without sixteen bytes", "frame", "not a message id", func(kv engine.Tx) error {
			b, err := kv.Bucket(state.BucketMessages).MakeInner([]byte("12345678"))
			return errors.Join(err, b.Put([]byte("k"), nil))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := stocked(t)
			wantSound(t, d)
			d.Edit(tc.harm)
			r, err := Check(t.Context(), d.Path, nil)
			must(t, err)
			for _, f := range r.Findings {
				if f.Code == tc.code && f.File == datadir.StateFile && strings.Contains(f.Message, tc.words) {
					return
				}
			}
			t.Errorf("%+v", r.Findings)
		})
	}
}
