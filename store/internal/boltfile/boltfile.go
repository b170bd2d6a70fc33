package boltfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"personasync/store/crashpoint"
	"personasync/store/internal/wire"
)

// ErrForeign is about a file that is in the folder by mistake. It stays so until somebody moves it.
var ErrForeign = errors.New("a file that does not belong here")

// NotOurs is the error about a file without our buckets: another program's, or one that lost their names.
func NotOurs(path string) error {
	return fmt.Errorf("%w: %s is not a file of this program: move it out of %s", ErrForeign, filepath.Base(path), filepath.Dir(path))
}

// Format is the version of the files. It changes when an older binary could not read them.
const Format = 2

// StateFile is the name of the state, beside which the files of the inbox lie.
const StateFile = "state.db"

// ErrInUse is about a file, or a directory, that another process has locked.
var ErrInUse = errors.New("the data directory is in use by another process")

// Every file has the bucket meta with these keys. The state has more of its own there.
var (
	BucketMeta = []byte("meta")
	MetaFormat = []byte("format")
	MetaEpoch  = []byte("epoch")
	MetaSeal   = []byte("seal")

	// BucketJobs is the state's. The seal covers it, because it has no checksums of its own.
	BucketJobs = []byte("jobs")
)

// options returns the options of every bbolt file, for opening, compacting and restoring alike. There is
// deliberately no way to turn fsync off. The inbox sets NoSync itself, and syncs each commit.
//
// mmap is the address space to reserve. A writer that must grow the map waits for every open reader (5 s
// measured), so the map is made larger than the file gets. Reserved address space costs nothing.
func options(mmap int, readOnly bool) *bolt.Options {
	return &bolt.Options{
		Timeout:         Patience(readOnly),
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mmap,
		ReadOnly:        readOnly,
	}
}

// Patience is how long Open waits for a file's lock. A writer holds the lock of the directory already, so
// that only a reader of a page can be in the way, and not for long. A reader does not wait for the agent: it
// asks it at its socket instead.
func Patience(readOnly bool) time.Duration {
	if readOnly {
		return time.Second
	}
	return 30 * time.Second
}

// Lock takes the lock of a file that bbolt takes: LOCK_SH to read, LOCK_EX to write. It calls waiting now and
// then, with how long it has waited in vain. It returns ErrInUse after patience, and the cause of ctx when
// that ends.
func Lock(ctx context.Context, path string, how int, patience time.Duration, waiting func(since time.Duration)) (unlock func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Base(path), err)
	}
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = Unlock(f) }, nil
		}
		since := time.Since(begun)
		if !errors.Is(err, syscall.EWOULDBLOCK) || since > patience {
			f.Close()
			return nil, ErrInUse
		}
		if ctx.Err() != nil {
			f.Close()
			return nil, context.Cause(ctx)
		}
		waiting(since)
	}
}

// Open opens path. Where the address space is limited it falls back to a map of the file's size.
func Open(path string, mmap int, readOnly bool) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, options(mmap, readOnly))
	if errors.Is(err, syscall.ENOMEM) {
		db, err = bolt.Open(path, 0o600, options(0, readOnly))
	}
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, ErrInUse
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Base(path), err)
	}
	return db, nil
}

// Create makes a file under another name first and renames it, so that a crash leaves all of it or nothing.
func Create(path string, fill func(*bolt.DB) error) error {
	temporary := path + ".new"
	err := Fill(temporary, fill)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err == nil {
		crashpoint.Reach(crashpoint.SegmentNamed)
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		os.Remove(temporary)
		return fmt.Errorf("create %s: %w", filepath.Base(path), err)
	}
	return nil
}

// Fill makes a file at path, in the place of any that is there, or none. The name is not durable yet.
func Fill(path string, fill func(*bolt.DB) error) error {
	os.Remove(path)
	db, err := Open(path, 0, false)
	if err == nil {
		err = errors.Join(fill(db), db.Close())
	}
	if err != nil {
		os.Remove(path) // a full disk leaves half of one
	}
	return err
}

// Init writes format and epoch into a new file, and makes the buckets it needs, in one transaction. A file
// that has a format keeps what it has.
func Init(db *bolt.DB, epoch uint32, buckets ...[]byte) error {
	return db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(BucketMeta)
		if err != nil {
			return err
		}
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		if meta.Get(MetaFormat) != nil {
			return nil
		}
		if err := meta.Put(MetaFormat, binary.BigEndian.AppendUint32(nil, Format)); err != nil {
			return err
		}
		if err := meta.Put(MetaEpoch, binary.BigEndian.AppendUint32(nil, epoch)); err != nil {
			return err
		}
		return Seal(tx)
	})
}

