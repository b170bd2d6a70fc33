package snapshot

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"personasync/store/internal/datadir"
	"personasync/store/internal/groupcommit"
	"personasync/store/internal/wire"
)

// Stdin is the path of a backup that is read from the standard input. Its size is not known if that is a pipe.
const Stdin = "-"

// BackupSink receives the parts of a backup, in order. A nil function skips its part.
type BackupSink struct {
	Head    func(BackupInfo) error
	State   func(r io.Reader) error
	Records func(first uint64, frames [][]byte) error
}

// VerifyBackup reads a whole backup and checks every checksum. It returns ErrNoBackup if one is wrong, and ErrNewer for a
// newer format. progress may be nil; it counts bytes.
func VerifyBackup(path string, progress func(done, total int64)) (BackupInfo, error) {
	return ReadBackup(context.Background(), path, progress, BackupSink{})
}

// ReadBackup reads the backup at path, checks every checksum, and passes its parts to to. It returns an error of to
// unchanged, and otherwise the errors of VerifyBackup.
func ReadBackup(ctx context.Context, path string, progress func(done, total int64), to BackupSink) (info BackupInfo, err error) {
	f := os.Stdin
	if path != Stdin {
		if f, err = os.Open(path); err != nil {
			return info, fmt.Errorf("open the backup: %w", err)
		}
		defer f.Close()
	}
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

// backupReader reads the entries of a backup and checks each.
type backupReader struct {
	ctx         context.Context
	from        io.Reader
	progress    func(done, total int64)
	done, total int64
	tar         *tar.Reader
	to          BackupSink
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

// Bad returns an ErrNoBackup with a reason.
func Bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNoBackup, fmt.Sprintf(format, args...))
}

func (r *backupReader) read() error {
	for n := 0; ; n++ {
		h, err := r.tar.Next()
		switch {
		case r.ctx.Err() != nil:
			return context.Cause(r.ctx)
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
			return Bad("it was cut off")
		case err != nil:
			return Bad("%v", err)
		case n == 0 && h.Name != backupHead, n == 1 && h.Name != datadir.StateFile:
			return Bad("entry %d is %q", n+1, h.Name)
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
	case h.Name == datadir.StateFile:
		if r.to.State != nil {
			err = r.to.State(from)
		}
	case scanErr == nil && first == r.next:
		err = r.records(first, h.Size, from)
	default:
		return Bad("entry %q is not to be expected there", h.Name)
	}
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, from); err != nil {
		return CutOff(err)
	}
	return nil
}

// CutOff returns the error of a file that ends too early as ErrNoBackup, and any other unchanged.
func CutOff(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return Bad("it was cut off")
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
		return Bad("its description cannot be read: %v", err)
	case r.info.Format > backupFormat || r.info.StoreFormat > datadir.Format:
		return fmt.Errorf("%w: the backup has format %d with files of format %d, this program knows %d and %d: install the newer version",
			wire.ErrNewer, r.info.Format, r.info.StoreFormat, backupFormat, datadir.Format)
	}
	r.next = r.info.Applied + 1
	if r.to.Head != nil {
		return r.to.Head(r.info)
	}
	return nil
}

// records checks one entry of the inbox and passes it on. It may have the size of sixteen of the largest commits.
func (r *backupReader) records(first uint64, size int64, from io.Reader) error {
	if size > 16*groupcommit.GroupBytes {
		return Bad("entry %s%d is too large", backupInbox, first)
	}
	chunk, err := io.ReadAll(from)
	if err != nil {
		return CutOff(err)
	}
	list, whole := wire.SplitFrames(chunk)
	if !whole {
		return Bad("the records from %d cannot be read", first)
	}
	r.next += uint64(len(list))
	if r.to.Records != nil && len(list) > 0 {
		return r.to.Records(first, list)
	}
	return nil
}

// compare compares the checksums at the end of the backup with those of the entries read.
func (r *backupReader) compare() error {
	text, err := io.ReadAll(r.tar)
	if err != nil {
		return CutOff(err)
	}
	var sums []backupSum
	if err := json.Unmarshal(text, &sums); err != nil {
		return Bad("its checksums cannot be read: %v", err)
	}
	if len(sums) != len(r.sums) || r.next != r.info.Last+1 {
		return Bad("%d entries up to record %d are said to be in it, there are %d up to %d", len(sums), r.info.Last, len(r.sums), r.next-1)
	}
	for i := range sums {
		if sums[i] != r.sums[i] {
			return Bad("%s differs from the bytes that were written: the disk or the transfer changed it", sums[i].Name)
		}
	}
	switch _, err := r.tar.Next(); {
	case r.ctx.Err() != nil:
		return context.Cause(r.ctx)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return Bad("it was cut off")
	case err != io.EOF: // an entry, or bytes that are none
		return Bad("something follows its end")
	}
	return nil
}
