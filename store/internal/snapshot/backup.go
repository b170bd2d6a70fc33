package snapshot

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/state"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

const (
	backupHead   = "personasync-backup"
	backupSums   = "checksums"
	backupInbox  = "inbox/"
	backupFormat = 1

	// tailBytes is about how much of the inbox goes into one entry.
	tailBytes = 1 << 20
)

// BackupInfo describes a backup.
type BackupInfo struct {
	Format      int       `json:"format"`       // of the backup
	StoreFormat int       `json:"store_format"` // of the files in it
	Epoch       string    `json:"epoch"`
	Made        time.Time `json:"made"`
	StateBytes  int64     `json:"state_bytes"`
	Applied     uint64    `json:"applied"` // number of the last record that the state has applied
	Last        uint64    `json:"last"`    // number of the last record in it
	Received    uint64    `json:"received"`
	Pending     uint64    `json:"pending"` // changes: those sent after the backup are sent again after a restore
	Users       uint64    `json:"users"`
}

// BackupReport is what a backup wrote.
type BackupReport struct {
	BackupInfo
	Bytes int64         `json:"bytes"` // of the file
	Grew  int64         `json:"grew"`  // bytes on disk that state.db grew by meanwhile
	Took  time.Duration `json:"took_ns"`
}

// ErrNoBackup means that a file is not a backup, or not a whole one.
var ErrNoBackup = errors.New("not a whole backup")

// Backup writes a backup of one moment to w: the state, and the inbox up to then. halt, if not nil, says why to give up.
func Backup(ctx context.Context, v *query.Reader, db *bolt.State, inbox *wal.Log, w io.Writer, progress func(done, total int64), halt func() error) (r BackupReport, err error) {
	begun := time.Now()
	out := &backupWriter{ctx: ctx, halt: halt, to: w, progress: progress}
	out.tar = tar.NewWriter(out)
	err = v.Observe(db.Snapshot(func(tx engine.Tx, size int64, file func(io.Writer) error) error {
		if r.BackupInfo, err = describe(v, tx, size, begun); err != nil {
			return err
		}
		out.total = r.StateBytes + inbox.UnappliedBytes(r.Applied)
		if progress != nil {
			progress(0, out.total)
		}
		if err := out.json(backupHead, r.BackupInfo); err != nil {
			return err
		}
		return out.entry(datadir.StateFile, size, file)
	}))
	if err == nil {
		err = out.inbox(inbox, r.Applied, r.Last)
	}
	if err == nil {
		err = errors.Join(out.json(backupSums, out.sums), out.tar.Close())
	}
	if err != nil {
		return BackupReport{}, fmt.Errorf("back up: %w", err)
	}
	r.Bytes, r.Took = out.written, time.Since(begun)
	if progress != nil {
		progress(out.written, out.written)
	}
	return r, nil
}

// describe returns the description of a backup that begins now.
func describe(v *query.Reader, tx engine.Tx, size int64, now time.Time) (BackupInfo, error) {
	meta := tx.Bucket(state.BucketMeta)
	l := state.Ledger{}
	if frame := meta.Get(state.MetaLedger); frame != nil {
		var err error
		if l, err = state.DecodeLedger(frame); err != nil {
			return BackupInfo{}, err
		}
	}
	applied := state.Number(meta.Get(state.MetaApplied))
	last := max(v.Inbox.Last(), applied)
	return BackupInfo{
		Format: backupFormat, StoreFormat: datadir.Format, Epoch: fmt.Sprintf("%08x", binary.BigEndian.Uint32(meta.Get(boltfile.MetaEpoch))), Made: now.UTC().Round(0),
		StateBytes: size, Applied: applied, Last: last,
		Received: l.Events.Accepted + last - applied, Pending: l.Changes.Pending, Users: l.Users,
	}, nil
}

// backupWriter writes the entries of a backup and keeps their checksums.
type backupWriter struct {
	ctx      context.Context
	halt     func() error
	to       io.Writer
	progress func(done, total int64)
	written  int64
	total    int64
	tar      *tar.Writer
	sums     []backupSum
}

