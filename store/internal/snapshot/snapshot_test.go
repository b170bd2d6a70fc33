package snapshot

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/datadir"
	"personasync/store/internal/dirtest"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
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

// stocked has two users applied and three records that are not, in two files.
func stocked(t *testing.T) *dirtest.Dir {
	t.Helper()
	d := dirtest.New(t, domain.SendBoth)
	d.Receive(statetest.Enter("ann", "vip", 1), statetest.Enter("bob", "vip", 2))
	d.Apply()
	d.Receive(statetest.Enter("cid", "vip", 3))
	d.Rotate()
	d.Receive(statetest.Enter("dan", "vip", 4), statetest.Enter("eve", "vip", 5))
	return d
}

// use opens the store of d and calls f with its reader.
func use(d *dirtest.Dir, f func(v *query.Reader, db *bolt.State, inbox *wal.Log)) {
	d.Helper()
	d.Inbox(statetest.Epoch, func(inbox *wal.Log) {
		d.Open(false, func(db *bolt.State) error {
			f(&query.Reader{State: db, Inbox: inbox}, db, inbox)
			return nil
		})
	})
}

// backUp writes a backup of d into a file.
func backUp(t *testing.T, d *dirtest.Dir) (path string, r BackupReport) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "backup.tar")
	use(d, func(v *query.Reader, db *bolt.State, inbox *wal.Log) {
		must(t, CreateBackup(d.Path, path, func(w io.Writer) (err error) {
			r, err = Backup(t.Context(), v, db, inbox, w, nil, nil)
			return err
		}))
	})
	return path, r
}

func TestABackupComesBackAsItWasWritten(t *testing.T) {
	d := stocked(t)
	path, r := backUp(t, d)
	info, err := os.Stat(path)
	must(t, err)
	if r.Bytes != info.Size() || info.Mode().Perm() != 0o600 || r.Took <= 0 || r.Made.IsZero() {
		t.Errorf("%+v of a file of %d bytes, %v", r, info.Size(), info.Mode())
	}
	want := BackupInfo{Format: 1, StoreFormat: datadir.Format, Epoch: fmt.Sprintf("%08x", statetest.Epoch), Made: r.Made, StateBytes: r.StateBytes, Applied: 3, Last: 6, Received: 5, Pending: 4, Users: 2}
	if r.BackupInfo != want {
		t.Errorf("got %+v\nwant %+v", r.BackupInfo, want)
	}
	var last, of int64
	if got, err := VerifyBackup(path, func(done, total int64) { last, of = done, total }); err != nil || got != want || last != of || of != info.Size() {
		t.Errorf("verified %+v, %v, after %d of %d bytes", got, err, last, of)
	}

	copied := filepath.Join(t.TempDir(), datadir.StateFile)
	var order []string
	var users []string
	_, err = ReadBackup(t.Context(), path, nil, BackupSink{
		Head: func(i BackupInfo) error { order = append(order, "head"); return nil },
		State: func(r io.Reader) error {
			order = append(order, "state")
			body, err := io.ReadAll(r)
			return errors.Join(err, os.WriteFile(copied, body, 0o600))
		},
		Records: func(first uint64, frames [][]byte) error {
			for i, f := range frames {
				rec, err := record.DecodeRecord(first+uint64(i), f)
				must(t, err)
				order, users = append(order, fmt.Sprint(first+uint64(i))), append(users, rec.Event.User.ID)
			}
			return nil
		},
	})
	must(t, err)
	if got := strings.Join(order, " "); got != "head state 4 5 6" || strings.Join(users, " ") != "cid dan eve" {
		t.Errorf("%s, of %v", got, users)
	}
	db, err := bolt.Open(copied, 0, true)
	must(t, err)
	defer db.Close()
	must(t, db.View(func(kv engine.Tx) error {
		st, err := state.LoadState(kv)
		if err == nil && (st.Ledger.Users != 2 || st.Applied != 3) {
			t.Errorf("%+v", st.Ledger)
		}
		return err
	}))
}

