package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"personasync/store/crashpoint"
	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/datadir"
	"personasync/store/internal/snapshot"
	"personasync/store/internal/state"
	"personasync/store/internal/wire"
)

// backUp writes a backup of b and returns its path.
func backUp(t testing.TB, b *bench) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup.tar")
	must(t, snapshot.CreateBackup(b.dir, path, func(w io.Writer) error {
		_, err := b.Backup(context.Background(), w, nil)
		return err
	}))
	return path
}

// adopt opens the store that was restored to dir.
func adopt(t testing.TB, dir string) *bench {
	t.Helper()
	b := &bench{TB: t, dir: dir}
	b.reopen(rules(domain.SendBoth))
	t.Cleanup(func() { b.Store.Close() })
	return b
}

// stateOf is a dump without the position, which a restore moves on.
func stateOf(t *testing.T, b *bench) string {
	var kept []string
	for line := range strings.SplitSeq(dump(t, b), "\n") {
		if !strings.HasPrefix(line, fmt.Sprintf("meta %x ", state.MetaApplied)) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// TestABackupOfARunningStoreIsOneMoment backs up while events come in, and compares what is restored
// with a store that received just the events the backup says it holds.
func TestABackupOfARunningStoreIsOneMoment(t *testing.T) {
	onFiles(t)
	t.Parallel()
	b := open(t, rules(domain.SendBoth))
	events := mixedEvents(7, 2000)
	b.receive(events[:1000]...)
	var load sync.WaitGroup
	load.Go(func() {
		for _, e := range events[1000:] {
			must(t, b.Append(context.Background(), e))
		}
	})
	time.Sleep(20 * time.Millisecond)
	path := backUp(t, b)
	load.Wait()
	info, err := snapshot.VerifyBackup(path, nil)
	must(t, err)
	if info.Received < 1000 || info.Received >= 2000 {
		t.Fatalf("the backup holds %d events: it was not made in the middle", info.Received)
	}
	dir := filepath.Join(t.TempDir(), "made by the restore")
	r, err := Restore(context.Background(), path, dir, nil)
	must(t, err)
	if r.Replayed != info.Last-info.Applied || r.Faults != 0 {
		t.Errorf("replayed %d of %d, faults %v", r.Replayed, info.Last-info.Applied, r.Findings)
	}
	restored, plain := adopt(t, dir), open(t, rules(domain.SendBoth))
	plain.receive(events[:info.Received]...)
	if x, y := stateOf(t, plain), stateOf(t, restored); x != y {
		t.Errorf("restored is another state: %s", firstDifference(x, y))
	}
	restored.balance()
	soundness(t, restored)
}

// ids lists every change there is or was.
func ids(t testing.TB, b *bench) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, s := range []domain.State{domain.StatePending, domain.StateParked, domain.StateHeld, domain.StateDelivered, domain.StateSuperseded, domain.StateCancelled} {
		page, _, err := b.Changes(domain.OutboxFilter{State: s, Limit: 10000})
		must(t, err)
		for _, c := range page {
			all[c.ID] = true
		}
	}
	return all
}

// TestARestoreNeverReusesAChangeID restores one backup twice. What was told to MoEngage in between,
// and is lost here, must not come again under the same ids as something else.
func TestARestoreNeverReusesAChangeID(t *testing.T) {
	onFiles(t)
	t.Parallel()
	b := open(t, rules(domain.SendEvent))
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 2))
	path := backUp(t, b)
	known := ids(t, b)
	used := map[string]string{}
	for id := range known {
		used[id] = "before the backup"
	}
	live := func(b *bench, life string) {
		for i := range 20 {
			b.receive(event(fmt.Sprint(life, i), "vip", true, 3))
		}
		for id := range ids(t, b) {
			if was := used[id]; was != "" && !known[id] {
				t.Errorf("%s was used %s, and again in %s", id, was, life)
			}
			used[id] = life
		}
		for id := range known { // as in an operator's notes, or in MoEngage's events
			parsed, err := domain.ParseID(id)
			must(t, err)
			if _, _, err := b.Change(parsed); err != nil {
				t.Errorf("%s does not know change %s any more: %v", life, id, err)
			}
		}
		c := b.balance()
		if c.Received != 22 || c.Unapplied != 0 {
			t.Errorf("%s: received %d, unapplied %d", life, c.Received, c.Unapplied)
		}
		must(t, b.Store.Close())
	}
	live(b, "first")
	for _, life := range []string{"second", "third"} {
		_, err := Restore(context.Background(), path, b.dir, nil)
		must(t, err)
		live(adopt(t, b.dir), life)
	}
}

