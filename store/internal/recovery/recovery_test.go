package recovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/dirtest"
	"personasync/store/internal/record"
	"personasync/store/internal/repair"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
	"personasync/store/testdir"
)

func TestMain(m *testing.M) {
	testdir.InMemory()
	goleak.VerifyTestMain(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type check func(ctx context.Context, dir string) (*repair.CheckReport, error)

// start is one start of an agent on a directory, and what it saw.
type start struct {
	*Start
	log      bytes.Buffer
	err      error
	opened   int // how often the files were opened
	applied  uint64
	last     uint64 // record of the inbox
	salvages []repair.Salvage
}

// begin begins and runs a start. fault, if not nil, is the error of the first opening.
func begin(t *testing.T, d *dirtest.Dir, child check, fault error) *start {
	t.Helper()
	s := &start{}
	var err error
	s.Start, err = Begin(d.Path, slog.New(slog.NewTextHandler(&s.log, nil)), child)
	must(t, err)
	s.err = s.Run(t.Context(), func() error {
		if s.opened++; s.opened == 1 && fault != nil {
			return fault
		}
		db, err := bolt.Open(d.StatePath(), 0, false)
		if err != nil {
			return err
		}
		defer db.Close()
		epoch, err := db.Epoch()
		if err != nil {
			return err
		}
		err = db.View(func(kv engine.Tx) error {
			st, err := state.LoadState(kv)
			if err != nil {
				return err
			}
			s.applied = st.Applied
			s.salvages, err = repair.SalvagesIn(kv, d.Path)
			return err
		})
		if err != nil {
			return err
		}
		in, err := wal.Open(d.Path, wal.Config{Epoch: epoch, Records: record.InboxRecords})
		if err != nil {
			return err
		}
		defer in.Close()
		s.last = in.Last()
		return nil
	})
	t.Cleanup(func() { _ = s.Marker.Close() })
	return s
}

func (s *start) logged(words string) bool { return strings.Contains(s.log.String(), words) }

// ended has the last run on d end in a phase: on another run of the machine if elsewhere.
func ended(t *testing.T, d *dirtest.Dir, phase string, elsewhere bool) {
	t.Helper()
	w, err := datadir.OpenShutdownMarker(d.Path)
	must(t, err)
	if elsewhere {
		w.Boot = "another"
	}
	must(t, w.Begin(false))
	switch phase {
	case datadir.PhaseRunning:
		must(t, errors.Join(w.Opened(), w.Close()))
	case datadir.PhaseStopped:
		must(t, w.Ended(0))
	default:
		must(t, w.Close())
	}
}

// last reads how the last run ended.
func last(t *testing.T, d *dirtest.Dir) datadir.LastRun {
	t.Helper()
	w, err := datadir.OpenShutdownMarker(d.Path)
	must(t, err)
	return w.Last
}

// stocked has 300 users applied, and two records that are not, in a second file.
func stocked(t *testing.T) *dirtest.Dir {
	t.Helper()
	d, n := dirtest.New(t, domain.SendBoth), 0
	for range 10 { // commits, and so pages of the inbox
		var list []*domain.Event
		for range 30 {
			n++
			list = append(list, statetest.Enter(fmt.Sprintf("user%04d", n), "vip", n%50))
		}
		d.Receive(list...)
	}
	d.Apply()
	d.Rotate()
	d.Receive(statetest.Enter("ann", "vip", 1), statetest.Enter("bob", "vip", 2))
	return d
}

func wantSound(t *testing.T, d *dirtest.Dir) {
	t.Helper()
	if r, err := repair.Check(t.Context(), d.Path, nil); err != nil || !r.OK() {
		t.Errorf("the check says %v, %+v", err, r)
	}
}

func TestTheFilesAreReadOnlyForAReason(t *testing.T) {
	for _, tc := range []struct {
		phase     string
		elsewhere bool
		why       string
	}{
		{datadir.PhaseStopped, false, ""},
		{datadir.PhaseStopped, true, ""},
		{datadir.PhaseRunning, false, ""}, // killed between the inbox and the state: the rest is applied again
		{datadir.PhaseRunning, true, "the machine went down while the agent ran"},
		{datadir.PhaseOpening, false, "the last start ended while it opened the files"},
		{"", false, "it is not known how the last run ended"},
	} {
		d := stocked(t)
		if tc.phase != "" {
			ended(t, d, tc.phase, tc.elsewhere)
		}
		s := begin(t, d, nil, nil)
		if s.err != nil || s.opened != 1 || s.applied != 301 || s.last != 303 || len(s.salvages) != 0 {
			t.Errorf("%+v: %v, opened %d times, applied %d of %d, salvaged %v", tc, s.err, s.opened, s.applied, s.last, s.salvages)
		}
		if s.logged("reading all files") != (tc.why != "") || !s.logged(tc.why) {
			t.Errorf("%+v: logged %s", tc, s.log.String())
		}
		if now := last(t, d); now.Phase != datadir.PhaseRunning {
			t.Errorf("%+v: the marker says %+v", tc, now)
		}
		if age := time.Since(s.Written); age < 0 || age > time.Minute {
			t.Errorf("written %v ago", age)
		}
	}
}

func TestAnEmptyDirectoryIsOpenedAsItIs(t *testing.T) {
	d := &dirtest.Dir{TB: t, Path: t.TempDir()}
	var opened int
	s, err := Begin(d.Path, slog.New(slog.DiscardHandler), nil)
	must(t, err)
	must(t, s.Run(t.Context(), func() error { opened++; return nil }))
	must(t, s.Marker.Close())
	if opened != 1 || !s.Written.IsZero() {
		t.Errorf("opened %d times, written %v", opened, s.Written)
	}
	refused := errors.New("refused")
	must(t, os.Remove(filepath.Join(d.Path, datadir.RunFile)))
	s, err = Begin(d.Path, slog.New(slog.DiscardHandler), nil)
	must(t, err)
	if err := s.Run(t.Context(), func() error { return refused }); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
	if found, _ := boltfile.Exists(filepath.Join(d.Path, datadir.RunFile)); found {
		t.Error("a start that was refused left a marker")
	}
}

func TestATornCommitIsTakenBackAndNothingElse(t *testing.T) {
	d := stocked(t)
	path := wal.Path(d.Path, 2)
	before, err := os.ReadFile(path)
	must(t, err)
	var after []byte
	d.Inbox(statetest.Epoch, func(in *wal.Log) {
		must(t, in.Append(t.Context(), statetest.Frame(statetest.Enter("torn", "vip", 3))))
		after, err = os.ReadFile(path)
		must(t, err)
	})
	const sector = 512
	arrived := 0
	for from := 0; from < len(before); from += sector {
		if old := before[from : from+sector]; !bytes.Equal(old, after[from:from+sector]) {
			if arrived++; arrived > 2 { // the meta pages arrived, the others did not
				copy(after[from:], old)
			}
		}
	}
	must(t, os.WriteFile(path, after, 0o600))
	ended(t, d, datadir.PhaseRunning, true)
	s := begin(t, d, nil, nil)
	if s.err != nil || s.last != 303 || len(s.salvages) != 0 || !s.logged("was taken back") {
		t.Errorf("%v, the last record is %d, salvaged %v, logged %s", s.err, s.last, s.salvages, s.log.String())
	}
	wantSound(t, d)
}

// TestATornFirstCommitOfAnInboxFileIsTakenBack: the meta page arrived, and the growth of the file did not. The state is
// far ahead of a file without records, and has applied none of this commit.
func TestATornFirstCommitOfAnInboxFileIsTakenBack(t *testing.T) {
	d := stocked(t)
	var path string
	var torn []byte
	d.Inbox(statetest.Epoch, func(in *wal.Log) {
		must(t, in.RotateNow())
		paths, _, err := wal.Files(d.Path)
		must(t, err)
		path = paths[len(paths)-1]
		torn, err = os.ReadFile(path)
		must(t, err)
		list := make([][]byte, 300) // more than a new file has room for
		for i := range list {
			list[i] = statetest.Frame(statetest.Enter(fmt.Sprint("torn-", i), "vip", 3))
		}
		must(t, in.Append(t.Context(), list...))
		after, err := os.ReadFile(path)
		must(t, err)
		copy(torn[:2*os.Getpagesize()], after)
	})
	must(t, os.WriteFile(path, torn, 0o600))
	ended(t, d, datadir.PhaseRunning, true)
	s := begin(t, d, nil, nil)
	if s.err != nil || s.last != 303 || len(s.salvages) != 0 || !s.logged("was taken back") {
		t.Errorf("%v, the last record is %d, salvaged %v, logged %s", s.err, s.last, s.salvages, s.log.String())
	}
	wantSound(t, d)
}

func TestADamagedFileIsSalvagedBeforeItIsOpened(t *testing.T) {
	for _, tc := range []struct {
		name   string
		file   func(d *dirtest.Dir) string
		page   func(d *dirtest.Dir, path string) uint64
		reason bool // the last run ended so that the files are read
		fault  error
		opened int
	}{
		{"a meta page of the state, at a glance", (*dirtest.Dir).StatePath, func(*dirtest.Dir, string) uint64 { return 0 }, false, nil, 1},
		{"a row, as the machine went down", (*dirtest.Dir).StatePath, func(d *dirtest.Dir, path string) uint64 { return d.Leaves(path, "rows")[1] }, true, nil, 1},
		{"a row, which the start comes upon", (*dirtest.Dir).StatePath, func(d *dirtest.Dir, path string) uint64 { return d.Leaves(path, "rows")[1] }, false, wire.ErrDamaged, 2},
		{"a record", func(d *dirtest.Dir) string { return wal.Path(d.Path, 1) }, func(d *dirtest.Dir, path string) uint64 { return d.Leaves(path, "records")[1] }, true, nil, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := stocked(t)
			ended(t, d, datadir.PhaseRunning, tc.reason)
			path := tc.file(d)
			d.Spoil(path, tc.page(d, path))
			s := begin(t, d, nil, tc.fault)
			if s.err != nil || s.opened != tc.opened || s.last != 303 {
				t.Fatalf("%v, opened %d times, the last record is %d", s.err, s.opened, s.last)
			}
			if len(s.salvages) != 1 || s.salvages[0].File != filepath.Base(path) || len(s.salvages[0].Faults) == 0 {
				t.Errorf("salvaged %+v", s.salvages)
			}
			wantSound(t, d)
			must(t, s.Marker.Close())
			again := begin(t, d, nil, nil)
			if again.err != nil || again.logged("reading all files") {
				t.Errorf("the next start: %v, %s", again.err, again.log.String())
			}
		})
	}
}

func TestAFileThatCannotBeSalvagedIsLeftAsItIs(t *testing.T) {
	d := stocked(t)
	ended(t, d, datadir.PhaseRunning, false)
	body := bytes.Repeat([]byte{0xa5}, 64<<10)
	must(t, os.WriteFile(d.StatePath(), body, 0o600))
	s := begin(t, d, nil, nil)
	if !errors.Is(s.err, boltfile.ErrUnsalvageable) || !strings.Contains(s.err.Error(), "state.db is damaged and was left as it is") || s.opened != 0 {
		t.Errorf("%v, opened %d times", s.err, s.opened)
	}
	if now, err := os.ReadFile(d.StatePath()); err != nil || !bytes.Equal(now, body) {
		t.Errorf("it was changed: %v", err)
	}
	if found, _ := boltfile.Exists(boltfile.NewPath(d.StatePath())); found {
		t.Error("the new file is left behind")
	}
	if now := last(t, d); now.Phase != datadir.PhaseRunning {
		t.Errorf("the marker says %+v", now)
	}
}

func TestAnErrorThatIsNoDamageEndsTheStartAndSaysNothingOfTheFiles(t *testing.T) {
	d := stocked(t)
	ended(t, d, datadir.PhaseStopped, false)
	before := last(t, d)
	s := begin(t, d, nil, syscall.EMFILE)
	if !errors.Is(s.err, syscall.EMFILE) || s.opened != 1 || last(t, d) != before {
		t.Errorf("%v, opened %d times, the marker says %+v", s.err, s.opened, last(t, d))
	}
	s = begin(t, d, nil, syscall.EIO) // the files are sound: it is opened again
	if s.err != nil || s.opened != 2 || !s.logged("reading all files") || len(s.salvages) != 0 {
		t.Errorf("%v, opened %d times", s.err, s.opened)
	}
	must(t, s.Marker.Close())
	ended(t, d, datadir.PhaseRunning, true)
	s = begin(t, d, nil, syscall.EIO) // they were read before: the disk fails
	if !errors.Is(s.err, syscall.EIO) || s.opened != 1 {
		t.Errorf("%v, opened %d times", s.err, s.opened)
	}
	if now := last(t, d); !strings.Contains(now.IOError, syscall.EIO.Error()) {
		t.Errorf("the marker says %+v", now)
	}
}

func TestACheckingProcessThatFailsIsNoAnswer(t *testing.T) {
	for _, tc := range []struct {
		name     string
		err      error
		want     error
		salvages int
	}{
		{"it died of the files", repair.ErrReaderDied, nil, 1},
		{"it could not be started", syscall.ENOMEM, nil, 0},
		{"the files are newer", wire.ErrNewer, wire.ErrNewer, 0},
		{"the files are in use", boltfile.ErrInUse, boltfile.ErrInUse, 0},
		{"another store's", datadir.ErrForeign, datadir.ErrForeign, 0},
		{"it may not read them", os.ErrPermission, os.ErrPermission, 0},
	} {
		d := stocked(t)
		ended(t, d, datadir.PhaseRunning, true)
		asked := 0
		s := begin(t, d, func(_ context.Context, dir string) (*repair.CheckReport, error) {
			if asked++; dir != d.Path {
				t.Errorf("asked for %s", dir)
			}
			return nil, fmt.Errorf("x: %w", tc.err)
		}, nil)
		if asked != 1 || !errors.Is(s.err, tc.want) || len(s.salvages) != tc.salvages || (s.opened == 1) != (tc.want == nil) {
			t.Errorf("%s: asked %d times, %v, opened %d times, salvaged %+v", tc.name, asked, s.err, s.opened, s.salvages)
		}
	}
}

func TestAStartWaitsForTheReadersOfTheFiles(t *testing.T) {
	d := stocked(t)
	ended(t, d, datadir.PhaseStopped, false)
	before := last(t, d)
	unlock, err := boltfile.Lock(t.Context(), d.StatePath(), syscall.LOCK_SH, time.Second, func(time.Duration) {})
	must(t, err)
	defer unlock()
	gone := errors.New("the agent was stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	s, err := Begin(d.Path, slog.New(slog.DiscardHandler), nil)
	must(t, err)
	if err := s.Run(ctx, func() error { t.Error("opened"); return nil }); err == nil {
		t.Error("it did not wait")
	}
	if last(t, d) != before {
		t.Errorf("the marker says %+v", last(t, d))
	}
}

func TestLeftoversOfACrashAreRemoved(t *testing.T) {
	d := stocked(t)
	ended(t, d, datadir.PhaseStopped, false)
	for _, name := range []string{datadir.CompactFile, "state.db.new", "inbox-00000003.db.new"} {
		must(t, os.WriteFile(filepath.Join(d.Path, name), []byte("half"), 0o600))
	}
	must(t, os.MkdirAll(filepath.Join(d.Path, datadir.RestoreDir, "x"), 0o700))
	must(t, os.WriteFile(filepath.Join(d.Path, "inbox-copy.db"), []byte("x"), 0o600))
	s := begin(t, d, nil, nil)
	must(t, s.err)
	if !s.logged("inbox-copy.db") || s.logged("inbox-00000001.db") {
		t.Errorf("logged %s", s.log.String())
	}
	entries, err := os.ReadDir(d.Path)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"inbox-00000001.db", "inbox-00000002.db", "inbox-copy.db", "running", "state.db"}; !reflect.DeepEqual(names, want) {
		t.Errorf("it holds %v", names)
	}
}

func TestAnInterruptedRestoreIsFinished(t *testing.T) {
	d, other := stocked(t), dirtest.NewOf(t, statetest.Epoch+1, domain.SendBoth)
	aside := filepath.Join(d.Path, "replaced-20260101T000000Z")
	must(t, os.Mkdir(aside, 0o700))
	d.CopyFile(wal.Path(other.Path, 1), wal.Path(d.Path, 9))
	s := begin(t, d, nil, nil)
	if s.err != nil || s.last != 303 || !s.logged("an interrupted restore left the files it replaced") {
		t.Errorf("%v, %s", s.err, s.log.String())
	}
	if moved, err := boltfile.Exists(filepath.Join(aside, "inbox-00000009.db")); err != nil || !moved {
		t.Errorf("the inbox of the other store was not moved: %v", err)
	}
	if paths, _, _ := wal.Files(d.Path); len(paths) != 2 {
		t.Errorf("%v", paths)
	}
}

func TestAnInboxFileThatDoesNotBelongThere(t *testing.T) {
	names := func(d *dirtest.Dir) (list []string) {
		entries, err := os.ReadDir(d.Path)
		must(t, err)
		for _, e := range entries {
			if name, _, found := strings.Cut(e.Name(), ".copy-"); found {
				list = append(list, "aside "+name)
			} else if strings.HasPrefix(name, "inbox-") {
				list = append(list, name[len("inbox-0000000"):len("inbox-00000001")])
			}
		}
		return list
	}
	for _, tc := range []struct {
		name string
		do   func(d *dirtest.Dir)
		want string // the files after it
		err  error
	}{
		{"a copy behind it", func(d *dirtest.Dir) { d.CopyFile(wal.Path(d.Path, 1), wal.Path(d.Path, 3)) }, "1 2 aside inbox-00000003.db", nil},
		{"a copy of the newest", func(d *dirtest.Dir) { d.CopyFile(wal.Path(d.Path, 2), wal.Path(d.Path, 3)) }, "1 2 aside inbox-00000003.db", nil},
		{"a link to it", func(d *dirtest.Dir) { must(t, os.Symlink(wal.Path(d.Path, 2), wal.Path(d.Path, 3))) }, "1 2 aside inbox-00000003.db", nil},
		{"renamed, not applied", func(d *dirtest.Dir) {
			d.Rotate()
			d.Receive(statetest.Enter("cid", "vip", 3))
			must(t, os.Rename(wal.Path(d.Path, 2), wal.Path(d.Path, 4)))
		}, "1 3 4", datadir.ErrForeign},
		{"renamed, applied", func(d *dirtest.Dir) {
			d.Rotate()
			d.Receive(statetest.Enter("cid", "vip", 3))
			d.Apply()
			must(t, os.Rename(wal.Path(d.Path, 2), wal.Path(d.Path, 4)))
		}, "1 3 aside inbox-00000004.db", nil},
		{"renamed, and the last of it is the last applied", func(d *dirtest.Dir) {
			d.Apply()
			d.Rotate()
			d.Receive(statetest.Enter("cid", "vip", 3))
			must(t, os.Rename(wal.Path(d.Path, 2), wal.Path(d.Path, 4)))
		}, "1 3 aside inbox-00000004.db", nil},
		{"another store's", func(d *dirtest.Dir) {
			d.CopyFile(wal.Path(dirtest.NewOf(t, statetest.Epoch+1, domain.SendBoth).Path, 1), wal.Path(d.Path, 3))
		}, "1 2 3", datadir.ErrForeign},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := stocked(t)
			tc.do(d)
			ended(t, d, datadir.PhaseStopped, false)
			s := begin(t, d, nil, nil)
			if !errors.Is(s.err, tc.err) || tc.err == nil && s.err != nil {
				t.Errorf("%v", s.err)
			}
			if got := strings.Join(names(d), " "); got != tc.want {
				t.Errorf("it holds %s", got)
			}
			if tc.err == nil && len(s.salvages) != 0 {
				t.Errorf("salvaged %+v", s.salvages)
			}
		})
	}
}

