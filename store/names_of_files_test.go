package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/internal/datadir"
	"personasync/store/internal/record"
	"personasync/store/internal/repair"
	"personasync/store/internal/snapshot"
	"personasync/store/internal/wal"
)

// TestACopyBesideAnInboxFileIsNoneOfThem: a name that only looks like one was read as a second file of that
// number, or ended the start.
func TestACopyBesideAnInboxFileIsNoneOfThem(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	must(t, b.Store.Close())
	body, err := os.ReadFile(wal.Path(b.dir, 1))
	must(t, err)
	strays := []string{"inbox-1.db", "inbox-0000001 (copy).db", "inbox-00000001 (copy).db", "inbox-000000001.db", "inbox-+0000002.db", "inbox-00000000.db", "inbox-.db"}
	for _, name := range append(strays, "inbox-00000001.db.bak", "inbox-00000001.db~") {
		must(t, os.WriteFile(filepath.Join(b.dir, name), body, 0o600))
	}
	must(t, os.WriteFile(filepath.Join(b.dir, "inbox-old.db"), []byte("notes"), 0o600))
	for _, name := range []string{"inbox-00000002.db", "inbox-x.db"} {
		must(t, os.MkdirAll(filepath.Join(b.dir, name, "inside"), 0o700))
	}
	var logged bytes.Buffer
	b.Store, err = Open(b.dir, Options{Log: slog.New(slog.NewTextHandler(&logged, nil))})
	must(t, err)
	if n := len(b.inbox.Segments()); n != 1 {
		t.Errorf("%d files are taken for the inbox", n)
	}
	for _, name := range append(strays, "inbox-old.db", "inbox-00000002.db", "inbox-x.db") {
		if !strings.Contains(logged.String(), name) {
			t.Errorf("nothing is said of %s", name)
		}
	}
	must(t, b.inbox.RotateNow()) // over the folder that has the name of the next
	b.receive(event("bob", "vip", true, 2))
	must(t, b.Store.Close())
	if r, err := repair.Check(t.Context(), b.dir, nil); err != nil || !r.OK() {
		t.Errorf("check: %+v, %v", r, err)
	}
	b.Store = nil
	b.reopen(rules(domain.SendAttribute))
	b.wantMembers("vip", "ann", "bob")
	b.balance()
	for _, name := range strays {
		if _, err := os.Stat(filepath.Join(b.dir, name)); err != nil {
			t.Errorf("%s was not left alone: %v", name, err)
		}
	}
}

// TestTheNextInboxFileIsPutOverNoOther: one that was copied into the folder meanwhile was destroyed.
func TestTheNextInboxFileIsPutOverNoOther(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	copied := wal.Path(b.dir, 2)
	must(t, os.WriteFile(copied, []byte("somebody's"), 0o600))
	must(t, b.inbox.RotateNow())
	if got, err := os.ReadFile(copied); string(got) != "somebody's" {
		t.Errorf("it holds %q: %v", datadir.FirstBytes(string(got), 20), err)
	}
}

// TestAFolderWhoseNameLooksLikeAPatternKeepsItsInbox: [1] was read as a pattern, so that a start found no
// inbox, and began a new one over the acknowledged events.
func TestAFolderWhoseNameLooksLikeAPatternKeepsItsInbox(t *testing.T) {
	onFiles(t)
	b := &bench{TB: t, dir: filepath.Join(t.TempDir(), "data[1]*?")}
	b.reopen(rules(domain.SendAttribute))
	t.Cleanup(func() { b.Store.Close() })
	must(t, b.Applied(t.Context()))
	epoch, next := b.inbox.Epoch(), b.records.Next()
	must(t, b.Store.Close())
	in, err := wal.Open(b.dir, wal.Config{Epoch: epoch, First: next, Records: record.InboxRecords})
	must(t, err)
	must(t, in.Append(t.Context(), record.AppendEvent(nil, event("ann", "vip", true, 1))))
	in.Close()
	b.Store = nil
	b.reopen(rules(domain.SendAttribute))
	must(t, b.Applied(t.Context()))
	b.wantMembers("vip", "ann")
}

// TestABackupTakesNoNameOfTheStoresOwn: the next start took it for a file of the inbox, or removed it.
func TestABackupTakesNoNameOfTheStoresOwn(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	must(t, b.Applied(t.Context()))
	fill := func(w io.Writer) error { _, err := b.Backup(context.Background(), w, nil); return err }
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(b.dir, link))
	must(t, os.Mkdir(filepath.Join(b.dir, datadir.RestoreDir), 0o700))
	must(t, os.Link(filepath.Join(b.dir, datadir.StateFile), filepath.Join(t.TempDir(), "hard")))
	t.Chdir(b.dir)
	for _, path := range []string{
		filepath.Join(b.dir, "inbox-00000009.db"), filepath.Join(b.dir, datadir.StateFile), filepath.Join(b.dir, "state.db.new"), filepath.Join(b.dir, "lock"),
		filepath.Join(link, "inbox-00000002.db"), "inbox-00000002.db", "./../" + filepath.Base(b.dir) + "/state.db.compact",
		filepath.Join(datadir.RestoreDir, "backup.tar"), "admin.sock", "running",
	} {
		before, _ := os.ReadFile(path)
		if err := snapshot.CreateBackup(b.dir, path, fill); err == nil {
			t.Errorf("it was written to %s", path)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("%s changed", path)
		}
	}
	other := open(t, rules(domain.SendNone))
	if err := snapshot.CreateBackup(b.dir, filepath.Join(other.dir, "inbox-00000009.db"), fill); err == nil {
		t.Error("it was written among the files of another agent")
	}
	must(t, snapshot.CreateBackup(b.dir, filepath.Join(b.dir, "monday.tar"), fill))
	inside := filepath.Join(b.dir, datadir.RestoreDir, "kept.tar")
	must(t, os.Rename("monday.tar", inside))
	must(t, b.Store.Close())
	if _, err := Restore(t.Context(), inside, b.dir, nil); err == nil || !strings.Contains(err.Error(), "move it out") {
		t.Errorf("a restore of what it removes first: %v", err)
	}
	if _, err := os.Stat(inside); err != nil {
		t.Errorf("the backup is gone: %v", err)
	}
}

