package store

import (
	"archive/tar"
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

	bolt "go.etcd.io/bbolt"
)

// A backup is one tar file, written front to back, so that it can go through a pipe:
//
//	personasync-backup    JSON: BackupInfo
//	state.db              the state at one moment, page by page
//	inbox/NNN             records that this state did not know yet: ( length, frame )*, from number NNN
//	…
//	checksums             JSON: name, size and SHA-256 of every entry before it, in order
//
// One without its checksums was cut off. FORMAT.md says what a restore does with it.

const (
	backupHead   = "personasync-backup"
	backupSums   = "checksums"
	backupInbox  = "inbox/"
	backupFormat = 1

	// tailBytes is about how much of the inbox goes into one entry.
	tailBytes = 1 << 20
)

// BackupInfo says what is in a backup.
type BackupInfo struct {
	Format      int       `json:"format"`       // of the backup
	StoreFormat int       `json:"store_format"` // of the files in it
	Epoch       string    `json:"epoch"`
	Made        time.Time `json:"made"`
	StateBytes  int64     `json:"state_bytes"`
	Applied     uint64    `json:"applied"` // number of the last record that the state knows
	Last        uint64    `json:"last"`    // number of the last record in it
	Received    uint64    `json:"received"`
	Pending     uint64    `json:"pending"` // changes: what of them left after the backup is sent again after a restore
	Users       uint64    `json:"users"`
}

// BackupReport is what a backup wrote.
type BackupReport struct {
	BackupInfo
	Bytes int64         `json:"bytes"` // of the file
	Grew  int64         `json:"grew"`  // what state.db took more of the disk meanwhile
	Took  time.Duration `json:"took_ns"`
}

// ErrNoBackup says that a file is no backup, or not a whole one.
var ErrNoBackup = errors.New("not a whole backup")

// Backup writes a backup of the store as it is now, while everything goes on. Until state.db is copied,
// pages freed meanwhile are not used again, so that it grows by what is written; when that uses up the
// room for events, the backup gives up. w must not dawdle. progress may be nil; it counts bytes.
func (s *Store) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (r BackupReport, err error) {
	if err := s.beginUpkeep(); err != nil {
		return r, err
	}
	defer s.upkeep.Unlock()
	s.tail.Store(true)
	defer s.tail.Store(false)
	ctx, cancel := s.lifelong(ctx)
	defer cancel()
	halt, grew := s.longRead()
	r, err = s.View.backup(ctx, w, progress, halt)
	r.Grew = grew()
	return r, err
}

// longRead bounds a reader of all there is at one moment: pages that are freed meanwhile are not used again,
// so that state.db grows by what is written. halt says when that uses up the room for events; grew, by how
// much the file did.
func (s *Store) longRead() (halt func() error, grew func() int64) {
	path, had := filepath.Join(s.dir, stateFile), s.Full() == nil
	before := onDiskAt(path)
	return func() error {
		if full := s.Full(); had && full != nil {
			return full
		}
		return nil
	}, func() int64 { return onDiskAt(path) - before }
}

// untilDone is the halt of a reader in whose way nobody writes.
func untilDone() error { return nil }

// Backup writes a backup of the files of a stopped agent.
func (v *View) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (BackupReport, error) {
	return v.backup(ctx, w, progress, untilDone)
}

func onDiskAt(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return onDisk(info)
}

