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
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/wire"
)

// ErrForeign means that a file is in the data directory by mistake. An operator has to move it.
var ErrForeign = errors.New("a file that does not belong here")

// ErrUnsalvageable means that nothing of a damaged file can be saved. A restart does not help: an operator must
// decide.
var ErrUnsalvageable = errors.New("the data is damaged")

// NotOurs returns an ErrForeign for a file without our buckets: another program's, or one that lost their
// names.
func NotOurs(path string) error {
	return fmt.Errorf("%w: %s is not a file of this program: move it out of %s", ErrForeign, filepath.Base(path), filepath.Dir(path))
}

// Format is the version of the files. It is raised when an older binary could not read them.
const Format = engine.Format

// StateFile is the name of the state file. The inbox files are in the same directory.
const StateFile = "state.db"

// ErrInUse means that another process has locked the file or the directory.
var ErrInUse = errors.New("the data directory is in use by another process")

// Every file has the bucket meta with these keys. The state file has more of them.
var (
	BucketMeta = engine.BucketMeta
	MetaFormat = engine.MetaFormat
	MetaEpoch  = engine.MetaEpoch
	MetaSeal   = []byte("seal")

	// BucketJobs is a bucket of the state file. The seal covers it because it has no checksums of its own.
	BucketJobs = engine.BucketJobs
)

// options returns the options of every bbolt file: to open, compact and restore it. It deliberately offers no
// way to turn fsync off. The inbox sets NoSync itself and syncs each commit.
//
// mmap is the address space to reserve, in bytes. A writer that must grow the map waits for every open reader
// (5 s measured), so the map is larger than the file gets. Reserved address space costs nothing.
func options(mmap int, readOnly bool) *bolt.Options {
	return &bolt.Options{
		Timeout:         Patience(readOnly),
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mmap,
		ReadOnly:        readOnly,
	}
}

// Patience returns how long Open waits for a file's lock. A writer already holds the lock of the directory, so
// only a short read can be in its way. A reader does not wait for the agent; it asks the agent over its socket
// instead.
func Patience(readOnly bool) time.Duration {
	if readOnly {
		return time.Second
	}
	return 30 * time.Second
}

// Lock takes the flock that bbolt uses: how is LOCK_SH to read or LOCK_EX to write. It calls waiting every 20
// ms with the time waited so far. It returns ErrInUse after patience, and the cause of ctx when ctx is done.
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

// leastBytes is the size of the two meta pages. bbolt makes a database of an empty file, which it cannot to read only.
const leastBytes = 2 * 4096

