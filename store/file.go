package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"personasync/store/crashpoint"
	"personasync/store/internal/wire"
)

// Format is the version of the files. It changes when an older binary could not read them.
const Format = 2

const (
	stateFile = "state.db"
	lockFile  = "lock"
)

// ErrForeign is about a file that is in the folder by mistake. It stays so until somebody moves it.
var ErrForeign = errors.New("a file that does not belong here")

// notOurs is about a file without the buckets of ours: somebody else's, or one that lost their names.
func notOurs(path string) error {
	return fmt.Errorf("%w: %s is not a file of this program: move it out of %s", ErrForeign, filepath.Base(path), filepath.Dir(path))
}

// Every file has the bucket meta: format, epoch, and for the state what meta.go lists.
var (
	bucketMeta = []byte("meta")
	metaFormat = []byte("format")
	metaEpoch  = []byte("epoch")
	metaSeal   = []byte("seal")
)

// boltOptions is the one place where a bbolt file's options are made, for opening, compacting and
// restoring alike. There is deliberately no way to turn fsync off; the inbox does its own, see
// lastcommit.go.
//
// mmap is the address space to reserve: a writer that must grow the map waits for every open reader
// (5 s measured), so the map is made larger than the file gets. Reserved address space costs nothing.
func boltOptions(mmap int, readOnly bool) *bolt.Options {
	return &bolt.Options{
		Timeout:         lockPatience(readOnly),
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mmap,
		ReadOnly:        readOnly,
	}
}

// lockPatience is how long an open waits for a file's lock. Whoever opens to write holds the lock of
// the directory already, so what is in the way is a reader of a page, soon gone; a reader is in the
// way of the agent, and looks for it at the socket instead.
func lockPatience(readOnly bool) time.Duration {
	if readOnly {
		return time.Second
	}
	return 30 * time.Second
}

// lockAsBolt takes the lock of a file that bbolt takes: LOCK_SH to read, LOCK_EX to write. waiting is told now
// and then how long it is in vain. It ends early, with the cause, when ctx does.
func lockAsBolt(ctx context.Context, path string, how int, patience time.Duration, waiting func(since time.Duration)) (unlock func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Base(path), err)
	}
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = dropLock(f) }, nil
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

// openBolt opens path, and falls back to a map of the file's size where the address space is limited.
func openBolt(path string, mmap int, readOnly bool) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, boltOptions(mmap, readOnly))
	if errors.Is(err, syscall.ENOMEM) {
		db, err = bolt.Open(path, 0o600, boltOptions(0, readOnly))
	}
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, ErrInUse
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", filepath.Base(path), err)
	}
	return db, nil
}

// createFile makes a file under another name first, so that a crash leaves either all of it or none.
func createFile(path string, fill func(*bolt.DB) error) error {
	temporary := path + ".new"
	err := fillFile(temporary, fill)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err == nil {
		crashpoint.Reach(crashpoint.SegmentNamed)
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		os.Remove(temporary)
		return fmt.Errorf("create %s: %w", filepath.Base(path), err)
	}
	return nil
}

// fillFile makes a file, or none.
func fillFile(path string, fill func(*bolt.DB) error) error {
	os.Remove(path)
	db, err := openBolt(path, 0, false)
	if err == nil {
		err = errors.Join(fill(db), db.Close())
	}
	if err != nil {
		os.Remove(path) // a full disk leaves half of one
	}
	return err
}

// initFile writes format and epoch into a new file, and the buckets it needs, in one transaction.
func initFile(db *bolt.DB, epoch uint32, buckets ...[]byte) error {
	return db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		if meta.Get(metaFormat) != nil {
			return nil
		}
		if err := meta.Put(metaFormat, binary.BigEndian.AppendUint32(nil, Format)); err != nil {
			return err
		}
		if err := meta.Put(metaEpoch, binary.BigEndian.AppendUint32(nil, epoch)); err != nil {
			return err
		}
		return sealTx(tx)
	})
}

// fileEpoch checks a file's format and returns its epoch.
func fileEpoch(db *bolt.DB) (epoch uint32, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return notOurs(db.Path())
		}
		if len(meta.Get(metaFormat)) != 4 || len(meta.Get(metaEpoch)) != 4 {
			return fmt.Errorf("bucket meta: %w", wire.ErrDamaged)
		}
		if v := binary.BigEndian.Uint32(meta.Get(metaFormat)); v > Format && !falseFormat(tx) {
			return fmt.Errorf("%w: %s has format %d, this program knows %d: install the newer version again, or restore the backup made before its upgrade",
				ErrNewer, filepath.Base(db.Path()), v, Format)
		}
		epoch = binary.BigEndian.Uint32(meta.Get(metaEpoch))
		return checkMeta(tx)
	})
	return epoch, err
}

// metaSum is the checksum of what has none of its own: of meta, the seal aside, and of the jobs. The
// position in the inbox is among it, which must never be believed when it is wrong.
func metaSum(tx *bolt.Tx) []byte { return metaSumWith(tx, nil) }