type backupSum struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Write implements io.Writer for the tar writer. Each call first checks whether the backup is to end.
func (o *backupWriter) Write(p []byte) (int, error) {
	if o.ctx.Err() != nil {
		return 0, context.Cause(o.ctx)
	}
	if o.halt != nil {
		if err := o.halt(); err != nil {
			return 0, err
		}
	}
	n, err := o.to.Write(p)
	if o.written += int64(n); o.progress != nil {
		o.progress(o.written, max(o.written, o.total))
	}
	return n, err
}

func (o *backupWriter) entry(name string, size int64, fill func(w io.Writer) error) error {
	if err := o.tar.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o600, Format: tar.FormatPAX}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	sum := sha256.New()
	if err := fill(&hashed{o.tar, sum}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	o.sums = append(o.sums, backupSum{name, size, hex.EncodeToString(sum.Sum(nil))})
	return nil
}

// hashed hashes the bytes that it writes to w.
type hashed struct {
	w   io.Writer
	sum hash.Hash
}

func (h *hashed) Write(p []byte) (int, error) {
	h.sum.Write(p)
	return h.w.Write(p)
}

// ReadFrom makes io.Copy use larger pieces than its own 32 KiB.
func (h *hashed) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{h}, r, make([]byte, 256<<10))
}

func (o *backupWriter) json(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return o.entry(name, int64(len(text)), func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// inbox writes the records behind applied, up to last.
func (o *backupWriter) inbox(in *wal.Log, applied, last uint64) error {
	for next := applied + 1; next <= last; {
		records, err := in.Read(next, tailBytes)
		if err != nil {
			return fmt.Errorf("read the inbox: %w", err)
		}
		if len(records) == 0 || records[0].Seq != next {
			return fmt.Errorf("record %d is missing in the inbox: `personasync db check` says more", next)
		}
		var chunk []byte
		first := next
		for _, r := range records {
			if r.Seq <= last {
				chunk, next = wire.AppendBytes(chunk, r.Frame), r.Seq+1
			}
		}
		err = o.entry(fmt.Sprintf("%s%d", backupInbox, first), int64(len(chunk)), func(w io.Writer) error {
			_, err := w.Write(chunk)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// CreateBackup makes the file at path from the bytes that fill writes, a backup of the store in dir. The file gets its name
// once it is whole and on disk. It replaces a file of that name only if that is a backup too. CreateBackup refuses the
// names of the store's own files, because the next start would read the backup as one of them.
func CreateBackup(dir, path string, fill func(w io.Writer) error) (err error) {
	if name := cmp.Or(datadir.NameIn(dir, path), datadir.NameInData(path)); name != "" {
		return fmt.Errorf("%s: the agent keeps files of its own under %s in a data directory: choose another name", path, name)
	}
	if err := replaceable(path); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("create the backup: %w", err)
	}
	if err = fill(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		crashpoint.Reach(crashpoint.BackupSynced)
		err = replaceable(path) // once more: a large backup takes minutes
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(datadir.Translate(err), os.Remove(f.Name()))
	}
	crashpoint.Reach(crashpoint.BackupNamed)
	return boltfile.SyncDir(filepath.Dir(path))
}

// ErrNotAFile means that a backup cannot be written to a path, because it leads to something else than a regular file.
var ErrNotAFile = errors.New("not a regular file")

func replaceable(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !info.Mode().IsRegular() { // opening a pipe would wait for its other end
		return fmt.Errorf("%s: %w: a backup is written to a new file, or replaces another backup: choose the name of one", path, ErrNotAFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("look at what %s is: %w", path, err)
	}
	defer f.Close()
	if h, err := tar.NewReader(f).Next(); err != nil || h.Name != backupHead {
		return fmt.Errorf("%s exists and is not a backup: choose another name", path)
	}
	return nil
}

var _ io.ReaderFrom = (*hashed)(nil)
