package boltfile_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.uber.org/goleak"

	"personasync/store/crashpoint"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const epoch = 0x1234

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newFile creates a file with the bucket b.
func newFile(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "x.db")
	must(t, boltfile.Create(path, func(db *bolt.DB) error { return boltfile.Init(db, epoch, []byte("b")) }))
	return path
}

func open(t testing.TB, path string) *bolt.DB {
	t.Helper()
	db, err := boltfile.Open(path, 0, false)
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

func TestANewFileSaysWhatItIs(t *testing.T) {
	db := open(t, newFile(t))
	got, err := boltfile.Epoch(db)
	if err != nil || got != epoch {
		t.Errorf("epoch %#x, %v", got, err)
	}
	must(t, boltfile.Init(db, 7, []byte("b"), []byte("later"))) // adds a bucket and keeps the epoch
	if got, err = boltfile.Epoch(db); err != nil || got != epoch {
		t.Errorf("after another bucket was added: epoch %#x, %v", got, err)
	}
	must(t, db.View(func(tx *bolt.Tx) error {
		if tx.Bucket([]byte("b")) == nil || tx.Bucket([]byte("later")) == nil {
			t.Error("a bucket is missing")
		}
		return nil
	}))
}

// A file that could not be filled leaves nothing behind and does not harm the existing file.
func TestCreateMakesAWholeFileOrNone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.db")
	must(t, os.WriteFile(path+".new", []byte("the rest of a crash"), 0o600))
	failed := errors.New("no room")
	err := boltfile.Create(path, func(*bolt.DB) error { return failed })
	if !errors.Is(err, failed) || !strings.Contains(err.Error(), "x.db") {
		t.Errorf("%v, want the reason and the file's name", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	named := false
	crashpoint.OnPoint(func(p crashpoint.Point) {
		_, err := os.Stat(path)
		named = p == crashpoint.SegmentNamed && err == nil
	})
	defer crashpoint.OnPoint(nil)
	must(t, boltfile.Create(path, func(db *bolt.DB) error { return boltfile.Init(db, epoch) }))
	if !named {
		t.Error("no crash point between the rename and the sync of the directory")
	}
}

// change writes to the file as a fault or another program would.
func change(t testing.TB, db *bolt.DB, do func(meta *bolt.Bucket) error) {
	t.Helper()
	must(t, db.Update(func(tx *bolt.Tx) error { return do(tx.Bucket(boltfile.BucketMeta)) }))
}

func TestEpochTellsDamageFromAnotherVersion(t *testing.T) {
	newer := binary.BigEndian.AppendUint32(nil, boltfile.Format+1)
	for name, c := range map[string]struct {
		do   func(tx *bolt.Tx, meta *bolt.Bucket) error
		want error
	}{
		"a value that changed": {func(_ *bolt.Tx, meta *bolt.Bucket) error {
			return meta.Put(boltfile.MetaEpoch, []byte{0, 0, 0, 9})
		}, wire.ErrDamaged},
		"a job that changed": {func(tx *bolt.Tx, _ *bolt.Bucket) error {
			jobs, err := tx.CreateBucket(boltfile.BucketJobs)
			return errors.Join(err, jobs.Put([]byte("k"), []byte("v")))
		}, wire.ErrDamaged},
		"an epoch that is cut short": {func(tx *bolt.Tx, meta *bolt.Bucket) error {
			return errors.Join(meta.Put(boltfile.MetaEpoch, []byte{1}), boltfile.Seal(tx))
		}, wire.ErrDamaged},
		"a format that is too high by damage": {func(_ *bolt.Tx, meta *bolt.Bucket) error {
			return meta.Put(boltfile.MetaFormat, newer)
		}, wire.ErrDamaged},
		"a newer format": {func(tx *bolt.Tx, meta *bolt.Bucket) error {
			return errors.Join(meta.Put(boltfile.MetaFormat, newer), boltfile.Seal(tx))
		}, wire.ErrNewer},
		"a file of another program": {func(tx *bolt.Tx, _ *bolt.Bucket) error {
			return tx.DeleteBucket(boltfile.BucketMeta)
		}, boltfile.ErrForeign},
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t, newFile(t))
			must(t, db.Update(func(tx *bolt.Tx) error { return c.do(tx, tx.Bucket(boltfile.BucketMeta)) }))
			if _, err := boltfile.Epoch(db); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestASealCoversEveryKeyOfMeta(t *testing.T) {
	db := open(t, newFile(t))
	change(t, db, func(meta *bolt.Bucket) error { return meta.Put([]byte("applied"), []byte{1}) })
	check := func() error { return db.View(boltfile.Check) }
	if err := check(); !errors.Is(err, wire.ErrDamaged) {
		t.Errorf("not sealed: %v", err)
	}
	must(t, db.Update(boltfile.Seal))
	must(t, check())
	change(t, db, func(meta *bolt.Bucket) error { return meta.Delete([]byte("applied")) })
	if err := check(); !errors.Is(err, wire.ErrDamaged) {
		t.Errorf("a key is gone: %v", err)
	}
}

// A reader does not wait for the agent; it asks the agent over its socket instead.
func TestAReaderIsRefusedWhileAWriterHasTheFile(t *testing.T) {
	path := newFile(t)
	open(t, path)
	if _, err := boltfile.Open(path, 0, true); !errors.Is(err, boltfile.ErrInUse) {
		t.Errorf("%v, want ErrInUse", err)
	}
}

func TestOpenNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	must(t, os.WriteFile(path, []byte("not a database at all"), 0o600))
	if _, err := boltfile.Open(path, 0, false); err == nil || !strings.Contains(err.Error(), "x.db") {
		t.Errorf("%v, want the file's name", err)
	}
}

func TestLocksAreBbolts(t *testing.T) {
	path := newFile(t)
	lock := func(how int) (unlock func(), err error) {
		return boltfile.Lock(context.Background(), path, how, 0, func(time.Duration) {})
	}
	shared, err := lock(syscall.LOCK_SH)
	must(t, err)
	another, err := lock(syscall.LOCK_SH)
	must(t, err)
	another()
	if _, err := lock(syscall.LOCK_EX); !errors.Is(err, boltfile.ErrInUse) {
		t.Errorf("locked to write beside a reader: %v", err)
	}
	db, err := boltfile.Open(path, 0, true)
	must(t, errors.Join(err, db.Close()))
	shared()
	must(t, open(t, path).Sync())
	if _, err := lock(syscall.LOCK_SH); !errors.Is(err, boltfile.ErrInUse) {
		t.Errorf("locked to read beside bbolt writing: %v", err)
	}
}

func TestWaitingForALockEndsWithItsContext(t *testing.T) {
	path := newFile(t)
	open(t, path)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped, told := errors.New("stopped"), 0
	_, err := boltfile.Lock(ctx, path, syscall.LOCK_SH, time.Hour, func(time.Duration) { told++; cancel(stopped) })
	if !errors.Is(err, stopped) || told == 0 {
		t.Errorf("%v, want the cause; told %d times", err, told)
	}
}

func TestGuardReturnsWhatBboltDiesOf(t *testing.T) {
	err := boltfile.Guard(func() error { panic("page 7 already freed") })
	if !errors.Is(err, wire.ErrDamaged) || !strings.Contains(err.Error(), "page 7 already freed") {
		t.Errorf("a panic became %v", err)
	}
	if stack := boltfile.Stack(fmt.Errorf("read: %w", err)); !strings.Contains(stack, "TestGuardReturns") {
		t.Errorf("the stack does not say where: %s", stack)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "map"))
	must(t, err)
	must(t, f.Truncate(int64(os.Getpagesize())))
	mapped, err := syscall.Mmap(int(f.Fd()), 0, os.Getpagesize(), syscall.PROT_READ, syscall.MAP_SHARED)
	must(t, err)
	must(t, errors.Join(f.Truncate(0), f.Close())) // cuts the file off under its map
	sum := byte(0)
	if err := boltfile.Guard(func() error { sum += mapped[0]; return nil }); !errors.Is(err, wire.ErrDamaged) {
		t.Errorf("a fault of the map became %v", err)
	}
	must(t, syscall.Munmap(mapped))
	plain := errors.New("no room")
	if err := boltfile.Guard(func() error { return plain }); err != plain {
		t.Errorf("an error became %v", err)
	}
	if stack := boltfile.Stack(plain); stack != "" {
		t.Errorf("an error has a stack: %s", stack)
	}
}

// filepath.Glob would take the [ for a pattern and find nothing, and the store would create new files.
func TestNamedInAFolderWithABracketInItsName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data [old")
	if paths, err := boltfile.Named(dir, "*"); len(paths) > 0 || err != nil {
		t.Errorf("a missing folder holds %v, %v", paths, err)
	}
	must(t, os.Mkdir(dir, 0o700))
	for _, name := range []string{"b.db", "a.db", "c.txt"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	paths, err := boltfile.Named(dir, "*.db")
	if want := []string{filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db")}; err != nil || !slices.Equal(paths, want) {
		t.Errorf("found %v, %v", paths, err)
	}
}

// A dangling link stands for a file on a disk that is not mounted. A store must not create a new file over it.
func TestALinkThatLeadsNowhereIsNoMissingFile(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "state.db")
	if found, err := boltfile.Exists(link); found || err != nil {
		t.Errorf("a missing file: %v, %v", found, err)
	}
	must(t, os.Symlink(filepath.Join(dir, "elsewhere"), link))
	if _, err := boltfile.Exists(link); err == nil {
		t.Error("a link that leads nowhere counts as a missing file")
	}
	if !boltfile.IsLink(link) || boltfile.IsLink(dir) {
		t.Error("a link and a folder are told apart wrongly")
	}
	must(t, os.WriteFile(filepath.Join(dir, "elsewhere"), nil, 0o600))
	if found, err := boltfile.Exists(link); !found || err != nil {
		t.Errorf("a link to a file: %v, %v", found, err)
	}
}

func TestSyncDirSaysWhenThereIsNone(t *testing.T) {
	must(t, boltfile.SyncDir(t.TempDir()))
	if err := boltfile.SyncDir(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}

// TestAFileThatIsNotWholeIsNone: bbolt would make a database of an empty one, which a reader must not.
func TestAFileThatIsNotWholeIsNone(t *testing.T) {
	for _, n := range []int64{0, 1, 2*4096 - 1} {
		path := filepath.Join(t.TempDir(), "x.db")
		must(t, os.WriteFile(path, make([]byte, n), 0o600))
		if _, err := boltfile.Open(path, 0, true); !boltfile.IsInvalid(err) || !strings.Contains(err.Error(), fmt.Sprintf("x.db: invalid database: it has only %d bytes", n)) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestOnlyTheirOwnerReadsTheFiles: they have what people did.
func TestOnlyTheirOwnerReadsTheFiles(t *testing.T) {
	info, err := os.Stat(newFile(t))
	if must(t, err); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
}

func TestALockOfNoFileNamesIt(t *testing.T) {
	_, err := boltfile.Lock(t.Context(), filepath.Join(t.TempDir(), "x.db"), syscall.LOCK_SH, 0, func(time.Duration) {})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "x.db") {
		t.Errorf("%v", err)
	}
}

// TestAFullDiskIsToldByItsErrorOrItsWords: bbolt keeps the words alone of an error that it meets while a file grows.
func TestAFullDiskIsToldByItsErrorOrItsWords(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.ENOSPC: true, syscall.EDQUOT: true, berrors.ErrMaxSizeReached: true, syscall.EIO: false, errors.New("no"): false,
		errors.New("file resize error: " + syscall.ENOSPC.Error()): true, errors.New("file sync error: " + syscall.EDQUOT.Error()): true,
	} {
		if boltfile.IsFull(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}

// TestAFolderThatCannotBeReadIsNotEmpty: a store that finds none of its files makes new ones.
func TestAFolderThatCannotBeReadIsNotEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, nil, 0o600))
	if paths, err := boltfile.Named(path, "*"); err == nil || !strings.Contains(err.Error(), "read the data directory") {
		t.Errorf("found %v, %v", paths, err)
	}
}

func TestAFileThatWasExchangedIsNoticed(t *testing.T) {
	path := newFile(t)
	was, err := os.Stat(path)
	must(t, err)
	must(t, boltfile.IsStill(path, was))
	must(t, os.Rename(path, path+".old"))
	if err := boltfile.IsStill(path, was); !errors.Is(err, boltfile.ErrMoved) || !strings.Contains(err.Error(), "is not there") {
		t.Errorf("gone: %v", err)
	}
	must(t, os.WriteFile(path, nil, 0o600))
	if err := boltfile.IsStill(path, was); !errors.Is(err, boltfile.ErrMoved) || !strings.Contains(err.Error(), "not the one") {
		t.Errorf("another: %v", err)
	}
}

// TestHolesTakeNoRoom on the disk, and are part of the length.
func TestHolesTakeNoRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sparse")
	if boltfile.Size(path) != 0 || boltfile.OnDiskAt(path) != 0 {
		t.Errorf("no file has %d bytes, and %d on disk", boltfile.Size(path), boltfile.OnDiskAt(path))
	}
	f, err := os.Create(path)
	must(t, err)
	must(t, errors.Join(f.Truncate(1<<20), f.Close()))
	if size, disk := boltfile.Size(path), boltfile.OnDiskAt(path); size != 1<<20 || disk >= size {
		t.Errorf("a hole of 1 MiB has %d bytes, and %d on disk", size, disk)
	}
	must(t, os.WriteFile(path, make([]byte, 1<<16), 0o600))
	if disk := boltfile.OnDiskAt(path); disk < 1<<16 || disk >= 1<<17 {
		t.Errorf("64 KiB take %d bytes on disk", disk)
	}
}