// TestABackupIsOfOneMoment: the state is copied as of the first moment, and events received meanwhile stay out.
func TestABackupIsOfOneMoment(t *testing.T) {
	d := stocked(t)
	var text bytes.Buffer
	use(d, func(v *query.Reader, db *bolt.State, inbox *wal.Log) {
		late := 0
		r, err := Backup(t.Context(), v, db, inbox, writerFunc(func(p []byte) (int, error) {
			if late++; late < 5 {
				must(t, inbox.Append(t.Context(), statetest.Frame(statetest.Enter(fmt.Sprintf("late%d", late), "vip", 9))))
			}
			return text.Write(p)
		}), nil, nil)
		must(t, err)
		if r.Last != 6 || inbox.Last() != 10 {
			t.Errorf("the backup goes to %d, the inbox to %d", r.Last, inbox.Last())
		}
	})
	path := filepath.Join(t.TempDir(), "b.tar")
	must(t, os.WriteFile(path, text.Bytes(), 0o600))
	if info, err := VerifyBackup(path, nil); err != nil || info.Last != 6 {
		t.Errorf("%+v, %v", info, err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestABackupEndsWhenItsCallerSaysSo(t *testing.T) {
	d := stocked(t)
	use(d, func(v *query.Reader, db *bolt.State, inbox *wal.Log) {
		gone, stop := errors.New("the caller went away"), errors.New("the store stops")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gone)
		if r, err := Backup(ctx, v, db, inbox, io.Discard, nil, nil); !errors.Is(err, gone) || r != (BackupReport{}) {
			t.Errorf("cancelled: %v, %+v", err, r)
		}
		if _, err := Backup(t.Context(), v, db, inbox, io.Discard, nil, func() error { return stop }); !errors.Is(err, stop) {
			t.Errorf("halted: %v", err)
		}
		if _, err := Backup(t.Context(), v, db, inbox, writerFunc(func([]byte) (int, error) { return 0, syscall.EPIPE }), nil, nil); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("into a broken pipe: %v", err)
		}
	})
}

func TestABackupWithoutARecordIsRefused(t *testing.T) {
	d := stocked(t)
	must(t, os.Remove(wal.Path(d.Path, 1)))
	use(d, func(v *query.Reader, db *bolt.State, inbox *wal.Log) {
		_, err := Backup(t.Context(), v, db, inbox, io.Discard, nil, nil)
		if err == nil || !strings.Contains(err.Error(), "record 4 is missing in the inbox: `personasync db check`") {
			t.Errorf("%v", err)
		}
	})
}

type part struct {
	name string
	body []byte
}

// parts reads the entries of an archive.
func parts(t *testing.T, path string) (list []part) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return list
		}
		must(t, err)
		body, err := io.ReadAll(r)
		must(t, err)
		list = append(list, part{h.Name, body})
	}
}

// archive writes entries into a new file.
func archive(t *testing.T, list []part) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "b.tar")
	f, err := os.Create(path)
	must(t, err)
	w := tar.NewWriter(f)
	for _, p := range list {
		must(t, w.WriteHeader(&tar.Header{Name: p.name, Size: int64(len(p.body)), Mode: 0o600, Format: tar.FormatPAX}))
		_, err := w.Write(p.body)
		must(t, err)
	}
	must(t, errors.Join(w.Close(), f.Close()))
	return path
}