func TestABackupThatDoesNotHoldIsRefusedAndChangesNothing(t *testing.T) {
	onFiles(t)
	t.Parallel()
	source := open(t, rules(domain.SendBoth))
	source.receive(mixedEvents(3, 300)...)
	whole, err := os.ReadFile(backUp(t, source))
	must(t, err)
	target := open(t, rules(domain.SendBoth))
	target.receive(event("zoe", "vip", true, 1))
	want := dump(t, target)
	must(t, target.Store.Close())

	flip := func(at int) []byte {
		b := bytes.Clone(whole)
		b[at] ^= 1
		return b
	}
	state := bytes.Index(whole, []byte("state.db"))
	sums := bytes.LastIndex(whole, []byte("checksums"))
	for name, content := range map[string][]byte{
		"empty":                     {},
		"not a backup":              []byte(strings.Repeat("no tar at all ", 100)),
		"cut in the description":    whole[:600],
		"cut in the state":          whole[:state+50_000],
		"cut before the checksums":  whole[:sums],
		"cut in the checksums":      whole[:sums+700],
		"a byte of the state":       flip(state + 20_000),
		"a byte of the description": flip(bytes.Index(whole, []byte(`"users"`)) + 10),
		"a byte of the checksums":   flip(bytes.Index(whole[sums:], []byte(`"sha256": "`)) + sums + 14),
		"a newer version":           bytes.Replace(whole, []byte(`"format": 1`), []byte(`"format": 9`), 1),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.tar")
			must(t, os.WriteFile(path, content, 0o600))
			_, err := snapshot.VerifyBackup(path, nil)
			if !errors.Is(err, snapshot.ErrNoBackup) && !errors.Is(err, wire.ErrNewer) {
				t.Errorf("verify: %v", err)
			}
			_, err = Restore(context.Background(), path, target.dir, nil)
			if !errors.Is(err, snapshot.ErrNoBackup) && !errors.Is(err, wire.ErrNewer) {
				t.Errorf("restore: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(target.dir, "re*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	s, err := Open(target.dir, *target.upkeep.retention.Load())
	must(t, err)
	target.Store = s
	if got := dump(t, target); got != want {
		t.Errorf("a refused restore changed the store: %s", firstDifference(want, got))
	}
	if _, err := Restore(context.Background(), backUp(t, target), target.dir, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("restore into a running store: %v", err)
	}
}

func TestABackupReplacesOnlyABackup(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendNone))
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, []byte("somebody's thesis"), 0o600))
	fill := func(w io.Writer) error { _, err := b.Backup(context.Background(), w, nil); return err }
	if err := snapshot.CreateBackup(b.dir, path, fill); err == nil {
		t.Error("overwrote what is no backup")
	}
	must(t, os.Remove(path))
	must(t, snapshot.CreateBackup(b.dir, path, fill))
	must(t, snapshot.CreateBackup(b.dir, path, fill))
	cut := errors.New("the pipe broke")
	if err := snapshot.CreateBackup(b.dir, path, func(w io.Writer) error { _, _ = w.Write([]byte("half")); return cut }); !errors.Is(err, cut) {
		t.Error(err)
	}
	if _, err := snapshot.VerifyBackup(path, nil); err != nil {
		t.Errorf("a failed backup spoiled the one before: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestTheInboxStaysWhileItIsBackedUp has records applied and their files past retention during a
// backup that found them unapplied.
func TestTheInboxStaysWhileItIsBackedUp(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendNone))
	b.upkeep.pinned.Store(true)
	b.SetRetention(Options{ReceivedBytes: 1})
	b.receive(event("ann", "vip", true, 1))
	must(t, b.inbox.RotateNow())
	_, err := b.Prune(context.Background(), noon)
	must(t, err)
	if n := b.inbox.Oldest(); n != 1 {
		t.Errorf("file 1 went away, the first is %d", n)
	}
	b.upkeep.pinned.Store(false)
	_, err = b.Prune(context.Background(), noon)
	must(t, err)
	if n := b.inbox.Oldest(); n != 2 {
		t.Errorf("file 1 stays for ever")
	}
}