// TestAFailedCreationLeavesNothing, at whichever step.
func TestAFailedCreationLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path, failed := filepath.Join(dir, "x.db"), errors.New("no room")
	if err := boltfile.Fill(path, func(*bolt.DB) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
	if err := boltfile.Fill(path, func(db *bolt.DB) error { return boltfile.Init(db, epoch, []byte("b"), nil) }); err == nil {
		t.Error("a bucket without a name was made")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	must(t, os.MkdirAll(filepath.Join(path, "in-the-way"), 0o700))
	if err := boltfile.Create(path, func(db *bolt.DB) error { return boltfile.Init(db, epoch) }); err == nil {
		t.Error("a file took the place of a folder")
	}
	if found, err := boltfile.Exists(boltfile.NewPath(path)); found || err != nil {
		t.Errorf("the file that got no name is there: %v", err)
	}
}

// TestOnlyARegularFileIsOpened: to open a pipe would wait for its other end. What is not there yet is made.
func TestOnlyARegularFileIsOpened(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	for name, want := range map[string]error{"file": nil, "folder": boltfile.ErrForeign, "none": nil} {
		if err := boltfile.CheckRegular(filepath.Join(dir, name)); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTheSealOnDiskStays: a file whose seal is computed otherwise counts as damaged.
func TestTheSealOnDiskStays(t *testing.T) {
	db := open(t, newFile(t))
	must(t, db.Update(func(tx *bolt.Tx) error {
		jobs, err := tx.CreateBucket(boltfile.BucketJobs)
		must(t, err)
		must(t, errors.Join(jobs.Put([]byte("nightly"), []byte{1}), tx.Bucket(boltfile.BucketMeta).Put(boltfile.MetaFormat, []byte{0, 0, 0, 2})))
		if got := fmt.Sprintf("%x", boltfile.Sum(tx)); got != "8b546458" {
			t.Errorf("it is %s", got)
		}
		return boltfile.Seal(tx)
	}))
}