func TestRangesThatOthersHaveAreTakenOut(t *testing.T) {
	type r = wal.Range
	for _, tc := range []struct{ runs, taken, want []r }{
		{[]r{{First: 1, Last: 9}}, nil, []r{{First: 1, Last: 9}}},
		{[]r{{First: 1, Last: 9}}, []r{{First: 1, Last: 9}}, nil},
		{[]r{{First: 1, Last: 9}}, []r{{First: 4, Last: 5}}, []r{{First: 1, Last: 3}, {First: 6, Last: 9}}},
		{[]r{{First: 4, Last: 9}}, []r{{First: 1, Last: 4}}, []r{{First: 5, Last: 9}}},
		{[]r{{First: 4, Last: 9}}, []r{{First: 9, Last: 12}}, []r{{First: 4, Last: 8}}},
		{[]r{{First: 4, Last: 9}}, []r{{First: 1, Last: 3}, {First: 10, Last: 12}}, []r{{First: 4, Last: 9}}},
		{[]r{{First: 1, Last: 2}, {First: 5, Last: 6}}, []r{{First: 2, Last: 5}}, []r{{First: 1, Last: 1}, {First: 6, Last: 6}}},
	} {
		if got := without(tc.runs, tc.taken); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%v without %v: %v", tc.runs, tc.taken, got)
		}
	}
	if hasGap([]r{{First: 1, Last: 2}, {First: 2 + wal.RestoreJump, Last: 3 + wal.RestoreJump}}) || !hasGap([]r{{First: 1, Last: 2}, {First: 4, Last: 5}}) || hasGap(nil) {
		t.Error("a gap is not the jump of a restore")
	}
	order := func(bounds ...uint64) (list []fileRange) {
		for i := 0; i < len(bounds); i += 2 {
			list = append(list, fileRange{first: bounds[i], last: bounds[i+1]})
		}
		return list
	}
	for _, tc := range []struct {
		files         []fileRange
		before, again int
	}{{order(), 0, 0}, {order(1, 3, 4, 6), 0, 0}, {order(1, 3, 3, 6), 0, 1}, {order(1, 3, 4, 9, 5, 6), 1, 2}, {order(1, 3, 9, 9, 4, 6), 1, 2}} {
		if before, again := outOfOrder(tc.files); before != tc.before || again != tc.again {
			t.Errorf("%v: %d, %d", tc.files, before, again)
		}
	}
}