// Open opens path. If the address space is limited (ENOMEM), it maps no more than the file's size. It returns
// ErrInUse if the lock is not free within Patience.
func Open(path string, mmap int, readOnly bool) (*bolt.DB, error) {
	if info, err := os.Stat(path); err == nil && readOnly && info.Size() < leastBytes {
		return nil, fmt.Errorf("open %s: %w: it has only %d bytes", filepath.Base(path), berrors.ErrInvalid, info.Size())
	}
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

// NewPath returns the temporary name of a file that will replace path. After a crash it is removed.
func NewPath(path string) string { return path + ".new" }

// Create creates the file at path under a temporary name and renames it, so a crash leaves all of it or
// nothing. The file and its name are durable when it returns nil.
func Create(path string, fill func(*bolt.DB) error) error {
	temporary := NewPath(path)
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

// Fill creates a file at path, replacing any other. On an error it leaves none. The name is not durable yet.
func Fill(path string, fill func(*bolt.DB) error) error {
	os.Remove(path)
	db, err := Open(path, 0, false)
	if err == nil {
		err = errors.Join(fill(db), db.Close())
	}
	if err != nil {
		os.Remove(path) // a full disk leaves a partial file
	}
	return err
}

// Init writes the format and epoch into a new file and creates the buckets, in one transaction. In a file that
// has a format it only adds missing buckets.
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

// Epoch verifies the format and the seal of a file and returns its epoch.
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

// Sum returns the checksum of the data without checksums of its own: the bucket meta except for its seal, and
// the jobs. It protects the position in the inbox, which must never be trusted when it is wrong.
func Sum(tx *bolt.Tx) []byte { return sumWith(tx, nil) }

// sumWith is Sum with format in place of the format in the file; nil means as in the file.
func sumWith(tx *bolt.Tx, format []byte) []byte {
	sum := uint32(0)
	for _, name := range [][]byte{BucketMeta, BucketJobs} {
		b := tx.Bucket(name)
		if b == nil {
			continue
		}
		_ = b.ForEach(func(k, v []byte) error { // never fails
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

// falseFormat reports whether a format that is too high is corrupt. Then the seal matches with our format
// instead.
func falseFormat(tx *bolt.Tx) bool {
	return bytes.Equal(tx.Bucket(BucketMeta).Get(MetaSeal), sumWith(tx, binary.BigEndian.AppendUint32(nil, Format)))
}

// Seal writes the checksum of meta. A transaction that changes meta or the jobs must call it last.
func Seal(tx *bolt.Tx) error { return tx.Bucket(BucketMeta).Put(MetaSeal, Sum(tx)) }

// Check returns wire.ErrDamaged if the seal is wrong.
func Check(tx *bolt.Tx) error {
	if !bytes.Equal(tx.Bucket(BucketMeta).Get(MetaSeal), Sum(tx)) {
		return fmt.Errorf("bucket meta: %w", wire.ErrDamaged)
	}
	return nil
}

// IsFull reports whether an error means that the disk, a quota or bbolt's largest file is full. It reads the text too,
// because bbolt keeps only the text of an error that it meets while a file grows.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, berrors.ErrMaxSizeReached) ||
		strings.Contains(err.Error(), syscall.ENOSPC.Error()) || strings.Contains(err.Error(), syscall.EDQUOT.Error())
}

// IsInvalid reports whether bbolt did not take a file for one of its own.
func IsInvalid(err error) bool {
	return errors.Is(err, berrors.ErrInvalid) || errors.Is(err, berrors.ErrChecksum) || errors.Is(err, berrors.ErrVersionMismatch)
}

// Unlock releases a lock and closes its file. Closing alone is not enough: a child process that is being
// started holds a copy of the descriptor, and so the lock, until it calls exec.
func Unlock(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

// SyncDir makes names created in dir durable.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Named lists the paths in dir whose last element matches pattern, sorted by name. It does not use
// filepath.Glob, which treats a [ in the name of the directory as a pattern and ignores unreadable directories.
// A store that finds none of its files would then create new ones over them. A missing directory has no files.
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

// Exists reports whether a file is at path. A dangling link is an error, because it stands for a file that is
// temporarily unreachable.
func Exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && !IsLink(path) {
		return false, nil
	}
	return err == nil, err
}

// CheckRegular returns an ErrForeign if something else than a regular file is at path. To open a named pipe or a
// device may never return.
func CheckRegular(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is a folder, pipe, socket or device, and not a regular file: move it out of %s, then try again", ErrForeign, filepath.Base(path), filepath.Dir(path))
	}
	return nil
}

// IsLink reports whether path is a symbolic link.
func IsLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// Guard runs f. It returns a panic, or a fault of the memory map, as an error that wraps wire.ErrDamaged,
// because that is how bbolt reacts to a corrupt page. It covers the calling goroutine only.
func Guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &fault{r, debug.Stack()}
		}
	}()
	return f()
}

// A fault is a panic as an error. Most are bbolt's about a corrupt page. The stack shows those that are our
// bugs.
type fault struct {
	value any
	stack []byte
}

func (f *fault) Error() string { return fmt.Sprintf("%v: %v", wire.ErrDamaged, f.value) }

func (f *fault) Unwrap() error { return wire.ErrDamaged }

// Stack returns the stack of the panic that Guard returned as err, and "" for any other error.
func Stack(err error) string {
	if f := new(fault); errors.As(err, &f) {
		return string(f.stack)
	}
	return ""
}

// ErrMoved means that a path no longer leads to the file that the agent opened.
var ErrMoved = domain.ErrMoved

// IsStill returns ErrMoved unless path still leads to the file was.
func IsStill(path string, was fs.FileInfo) error {
	is, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s is not there", ErrMoved, path)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrMoved, err)
	case !os.SameFile(was, is):
		return fmt.Errorf("%w: %s is not the one that the agent has open", ErrMoved, path)
	}
	return nil
}

// OnDisk returns the bytes that a file occupies on disk. It is less than its size, because bbolt's files have
// holes.
func OnDisk(info os.FileInfo) int64 {
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		return sys.Blocks * 512
	}
	return info.Size()
}

// OnDiskAt is OnDisk for the file at path. It returns 0 if there is none.
func OnDiskAt(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return OnDisk(info)
}

// Size returns the length of the file at path, and 0 if there is none.
func Size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