// TestABackupsProgressEndsWithAllAndARestoreSalvagesNothing: the bar is full at the end, and the report of a
// restore lists what was salvaged, even when that is none.
func TestABackupsProgressEndsWithAllAndARestoreSalvagesNothing(t *testing.T) {
	onFiles(t)
	t.Parallel()
	b := open(t, rules(domain.SendNone))
	b.receive(event("ann", "vip", true, 1))
	var done, total int64
	path := filepath.Join(t.TempDir(), "backup.tar")
	must(t, snapshot.CreateBackup(b.dir, path, func(w io.Writer) error {
		r, err := b.Backup(t.Context(), w, func(d, t int64) { done, total = d, t })
		if done != r.Bytes || total != r.Bytes {
			t.Errorf("the progress ends at %d of %d, and %d bytes were written", done, total, r.Bytes)
		}
		return err
	}))
	r, err := Restore(t.Context(), path, filepath.Join(t.TempDir(), "data"), nil)
	must(t, err)
	text, err := json.Marshal(r)
	must(t, err)
	if !strings.Contains(string(text), `"salvages":[]`) {
		t.Errorf("the report is %s", text)
	}
}

// TestARestoreSaysWhatADamagedBackupHadLost: what the disk had spoiled when the backup was made is salvaged on
// the way, and the report was silent about what that could not save.
func TestARestoreSaysWhatADamagedBackupHadLost(t *testing.T) {
	onFiles(t)
	t.Parallel()
	b := open(t, rules(domain.SendNone))
	b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 1))
	key := state.RowKey(state.UserKey("ann"), 0)
	must(t, b.db.Update(func(tx engine.Tx) error {
		row := bytes.Clone(tx.Bucket(state.BucketRows).Get(key))
		row[3] ^= 0xFF
		return tx.Bucket(state.BucketRows).Put(key, row)
	}))
	dir := filepath.Join(t.TempDir(), "data")
	r, err := Restore(context.Background(), backUp(t, b), dir, nil)
	must(t, err)
	if r.Faults == 0 || len(r.Salvages) != 1 || r.Salvages[0].Lost.Users != 1 || r.Salvages[0].Lost.Members != 1 {
		t.Errorf("%d faults, salvaged %+v", r.Faults, r.Salvages)
	}
	restored := adopt(t, dir)
	if _, err := restored.User("bob"); err != nil {
		t.Error(err)
	}
	soundness(t, restored)
}

// TestKilledDuringARestore kills a process at every step of putting a restored store in place: there
// is a whole store after each, the old one or the new one.
//
// The backup may be another store's, as on a machine where the agent was started before the restore.
func TestKilledDuringARestore(t *testing.T) {
	onFiles(t)
	for step, restored := range map[crashpoint.Point]bool{crashpoint.RestoreAside: false, crashpoint.RestorePlaced: true, crashpoint.RestoreMoved: true} {
		t.Run(string(step), func(t *testing.T) { killRestore(t, step, restored, false) })
		t.Run(string(step)+", of another store", func(t *testing.T) { killRestore(t, step, restored, true) })
	}
}

func killRestore(t *testing.T, step crashpoint.Point, restored, another bool) {
	t.Parallel()
	b := open(t, rules(domain.SendBoth))
	b.receive(event("ann", "vip", true, 1))
	path := backUp(t, b)
	if another {
		b = open(t, rules(domain.SendBoth))
	}
	b.receive(event("bob", "vip", true, 1))
	must(t, b.Store.Close())
	child := exec.Command(os.Args[0], "-test.run=^TestRestoreChild$")
	child.Env = append(os.Environ(), "STORE_DIR="+b.dir, "STORE_STEP="+string(step), "STORE_BACKUP="+path)
	out, err := child.CombinedOutput()
	var died *exec.ExitError
	if !errors.As(err, &died) || died.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was to be killed: %v\n%s", err, out)
	}
	b = adopt(t, b.dir)
	soundness(t, b) // a check called the jump in the numbers damage, until an event came
	_, err = b.User("bob")
	if restored != errors.Is(err, domain.ErrNotFound) {
		t.Errorf("after %s: bob: %v", step, err)
	}
	b.receive(event("cid", "vip", true, 1))
	b.balance()
	if _, err := os.Stat(filepath.Join(b.dir, datadir.RestoreDir)); err == nil {
		t.Error("the half-made store is still there")
	}
}

// TestRestoreChild is the process that TestKilledDuringARestore kills.
func TestRestoreChild(t *testing.T) {
	onFiles(t)
	path, step := os.Getenv("STORE_BACKUP"), os.Getenv("STORE_STEP")
	if path == "" {
		return
	}
	crashpoint.OnPoint(func(at crashpoint.Point) {
		if at == crashpoint.Point(step) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	_, err := Restore(context.Background(), path, os.Getenv("STORE_DIR"), nil)
	t.Fatalf("step %q never came: %v", step, err)
}