func TestAStateArrivesUnlessItIsWhereAndAsTheLastRunLeftIt(t *testing.T) {
	d := stocked(t)
	ended(t, d, datadir.PhaseStopped, false)
	home := datadir.HomeOf(d.StatePath())
	arrival := func(home []byte, sameEpoch bool) *state.Arrival {
		t.Helper()
		s, err := Begin(d.Path, slog.New(slog.DiscardHandler), nil)
		must(t, err)
		return s.Arrival(home, 304, sameEpoch)
	}
	if a := arrival(home, false); a != nil {
		t.Errorf("as it was: %+v", a)
	}
	elsewhere := []byte("elsewhere")
	if a := arrival(elsewhere, false); a == nil || a.Epoch == 0 || a.First != 304 || !bytes.Equal(a.Home, home) {
		t.Errorf("a copy: %+v", a)
	}
	if a := arrival(elsewhere, true); a == nil || a.Epoch != 0 {
		t.Errorf("restored: %+v", a)
	}
	if a := arrival(nil, false); a == nil || a.Epoch != 0 {
		t.Errorf("of a version that noted no home: %+v", a)
	}
	d.CopyFile(d.StatePath(), filepath.Join(d.Path, "older"))
	d.CopyFile(filepath.Join(d.Path, "older"), d.StatePath()) // over it, in its place
	if a := arrival(home, false); a == nil || a.Epoch == 0 {
		t.Errorf("written over: %+v", a)
	}
	ended(t, d, datadir.PhaseRunning, false)
	if a := arrival(home, false); a == nil || a.Epoch == 0 {
		t.Errorf("after a kill: %+v", a)
	}
}