func TestAnArchiveThatIsNotTheOneWrittenIsRefused(t *testing.T) {
	path, _ := backUp(t, stocked(t))
	whole := parts(t, path)
	if len(whole) < 5 || whole[0].name != backupHead || whole[1].name != datadir.StateFile || whole[len(whole)-1].name != backupSums {
		t.Fatalf("%d parts", len(whole))
	}
	if info, err := VerifyBackup(archive(t, whole), nil); err != nil || info.Last != 6 {
		t.Fatalf("the same parts: %+v, %v", info, err)
	}
	flip := func(list []part, i, at int) []part {
		list[i].body = bytes.Clone(list[i].body)
		list[i].body[at] ^= 1
		return list
	}
	head := func(change func(i *BackupInfo)) func(list []part) []part {
		return func(list []part) []part {
			var i BackupInfo
			must(t, json.Unmarshal(list[0].body, &i))
			change(&i)
			list[0].body, _ = json.Marshal(i)
			return list
		}
	}
	for _, tc := range []struct {
		name, words string
		change      func(list []part) []part
	}{
		{"a bit of the state", "state.db differs from the bytes that were written: the disk or the transfer changed it", func(list []part) []part { return flip(list, 1, 5000) }},
		{"a bit of a record", "inbox/4 differs", func(list []part) []part { return flip(list, 2, len(list[2].body)-1) }},
		{"a length of a record", "cannot be read", func(list []part) []part { return flip(list, 2, 0) }},
		{"a description that is none", "its description cannot be read", func(list []part) []part { list[0].body = []byte("{"); return list }},
		{"a changed description", "personasync-backup differs", head(func(i *BackupInfo) { i.Users++ })},
		{"another position", "is not to be expected there", head(func(i *BackupInfo) { i.Applied++ })},
		{"records that are said to be in it", "up to record 7 are said to be in it", head(func(i *BackupInfo) { i.Last++ })},
		{"sums that are none", "its checksums cannot be read", func(list []part) []part { list[len(list)-1].body = []byte("{"); return list }},
		{"no sums", "it was cut off", func(list []part) []part { return list[:len(list)-1] }},
		{"no description", `entry 1 is "state.db"`, func(list []part) []part { return list[1:] }},
		{"no state", `entry 2 is "inbox/4"`, func(list []part) []part { return slices.Delete(list, 1, 2) }},
		{"no records", "are said to be in it", func(list []part) []part { return append(list[:2:2], list[len(list)-1]) }},
		{"records twice", "is not to be expected there", func(list []part) []part { return slices.Insert(list, 2, list[2]) }},
		{"a part of another", `"notes" is not to be expected there`, func(list []part) []part { return slices.Insert(list, 2, part{"notes", nil}) }},
		{"a part behind the sums", "something follows its end", func(list []part) []part { return append(list, part{"inbox/7", nil}) }},
		{"an empty file", "it was cut off", func(list []part) []part { return nil }},
	} {
		_, err := VerifyBackup(archive(t, tc.change(slices.Clone(whole))), nil)
		if !errors.Is(err, ErrNoBackup) || !strings.Contains(fmt.Sprint(err), tc.words) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	for _, change := range []func(i *BackupInfo){func(i *BackupInfo) { i.Format++ }, func(i *BackupInfo) { i.StoreFormat++ }} {
		_, err := VerifyBackup(archive(t, head(change)(slices.Clone(whole))), nil)
		if !errors.Is(err, wire.ErrNewer) || errors.Is(err, ErrNoBackup) || !strings.Contains(fmt.Sprint(err), "install the newer version") {
			t.Errorf("a newer format: %v", err)
		}
	}
}

func TestATruncatedArchiveIsRefusedAtEveryLength(t *testing.T) {
	path, _ := backUp(t, stocked(t))
	body, err := os.ReadFile(path)
	must(t, err)
	end := len(bytes.TrimRight(body, "\x00")) // behind it is the end that tar writes
	for n := 0; n < end; n += max(1, end/97) {
		cut := filepath.Join(t.TempDir(), "cut.tar")
		must(t, os.WriteFile(cut, body[:n], 0o600))
		if _, err := VerifyBackup(cut, nil); !errors.Is(err, ErrNoBackup) {
			t.Errorf("the first %d bytes of %d: %v", n, len(body), err)
		}
	}
	if _, err := VerifyBackup(filepath.Join(t.TempDir(), "missing"), nil); !errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrNoBackup) {
		t.Errorf("%v", err)
	}
}

func TestAReaderThatGivesUpEndsTheReading(t *testing.T) {
	path, _ := backUp(t, stocked(t))
	full := errors.New("the disk is full")
	for name, to := range map[string]BackupSink{
		"head":    {Head: func(BackupInfo) error { return full }},
		"state":   {State: func(io.Reader) error { return full }},
		"records": {Records: func(uint64, [][]byte) error { return full }},
	} {
		if _, err := ReadBackup(t.Context(), path, nil, to); !errors.Is(err, full) || errors.Is(err, ErrNoBackup) {
			t.Errorf("%s: %v", name, err)
		}
	}
	gone := errors.New("the caller went away")
	for cut, reads := 0, 1; cut < reads; cut++ { // before each read but the first
		ctx, cancel := context.WithCancelCause(t.Context())
		reads = 0
		_, err := ReadBackup(ctx, path, func(int64, int64) {
			if reads++; reads > cut {
				cancel(gone)
			}
		}, BackupSink{})
		cancel(nil)
		if errors.Is(err, ErrNoBackup) || err != nil && !errors.Is(err, gone) || err == nil && cut+1 < reads {
			t.Errorf("cancelled after read %d of %d: %v", cut+1, reads, err)
		}
		if cut == 0 && err == nil {
			t.Error("it read on")
		}
		if err != nil {
			reads = cut + 2
		}
	}
}