func (v *View) backup(ctx context.Context, w io.Writer, progress func(done, total int64), halt func() error) (r BackupReport, err error) {
	begun := time.Now()
	out := &backupWriter{ctx: ctx, halt: halt, to: w, progress: progress}
	out.tar = tar.NewWriter(out)
	err = v.look(func(tx *bolt.Tx) error {
		if r.BackupInfo, err = v.describe(tx, begun); err != nil {
			return err
		}
		out.total = r.StateBytes + v.inbox.behind(r.Applied)
		if progress != nil {
			progress(0, out.total)
		}
		if err := out.json(backupHead, r.BackupInfo); err != nil {
			return err
		}
		return out.entry(stateFile, r.StateBytes, func(w io.Writer) error {
			_, err := tx.WriteTo(w)
			return err
		})
	})
	if err == nil {
		err = out.inbox(v.inbox, r.Applied, r.Last)
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

// describe says what a backup that begins now holds.
func (v *View) describe(tx *bolt.Tx, now time.Time) (BackupInfo, error) {
	meta := tx.Bucket(bucketMeta)
	l := ledger{}
	if frame := meta.Get(metaLedger); frame != nil {
		var err error
		if l, err = decodeLedger(frame); err != nil {
			return BackupInfo{}, err
		}
	}
	applied := number(meta.Get(metaApplied))
	last := max(v.inbox.last(), applied)
	return BackupInfo{
		Format: backupFormat, StoreFormat: Format, Epoch: fmt.Sprintf("%08x", binary.BigEndian.Uint32(meta.Get(metaEpoch))), Made: now.UTC().Round(0),
		StateBytes: tx.Size(), Applied: applied, Last: last,
		Received: l.events.Accepted + last - applied, Pending: l.changes.Pending, Users: l.users,
	}, nil
}

// backupWriter writes the entries, and remembers their checksums.
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

// Write is the tar writer's way out: it listens for the end at every piece.
func (o *backupWriter) Write(p []byte) (int, error) {
	if o.ctx.Err() != nil {
		return 0, context.Cause(o.ctx)
	}
	if err := o.halt(); err != nil {
		return 0, err
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

// hashed writes to w what it hashes, in pieces that are worth a system call.
type hashed struct {
	w   io.Writer
	sum hash.Hash
}

func (h *hashed) Write(p []byte) (int, error) {
	h.sum.Write(p)
	return h.w.Write(p)
}

// ReadFrom has io.Copy use larger pieces than its own.
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
func (o *backupWriter) inbox(in *inbox, applied, last uint64) error {
	for next := applied + 1; next <= last; {
		records, err := in.read(next, tailBytes)
		if err != nil {
			return fmt.Errorf("read the inbox: %w", err)
		}
		if len(records) == 0 || records[0].seq != next {
			return fmt.Errorf("record %d is missing in the inbox: `personasync db check` says more", next)
		}
		var chunk []byte
		first := next
		for _, r := range records {
			if r.seq <= last {
				chunk, next = putBytes(chunk, r.frame), r.seq+1
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

// CreateBackup has fill write a backup, and gives it its name once it is whole and on disk. What bears
// the name already is replaced only if it is a backup itself.
func CreateBackup(path string, fill func(w io.Writer) error) (err error) {
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
		Reach(PointBackupSynced)
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(translate(err), os.Remove(f.Name()))
	}
	Reach(PointBackupNamed)
	return syncDir(filepath.Dir(path))
}

func replaceable(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at what %s is: %w", path, err)
	}
	defer f.Close()
	if h, err := tar.NewReader(f).Next(); err != nil || h.Name != backupHead {
		return fmt.Errorf("%s exists and is not a backup: choose another name", path)
	}
	return nil
}

// backupSink is told what a backup holds, in order. nil functions pass over it.
type backupSink struct {
	head    func(BackupInfo) error
	state   func(r io.Reader) error
	records func(first uint64, frames [][]byte) error
}

// VerifyBackup reads a whole backup and checks every sum in it. It answers ErrNoBackup when one does
// not hold, and ErrNewer.
func VerifyBackup(path string, progress func(done, total int64)) (BackupInfo, error) {
	return readBackup(context.Background(), path, progress, backupSink{})
}

func readBackup(ctx context.Context, path string, progress func(done, total int64), to backupSink) (info BackupInfo, err error) {
	f, err := os.Open(path)
	if err != nil {
		return info, fmt.Errorf("open the backup: %w", err)
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return info, err
	}
	r := &backupReader{ctx: ctx, from: f, progress: progress, total: stat.Size(), to: to}
	r.tar = tar.NewReader(r)
	if err := r.read(); err != nil {
		return r.info, fmt.Errorf("%s: %w", path, err)
	}
	return r.info, nil
}

// backupReader reads the entries, and checks each.
type backupReader struct {
	ctx         context.Context
	from        io.Reader
	progress    func(done, total int64)
	done, total int64
	tar         *tar.Reader
	to          backupSink
	info        BackupInfo
	sums        []backupSum
	next        uint64 // number of the record that must come next
}

func (r *backupReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	n, err := r.from.Read(p)
	if r.done += int64(n); r.progress != nil {
		r.progress(r.done, r.total)
	}
	return n, err
}

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNoBackup, fmt.Sprintf(format, args...))
}

func (r *backupReader) read() error {
	for n := 0; ; n++ {
		h, err := r.tar.Next()
		switch {
		case r.ctx.Err() != nil:
			return context.Cause(r.ctx)
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
			return bad("it was cut off")
		case err != nil:
			return bad("%v", err)
		case n == 0 && h.Name != backupHead, n == 1 && h.Name != stateFile:
			return bad("entry %d is %q", n+1, h.Name)
		case h.Name == backupSums:
			return r.compare()
		}
		sum := sha256.New()
		if err := r.entry(h, io.TeeReader(r.tar, sum)); err != nil {
			return err
		}
		r.sums = append(r.sums, backupSum{h.Name, h.Size, hex.EncodeToString(sum.Sum(nil))})
	}
}

func (r *backupReader) entry(h *tar.Header, from io.Reader) (err error) {
	first := uint64(0)
	switch _, scanErr := fmt.Sscanf(h.Name, backupInbox+"%d", &first); {
	case h.Name == backupHead:
		err = r.head(from)
	case h.Name == stateFile:
		if r.to.state != nil {
			err = r.to.state(from)
		}
	case scanErr == nil && first == r.next:
		err = r.records(first, h.Size, from)
	default:
		return bad("entry %q is not to be expected there", h.Name)
	}
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, from); err != nil {
		return cutOff(err)
	}
	return nil
}

// cutOff names the one error that a short file brings about.
func cutOff(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return bad("it was cut off")
	}
	return err
}

func (r *backupReader) head(from io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(from, 64<<10))
	if err == nil {
		err = json.Unmarshal(text, &r.info)
	}
	switch {
	case err != nil:
		return bad("its description cannot be read: %v", err)
	case r.info.Format > backupFormat || r.info.StoreFormat > Format:
		return fmt.Errorf("%w: the backup has format %d with files of format %d, this program knows %d and %d: install the newer version",
			ErrNewer, r.info.Format, r.info.StoreFormat, backupFormat, Format)
	}
	r.next = r.info.Applied + 1
	if r.to.head != nil {
		return r.to.head(r.info)
	}
	return nil
}

// records checks one piece of the inbox and hands it on. Sixteen of the largest appends fit.
func (r *backupReader) records(first uint64, size int64, from io.Reader) error {
	if size > 16*groupBytes {
		return bad("entry %s%d is too large", backupInbox, first)
	}
	chunk, err := io.ReadAll(from)
	if err != nil {
		return cutOff(err)
	}
	var list [][]byte
	f := frames{rest: chunk}
	for f.next() {
		list = append(list, f.frame)
	}
	if f.err != nil {
		return bad("the records from %d cannot be read", first)
	}
	r.next += uint64(len(list))
	if r.to.records != nil && len(list) > 0 {
		return r.to.records(first, list)
	}
	return nil
}

// compare ends the reading: the sums stand for everything before them.
func (r *backupReader) compare() error {
	text, err := io.ReadAll(r.tar)
	if err != nil {
		return cutOff(err)
	}
	var sums []backupSum
	if err := json.Unmarshal(text, &sums); err != nil {
		return bad("its checksums cannot be read: %v", err)
	}
	if len(sums) != len(r.sums) || r.next != r.info.Last+1 {
		return bad("%d entries up to record %d are said to be in it, there are %d up to %d", len(sums), r.info.Last, len(r.sums), r.next-1)
	}
	for i := range sums {
		if sums[i] != r.sums[i] {
			return bad("%s is not what was written: the disk or the way here changed it", sums[i].Name)
		}
	}
	if rest, _ := io.Copy(io.Discard, r.tar); rest > 0 {
		return bad("something follows its end")
	}
	return nil
}

var _ io.ReaderFrom = (*hashed)(nil)