func TestAPageThatIsReadAtAGlance(t *testing.T) {
	d := stocked(t)
	must(t, boltpage.Glance(d.StatePath()))
	s := &Start{dir: d.Path}
	if epoch, applied := s.stateMeta(); epoch != statetest.Epoch || applied != 301 {
		t.Errorf("epoch %d, applied %d", epoch, applied)
	}
	if epoch := segmentEpoch(wal.Path(d.Path, 1)); epoch != statetest.Epoch {
		t.Errorf("epoch %d", epoch)
	}
	d.Spoil(d.StatePath(), 0, 1)
	d.Spoil(wal.Path(d.Path, 1), 0, 1)
	if epoch, applied := s.stateMeta(); epoch != 0 || applied != 0 || segmentEpoch(wal.Path(d.Path, 1)) != 0 {
		t.Errorf("of files that cannot be read: %d, %d", epoch, applied)
	}
	if files, err := rangesIn(d.Path, statetest.Epoch); err != nil || len(files) != 1 || files[0].first != 302 || files[0].last != 303 {
		t.Errorf("behind a file that cannot be read: %+v, %v", files, err)
	}
}

// quietly is a start on a directory of which nothing was done yet.
func quietly(dir string) *Start { return &Start{dir: dir, log: slog.New(slog.DiscardHandler)} }