func TestABackupReplacesABackupAndNothingElse(t *testing.T) {
	d := stocked(t)
	path, _ := backUp(t, d)
	before, err := os.ReadFile(path)
	must(t, err)
	whole := func(w io.Writer) error { _, err := w.Write(before); return err }
	unasked := func(io.Writer) error { t.Error("it was begun"); return nil }
	thesis := filepath.Join(t.TempDir(), "thesis")
	must(t, os.WriteFile(thesis, []byte("a thesis"), 0o600))
	if err := CreateBackup(d.Path, thesis, unasked); err == nil || !strings.Contains(err.Error(), "exists and is not a backup: choose another name") {
		t.Errorf("%v", err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(pipe, 0o600))
	for _, p := range []string{pipe, t.TempDir()} {
		if err := CreateBackup(d.Path, p, unasked); !errors.Is(err, ErrNotAFile) {
			t.Errorf("%v", err)
		}
	}
	must(t, os.Mkdir(filepath.Join(d.Path, datadir.RestoreDir), 0o700))
	for _, name := range []string{datadir.StateFile, datadir.LockFile, "inbox-00000009.db", filepath.Join(datadir.RestoreDir, "b.tar")} {
		if err := CreateBackup(d.Path, filepath.Join(d.Path, name), unasked); err == nil || !strings.Contains(err.Error(), "choose another name") {
			t.Errorf("%s: %v", name, err)
		}
		if err := CreateBackup(t.TempDir(), filepath.Join(d.Path, name), unasked); err == nil || !strings.Contains(err.Error(), "choose another name") {
			t.Errorf("%s of another store: %v", name, err)
		}
	}
	broken := errors.New("the pipe broke")
	if err := CreateBackup(d.Path, path, func(w io.Writer) error { _, _ = w.Write([]byte("half")); return broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if err := CreateBackup(d.Path, path, func(io.Writer) error { return syscall.ENOSPC }); !errors.Is(err, domain.ErrFull) {
		t.Errorf("a full disk: %v", err)
	}
	// Somebody takes the name while the backup is written.
	taken := filepath.Join(t.TempDir(), "taken")
	if err := CreateBackup(d.Path, taken, func(w io.Writer) error { return errors.Join(whole(w), os.WriteFile(taken, []byte("a letter"), 0o600)) }); err == nil {
		t.Error("it took another file's place")
	}
	for p, want := range map[string]string{path: string(before), thesis: "a thesis", taken: "a letter"} {
		if got, err := os.ReadFile(p); err != nil || string(got) != want {
			t.Errorf("%s holds %d bytes, %v", p, len(got), err)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(p), ".*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	must(t, CreateBackup(d.Path, path, whole))
	if err := CreateBackup(d.Path, filepath.Join(t.TempDir(), "missing", "b.tar"), unasked); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestABackupSaysHowFarItIs, from nothing to all that it wrote.
func TestABackupSaysHowFarItIs(t *testing.T) {
	use(stocked(t), func(v *query.Reader, db *bolt.State, inbox *wal.Log) {
		var all [][2]int64
		r, err := Backup(t.Context(), v, db, inbox, io.Discard, func(done, total int64) { all = append(all, [2]int64{done, total}) }, nil)
		must(t, err)
		if first, last := all[0], all[len(all)-1]; len(all) < 4 || first[0] != 0 || first[1] < r.StateBytes || last != [2]int64{r.Bytes, r.Bytes} {
			t.Errorf("%v of a backup of %d bytes", all, r.Bytes)
		}
		for i, p := range all[1:] {
			if p[0] < all[i][0] || p[0] > p[1] {
				t.Errorf("%v after %v", p, all[i])
			}
		}
	})
}

// TestABackupThatCannotBeWrittenWholeSaysSo, wherever the disk is full.
func TestABackupThatCannotBeWrittenWholeSaysSo(t *testing.T) {
	use(stocked(t), func(v *query.Reader, db *bolt.State, inbox *wal.Log) {
		whole, err := Backup(t.Context(), v, db, inbox, io.Discard, nil, nil)
		must(t, err)
		for _, room := range []int64{0, 512, 1024, 2048, 4096, whole.StateBytes, whole.Bytes - 2048, whole.Bytes - 1025, whole.Bytes - 1} {
			left := room
			_, err := Backup(t.Context(), v, db, inbox, writerFunc(func(p []byte) (int, error) {
				if left -= int64(len(p)); left < 0 {
					return 0, syscall.ENOSPC
				}
				return len(p), nil
			}), nil, nil)
			if err == nil || !boltfile.IsFull(err) { // of the state bbolt keeps the words alone
				t.Errorf("with room for %d of %d bytes: %v", room, whole.Bytes, err)
			}
		}
	})
}

// TestADamagedStateIsNotBackedUpAsAWholeOne: the backup would say that nobody is in it.
func TestADamagedStateIsNotBackedUpAsAWholeOne(t *testing.T) {
	d := stocked(t)
	d.Open(false, func(db *bolt.State) error {
		return db.Update(func(tx engine.Tx) error { return tx.Bucket(state.BucketMeta).Put(state.MetaLedger, []byte("rubbish")) })
	})
	use(d, func(v *query.Reader, db *bolt.State, inbox *wal.Log) {
		if _, err := Backup(t.Context(), v, db, inbox, io.Discard, nil, nil); !errors.Is(err, wire.ErrDamaged) {
			t.Errorf("%v", err)
		}
	})
}