// metaSumWith is metaSum with another format in place of what the file says; nil: as it says.
func metaSumWith(tx *bolt.Tx, format []byte) []byte {
	sum := uint32(0)
	for _, name := range [][]byte{bucketMeta, bucketJobs} {
		b := tx.Bucket(name)
		if b == nil {
			continue
		}
		_ = b.ForEach(func(k, v []byte) error { // which never fails
			if bytes.Equal(k, metaFormat) && format != nil {
				v = format
			}
			if !bytes.Equal(k, metaSeal) {
				sum = wire.Checksum(wire.Checksum(sum, k), v)
			}
			return nil
		})
	}
	return binary.BigEndian.AppendUint32(nil, sum)
}

// falseFormat reports whether a format that is too high is damage: with ours in its place the checksum
// is right.
func falseFormat(tx *bolt.Tx) bool {
	return bytes.Equal(tx.Bucket(bucketMeta).Get(metaSeal), metaSumWith(tx, binary.BigEndian.AppendUint32(nil, Format)))
}

// sealTx writes the checksum of meta. Whoever changes meta or the jobs does it last.
func sealTx(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(metaSeal, metaSum(tx)) }

func checkMeta(tx *bolt.Tx) error {
	if !bytes.Equal(tx.Bucket(bucketMeta).Get(metaSeal), metaSum(tx)) {
		return fmt.Errorf("bucket meta: %w", wire.ErrDamaged)
	}
	return nil
}

// lockDir takes the directory for this process and says in the lock file what that is for: command is
// what a person would type, "" for the agent. The kernel drops the lock with the process, so a crash
// leaves nothing to clean up.
func lockDir(dir, command string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		text := make([]byte, maxLockText)
		n, _ := f.ReadAt(text, 0)
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &InUseError{dir, readHolding(text[:n])}
		}
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	// The lock is the kernel's, the text is for people: a full disk takes only the text away. It is
	// written over the old one, which needs no room.
	text := Holding{os.Getpid(), command}.lockText()
	if err := translate(errors.Join(writeAt(f, text), f.Truncate(int64(len(text))))); err != nil && !errors.Is(err, ErrFull) {
		_ = dropLock(f)
		return nil, fmt.Errorf("write the lock file: %w", err)
	}
	return f, nil
}

// dropLock drops a lock and closes its file. Closing alone keeps the lock for as long as a process that is being
// started at this moment has a copy of the descriptor, which is until it executes its program.
func dropLock(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

func writeAt(f *os.File, b []byte) error {
	_, err := f.WriteAt(b, 0)
	return err
}

// syncDir makes names created in dir survive power loss.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// ownNames fit the names that this program gives to files and folders of the data directory.
var ownNames = []string{lockFile, runFile, stateFile + "*", "inbox-*", "before-format-*", "import-*.tmp", restoreDir, replacedPattern, "*.damaged-*", "admin.sock*"}

// OwnName returns the name in path that this program gives to files of a data directory: the last of it, in whatever
// folder, or one directly in a folder that is a data directory. It is "" when there is none.
func OwnName(path string) string {
	if name := filepath.Base(path); fitsOwn(name) {
		return name
	}
	return ownNameInData(path)
}

func fitsOwn(name string) bool {
	return slices.ContainsFunc(ownNames, func(pattern string) bool {
		fits, _ := filepath.Match(pattern, name)
		return fits
	})
}

// ownNameInData is ownName for whichever data directory path leads into.
func ownNameInData(path string) string {
	above, err := filepath.Abs(filepath.Dir(path))
	for ; err == nil && above != filepath.Dir(above); above = filepath.Dir(above) {
		if found, _ := exists(filepath.Join(above, stateFile)); found {
			if name := ownName(above, path); name != "" {
				return name
			}
		}
	}
	return ""
}

// ownName returns the name directly under dir that path leads through, if it is one of ownNames, else "". The
// path may come to dir by another way: relative, or through a link.
func ownName(dir, path string) string {
	data, err := os.Stat(dir)
	if err != nil {
		return ""
	}
	above, err := filepath.Abs(filepath.Dir(path))
	if err == nil {
		above, err = filepath.EvalSymlinks(above)
	}
	for name := filepath.Base(path); err == nil; above, name = filepath.Dir(above), filepath.Base(above) {
		if info, failed := os.Stat(above); failed == nil && os.SameFile(info, data) {
			if fitsOwn(name) {
				return name
			}
			return ""
		}
		if above == filepath.Dir(above) {
			return ""
		}
	}
	return ""
}

// named lists the paths in dir whose last element fits pattern, in order of the alphabet. It reads the folder,
// because filepath.Glob takes a [ in the name of the folder itself for a pattern and ignores what it may not
// read: a store that finds none of its files begins anew over them. A missing folder holds nothing.
func named(dir, pattern string) (paths []string, err error) {
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

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && !isLink(path) { // one that leads nowhere is no reason to begin anew
		return false, nil
	}
	return err == nil, err
}