// TestAnInterruptedRestoreMovesNothingThatItCannotTell: an inbox goes only if it is known to be of another store than the state.
func TestAnInterruptedRestoreMovesNothingThatItCannotTell(t *testing.T) {
	aside := func(d *dirtest.Dir) (path string) {
		path = filepath.Join(d.Path, "replaced-20260101T000000Z")
		must(t, os.Mkdir(path, 0o700))
		return path
	}
	wantThere := func(d *dirtest.Dir, what string, n int) {
		t.Helper()
		if paths, _, err := wal.Files(d.Path); err != nil || len(paths) != n {
			t.Errorf("%s: the inbox has %v, %v, want %d files", what, paths, err, n)
		}
	}
	d, other := stocked(t), dirtest.NewOf(t, statetest.Epoch+1, domain.SendBoth)
	d.CopyFile(wal.Path(other.Path, 1), wal.Path(d.Path, 9))
	must(t, os.WriteFile(wal.Path(d.Path, 10), bytes.Repeat([]byte("x"), 1<<16), 0o600))
	quietly(d.Path).finishRestore(aside(d))
	wantThere(d, "of a file that cannot be read", 3)

	d = stocked(t)
	d.CopyFile(wal.Path(other.Path, 1), wal.Path(d.Path, 9))
	must(t, os.WriteFile(d.StatePath(), bytes.Repeat([]byte("x"), 1<<16), 0o600))
	quietly(d.Path).finishRestore(aside(d))
	wantThere(d, "beside a state that cannot be read", 3)
}