// Epoch checks the format and the seal of a file and returns its epoch.
func Epoch(db *bolt.DB) (epoch uint32, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(BucketMeta)
		if meta == nil {
			return NotOurs(db.Path())
		}
		if len(meta.Get(MetaFormat)) != 4 || len(meta.Get(MetaEpoch)) != 4 {
			return fmt.Errorf("bucket meta: %w", wire.ErrDamaged)
		}
		if v := binary.BigEndian.Uint32(meta.Get(MetaFormat)); v > Format && !falseFormat(tx) {
			return fmt.Errorf("%w: %s has format %d, this program knows %d: install the newer version again, or restore the backup made before its upgrade",
				wire.ErrNewer, filepath.Base(db.Path()), v, Format)
		}
		epoch = binary.BigEndian.Uint32(meta.Get(MetaEpoch))
		return Check(tx)
	})
	return epoch, err
}

// Sum is the checksum of what has none of its own: of bucket meta without its seal, and of the jobs. The
// position in the inbox is in there, which must never be believed when it is wrong.
func Sum(tx *bolt.Tx) []byte { return sumWith(tx, nil) }

// sumWith is metaSum with another format in place of what the file says; nil: as it says.
func sumWith(tx *bolt.Tx, format []byte) []byte {
	sum := uint32(0)
	for _, name := range [][]byte{BucketMeta, BucketJobs} {
		b := tx.Bucket(name)
		if b == nil {
			continue
		}
		_ = b.ForEach(func(k, v []byte) error { // which never fails
			if bytes.Equal(k, MetaFormat) && format != nil {
				v = format
			}
			if !bytes.Equal(k, MetaSeal) {
				sum = wire.Checksum(wire.Checksum(sum, k), v)
			}
			return nil
		})
	}
	return binary.BigEndian.AppendUint32(nil, sum)
}

// falseFormat reports whether a format that is too high is damage: with ours in its place the seal is right.
func falseFormat(tx *bolt.Tx) bool {
	return bytes.Equal(tx.Bucket(BucketMeta).Get(MetaSeal), sumWith(tx, binary.BigEndian.AppendUint32(nil, Format)))
}

// Seal writes the checksum of meta. A transaction that changes meta or the jobs does it last.
func Seal(tx *bolt.Tx) error { return tx.Bucket(BucketMeta).Put(MetaSeal, Sum(tx)) }

// Check returns wire.ErrDamaged if the seal is wrong.
func Check(tx *bolt.Tx) error {
	if !bytes.Equal(tx.Bucket(BucketMeta).Get(MetaSeal), Sum(tx)) {
		return fmt.Errorf("bucket meta: %w", wire.ErrDamaged)
	}
	return nil
}

// Unlock drops a lock and closes its file. Closing alone keeps the lock for as long as a process that is being
// started at this moment has a copy of the descriptor, which is until it executes its program.
func Unlock(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

// SyncDir makes names that were created in dir survive power loss.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Named lists the paths in dir whose last element matches pattern, in alphabetical order. It reads the folder
// itself: filepath.Glob takes a [ in the name of the folder for a pattern, and ignores what it may not read,
// and a store that finds none of its files begins anew over them. A missing folder holds nothing.
func Named(dir, pattern string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the data directory: %w", err)
	}
	for _, e := range entries {
		if fits, _ := filepath.Match(pattern, e.Name()); fits {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// Exists reports whether a file is at path. A link that leads nowhere is an error: it stands for a file that
// cannot be reached now.
func Exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && !IsLink(path) {
		return false, nil
	}
	return err == nil, err
}

// IsLink reports whether path is a symbolic link.
func IsLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// Guard runs f and returns a panic, or a fault of the memory map, as an error that is wire.ErrDamaged: what
// bbolt does about a page that is not what it should be. It covers the calling goroutine only.
func Guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &fault{r, debug.Stack()}
		}
	}()
	return f()
}

// A fault is a panic as an error. Most are bbolt's about a damaged page. The stack tells those that are a
// mistake of ours.
type fault struct {
	value any
	stack []byte
}

func (f *fault) Error() string { return fmt.Sprintf("%v: %v", wire.ErrDamaged, f.value) }

func (f *fault) Unwrap() error { return wire.ErrDamaged }

// Stack is where the panic came from that Guard returned as err, "" if err is none.
func Stack(err error) string {
	if f := new(fault); errors.As(err, &f) {
		return string(f.stack)
	}
	return ""
}

// ErrMoved is about a file that is not where its name says.
var ErrMoved = errors.New("the data was moved or removed while the agent runs")

// IsStill returns ErrMoved unless path leads to what was found there before.
func IsStill(path string, was fs.FileInfo) error {
	is, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s is not there", ErrMoved, path)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrMoved, err)
	case !os.SameFile(was, is):
		return fmt.Errorf("%w: %s is another one than the agent has open", ErrMoved, path)
	}
	return nil
}

// OnDisk is what a file takes: bbolt's files have holes where they are going to grow.
func OnDisk(info os.FileInfo) int64 {
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		return sys.Blocks * 512
	}
	return info.Size()
}

// OnDiskAt is OnDisk of the file at path, 0 without one.
func OnDiskAt(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return OnDisk(info)
}

// Size is the length of the file at path, 0 without one.
func Size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