// holdCommits appends an event of the user "held" and keeps its commit from ending until release is called.
// Whatever is appended meanwhile is queued behind it.
func (b *bench) holdCommits() (release func()) {
	b.Helper()
	var once sync.Once
	begun, end, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	crashpoint.OnPoint(func(p crashpoint.Point) {
		if p == crashpoint.InboxCommitted {
			once.Do(func() { close(begun); <-end })
		}
	})
	go func() { done <- b.Append(context.Background(), event("held", "vip", true, 1)) }()
	<-begun
	return func() {
		crashpoint.OnPoint(nil)
		close(end)
		must(b, <-done)
	}
}

// TestAFullOrClosedInboxRefuses: an event that found no place in the queue must not be answered with success.
func TestAFullOrClosedInboxRefuses(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	release := b.holdCommits()
	err := error(context.Canceled)
	for n := 0; n < 10_000 && errors.Is(err, context.Canceled); n++ { // a caller that has gone leaves its event in the queue
		err = b.Append(gone, event("bob", "vip", true, 1))
	}
	if !errors.Is(err, ErrBusy) {
		t.Errorf("with a full queue it answers %v", err)
	}
	if err := b.Append(t.Context(), event("cid", "vip", true, 1)); !errors.Is(err, ErrBusy) {
		t.Errorf("with a full queue it answers %v", err)
	}
	release()
	for err = ErrBusy; errors.Is(err, ErrBusy); time.Sleep(time.Millisecond) { // until the queue is committed
		err = b.Append(t.Context(), event("dan", "vip", true, 1))
	}
	must(t, err)
	must(t, b.Applied(t.Context()))
	b.wantMembers("vip", "ann", "bob", "dan", "held")
	must(t, b.Store.Close())
	if err := b.Append(t.Context(), event("eve", "vip", true, 1)); !errors.Is(err, domain.ErrClosed) {
		t.Errorf("a closed inbox answers %v", err)
	}
}

// TestAnAppliedInboxFileStaysForItsRetention: it is the safety net of state.db.
func TestAnAppliedInboxFileStaysForItsRetention(t *testing.T) {
	onFiles(t)
	for _, tc := range []struct {
		age   time.Duration
		bytes int64
		want  int
	}{{time.Hour, 0, 2}, {24 * time.Hour, 0, 2}, {25 * time.Hour, 0, 1}, {time.Hour, 1 << 30, 2}, {time.Hour, 1, 1}} {
		b := open(t, rules(domain.SendAttribute))
		b.receive(event("ann", "vip", true, 1))
		must(t, b.inbox.RotateNow())
		b.SetRetention(Options{ReceivedFor: 24 * time.Hour, ReceivedBytes: tc.bytes})
		_, err := b.Prune(t.Context(), noon.Add(tc.age))
		must(t, err)
		if n := len(b.inbox.Segments()); n != tc.want {
			t.Errorf("%s after its receipt, %d bytes to keep: %d files, want %d", tc.age, tc.bytes, n, tc.want)
		}
		if _, err := os.Stat(wal.Path(b.dir, 1)); (err == nil) != (tc.want == 2) {
			t.Errorf("%s after its receipt: %v", tc.age, err)
		}
	}
}

// TestMessageIdsStayForTheirTime: forgotten early, an event that passes through undiffed leaves twice.
func TestMessageIdsStayForTheirTime(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAsReceived))
	through := event("ann", "vip", true, 1, func(e *domain.Event) { e.Call, e.PassThrough, e.Name = domain.CallTrack, true, "Journey" })
	b.receive(through)
	b.drain()
	for _, age := range []time.Duration{time.Hour, 47 * time.Hour} {
		for more := true; more; {
			var err error
			more, err = b.Prune(t.Context(), noon.Add(age))
			must(t, err)
		}
		b.receive(through)
		b.drain()
	}
	b.wantSaid("ann!Journey")
}

// TestALinkThatLeadsNowhereIsNoNewStore: state.db, or a file of the inbox, on a disk that is not mounted yet was
// taken for missing.
func TestALinkThatLeadsNowhereIsNoNewStore(t *testing.T) {
	onFiles(t)
	for _, name := range []string{datadir.StateFile, "inbox-00000001.db"} {
		dir := t.TempDir()
		must(t, os.Symlink(filepath.Join(dir, "disk", name), filepath.Join(dir, name)))
		s, err := Open(dir, Options{Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			must(t, s.Close())
			t.Errorf("a new store began over the link %s", name)
		}
	}
}