// TestWhatAStartCannotReadEndsIt: it must not go on as if there were no files, or as if it had moved one.
func TestWhatAStartCannotReadEndsIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, bytes.Repeat([]byte("x"), 1<<16), 0o600))
	if _, err := Begin(file, slog.New(slog.DiscardHandler), nil); err == nil {
		t.Error("a file is taken for a folder of data")
	}
	s := quietly(file)
	for what, err := range map[string]error{"wait for readers": s.awaitReaders(t.Context()), "inspect": s.inspect(t.Context(), "a test")} {
		if err == nil || !strings.Contains(err.Error(), "look for the files") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if files, err := rangesIn(file, statetest.Epoch); err == nil {
		t.Errorf("a file has the inbox files %v", files)
	}
	d := stocked(t)
	s = quietly(d.Path)
	if err := s.setAside(&fileRange{path: wal.Path(d.Path, 77)}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "inbox-00000077.db aside") {
		t.Errorf("set a missing file aside: %v", err)
	}
	must(t, os.WriteFile(d.StatePath(), bytes.Repeat([]byte("x"), 1<<16), 0o600))
	if err := s.record([]*repair.Salvage{{File: "inbox-00000001.db"}}); err == nil {
		t.Error("a report was written into a state that cannot be read")
	}
}

// TestAFileIsItselfUnderEveryName: a link beside its file is no copy of it.
func TestAFileIsItselfUnderEveryName(t *testing.T) {
	dir := t.TempDir()
	a, b, link, none := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "link"), filepath.Join(dir, "none")
	must(t, errors.Join(os.WriteFile(a, nil, 0o600), os.WriteFile(b, nil, 0o600), os.Symlink(a, link)))
	for _, tc := range []struct {
		x, y string
		want bool
	}{{a, a, true}, {link, a, true}, {a, b, false}, {a, none, false}, {none, a, false}, {none, none, false}} {
		if sameFile(tc.x, tc.y) != tc.want {
			t.Errorf("%s and %s: %v", tc.x, tc.y, !tc.want)
		}
	}
}

// TestADamagedFileHasAFaultToName, also if the report has no room for all of them.
func TestADamagedFileHasAFaultToName(t *testing.T) {
	r := &repair.CheckReport{}
	r.File = "state.db"
	r.Find("page", "page 7 is torn")
	if got := faultsOf(r, "/data/state.db"); len(got) != 1 || got[0] != "page 7 is torn" {
		t.Errorf("%q", got)
	}
	if got := faultsOf(r, "/data/inbox-00000001.db"); len(got) != 1 || !strings.Contains(got[0], "beyond the first") {
		t.Errorf("%q", got)
	}
}

// TestADamagedRecordIsLoggedAndLeft: it is parked when it is applied, and its file is sound.
func TestADamagedRecordIsLoggedAndLeft(t *testing.T) {
	d := stocked(t)
	torn := statetest.Frame(statetest.Enter("torn", "vip", 3))
	torn[len(torn)-1]++
	d.Inbox(statetest.Epoch, func(in *wal.Log) { must(t, in.Append(t.Context(), torn)) })
	ended(t, d, datadir.PhaseRunning, true)
	s := begin(t, d, nil, nil)
	if s.err != nil || s.last != 304 || len(s.salvages) != 0 || !s.logged("a damaged record of the inbox stays as it is") {
		t.Errorf("%v, the last record is %d, salvaged %v, logged %s", s.err, s.last, s.salvages, s.log.String())
	}
}
