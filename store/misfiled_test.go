package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"personasync/store/domain"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/query"
	"personasync/store/internal/record"
	"personasync/store/internal/repair"
	"personasync/store/internal/wal"
)

// copyInbox puts a copy of one file of the inbox beside it, under another number.
func copyInbox(t *testing.T, dir string, from, to uint64) {
	t.Helper()
	body, err := os.ReadFile(wal.Path(dir, from))
	must(t, errors.Join(err, os.WriteFile(wal.Path(dir, to), body, 0o600)))
}

// inboxNames are the files that a start takes for the inbox.
func inboxNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	paths, _, err := wal.Files(dir)
	must(t, err)
	for _, path := range paths {
		names = append(names, filepath.Base(path))
	}
	return names
}

// fourFiles is a stopped store with four files of its inbox, of which the last two have records that are not
// applied yet.
func fourFiles(t *testing.T) *bench {
	t.Helper()
	b := open(t, rules(domain.SendAttribute))
	for minute, user := range []string{"ann", "bob", "cid"} {
		if minute > 0 {
			must(t, b.inbox.RotateNow())
		}
		b.receive(event(user, "vip", true, minute))
	}
	epoch, next := b.inbox.Epoch(), b.records.Next()
	must(t, b.Store.Close())
	in, err := wal.Open(b.dir, wal.Config{Epoch: epoch, First: next, Records: record.InboxRecords})
	must(t, err)
	must(t, in.Append(t.Context(), record.AppendEvent(nil, event("dan", "vip", true, 9))))
	must(t, in.RotateNow())
	must(t, in.Append(t.Context(), record.AppendEvent(nil, event("eve", "vip", true, 9))))
	in.Close()
	return b
}

// TestACopyOfAnInboxFileIsNotTakenIntoTheChain: it was, and was written to from then on: the check called it
// damage for good, and who removed it later removed events with it. Under a lower number it hid the records
// behind it, which were never applied.
func TestACopyOfAnInboxFileIsNotTakenIntoTheChain(t *testing.T) {
	onFiles(t)
	all := []string{"inbox-00000001.db", "inbox-00000002.db", "inbox-00000003.db", "inbox-00000004.db"}
	empty := func(t *testing.T, dir string, number uint64) {
		must(t, boltfile.Create(wal.Path(dir, number), func(db *bbolt.DB) error {
			return boltfile.Init(db, epochOf(t, dir), wal.Buckets...)
		}))
	}
	for name, tc := range map[string]struct {
		put   func(t *testing.T, dir string)
		files []string
		kept  string
	}{
		"of the oldest, as the newest":  {func(t *testing.T, dir string) { copyInbox(t, dir, 1, 7) }, all, "inbox-00000007.db"},
		"of the one that is written to": {func(t *testing.T, dir string) { copyInbox(t, dir, 4, 5) }, all, "inbox-00000005.db"},
		"of each, some twice": {func(t *testing.T, dir string) {
			copyInbox(t, dir, 1, 5)
			copyInbox(t, dir, 4, 6)
			copyInbox(t, dir, 2, 9)
			copyInbox(t, dir, 1, 10)
		}, all, "inbox-00000010.db"},
		"of the newest, in place of the oldest": {func(t *testing.T, dir string) { copyInbox(t, dir, 4, 1) }, all[1:], all[0]},
		"by a link":                             {func(t *testing.T, dir string) { must(t, os.Symlink(wal.Path(dir, 2), wal.Path(dir, 6))) }, all, "inbox-00000006.db"},
		"by a second name of the same file":     {func(t *testing.T, dir string) { must(t, os.Link(wal.Path(dir, 4), wal.Path(dir, 6))) }, all, "inbox-00000006.db"},
		"by a link in its place": {func(t *testing.T, dir string) {
			must(t, errors.Join(os.Rename(wal.Path(dir, 4), wal.Path(dir, 6)), os.Symlink(wal.Path(dir, 6), wal.Path(dir, 4))))
		}, append(all[:3:3], "inbox-00000006.db"), "inbox-00000004.db"},
		"under the highest number there is":           {func(t *testing.T, dir string) { copyInbox(t, dir, 1, 1<<64-1) }, all, ""},
		"of an empty one":                             {func(t *testing.T, dir string) { empty(t, dir, 8) }, append(all[:4:4], "inbox-00000008.db"), ""},
		"of an empty one, under the highest of names": {func(t *testing.T, dir string) { empty(t, dir, 1<<64-1) }, all, ""},
	} {
		for _, ended := range []string{"stopped", "killed", "of another run of the machine"} {
			t.Run(name+", "+ended, func(t *testing.T) {
				b := fourFiles(t)
				tc.put(t, b.dir)
				if r, err := repair.Check(t.Context(), b.dir, nil); err != nil || r.OK() != (tc.kept == "") || !r.OnlyCopies() && tc.kept != all[0] {
					t.Errorf("before the start the check says %+v, %v", r, err)
				}
				if ended != "stopped" {
					endUncleanly(t, b.dir, ended == "killed")
				}
				b.Store = nil
				b.reopen(rules(domain.SendAttribute))
				must(t, b.Applied(t.Context()))
				b.wantMembers("vip", "ann", "bob", "cid", "dan", "eve")
				if got := inboxNames(t, b.dir); !slices.Equal(got, tc.files) {
					t.Errorf("the inbox is %q, want %q", got, tc.files)
				}
				if aside, _ := filepath.Glob(filepath.Join(b.dir, tc.kept+".copy-*")); tc.kept != "" && len(aside) != 1 {
					t.Errorf("%s is kept as %q", tc.kept, aside)
				}
				if list, err := b.Salvages(); err != nil || len(list) > 0 {
					t.Errorf("damage is spoken of: %+v, %v", list, err)
				}
				must(t, b.inbox.RotateNow())
				b.receive(event("fay", "vip", true, 10))
				must(t, b.Store.Close())
				if r, err := repair.Check(t.Context(), b.dir, nil); err != nil || !r.OK() {
					t.Errorf("check: %+v, %v", r, err)
				}
				b.Store = nil
				b.reopen(rules(domain.SendAttribute))
				b.wantMembers("vip", "ann", "bob", "cid", "dan", "eve", "fay")
				b.balance()
			})
		}
	}
}

// endUncleanly has the folder look as if its agent had been killed, or its machine had gone down.
func endUncleanly(t *testing.T, dir string, killed bool) {
	t.Helper()
	w, err := datadir.OpenShutdownMarker(dir)
	must(t, err)
	if !killed {
		w.Boot = "another"
	}
	must(t, errors.Join(w.Begin(false), w.Opened(), w.Close()))
}

// TestACopyThatAnOlderVersionWroteToIsTakenApart: its first records are those of another file, and the last are
// nowhere else.
func TestACopyThatAnOlderVersionWroteToIsTakenApart(t *testing.T) {
	onFiles(t)
	for name, from := range map[string]uint64{"a copy of the oldest": 1, "a copy of the newest": 4} {
		t.Run(name, func(t *testing.T) {
			b := fourFiles(t)
			epoch := epochOf(t, b.dir)
			copyInbox(t, b.dir, from, 7)
			in, err := wal.Open(b.dir, wal.Config{Epoch: epoch, First: 0, Records: record.InboxRecords}) // as it was done
			must(t, err)
			must(t, in.Append(t.Context(), record.AppendEvent(nil, event("fay", "vip", true, 10))))
			in.Close()
			b.Store = nil
			b.reopen(rules(domain.SendAttribute))
			must(t, b.Applied(t.Context()))
			b.wantMembers("vip", "ann", "bob", "cid", "dan", "eve", "fay")
			b.receive(event("gil", "vip", true, 11))
			must(t, b.Store.Close())
			if r, err := repair.Check(t.Context(), b.dir, nil); err != nil || !r.OK() {
				t.Errorf("check: %+v, %v", r, err)
			}
			b.Store = nil
			b.reopen(rules(domain.SendAttribute))
			b.wantMembers("vip", "ann", "bob", "cid", "dan", "eve", "fay", "gil")
			b.balance()
		})
	}
}

// TestAnInboxFileOfElsewhereIsRefusedOrSetAside: what to do about it is said, with the names.
func TestAnInboxFileOfElsewhereIsRefusedOrSetAside(t *testing.T) {
	onFiles(t)
	elsewhere := fourFiles(t)
	for name, tc := range map[string]struct {
		put     func(t *testing.T, dir string)
		refused []string // what it says; nil: it starts
	}{
		"of another store": {func(t *testing.T, dir string) {
			body, err := os.ReadFile(wal.Path(elsewhere.dir, 1))
			must(t, errors.Join(err, os.WriteFile(wal.Path(dir, 4), body, 0o600)))
		}, []string{"inbox-00000004.db is of another store", "move the one that was put here out of"}},
		"a state of another store": {func(t *testing.T, dir string) {
			body, err := os.ReadFile(filepath.Join(elsewhere.dir, datadir.StateFile))
			must(t, errors.Join(err, os.WriteFile(filepath.Join(dir, datadir.StateFile), body, 0o600)))
		}, []string{"inbox-00000001.db is of another store than state.db", "personasync db restore FILE"}},
		"another program's": {func(t *testing.T, dir string) {
			db, err := boltfile.Open(wal.Path(dir, 4), 0, false)
			must(t, err)
			must(t, errors.Join(boltfile.Init(db, 1), db.Close()))
			db, err = boltfile.Open(wal.Path(dir, 5), 0, false)
			must(t, errors.Join(err, db.Close()))
		}, []string{"inbox-0000000", "move it out of"}},
		"two that changed their names": {func(t *testing.T, dir string) {
			must(t, errors.Join(os.Rename(wal.Path(dir, 2), wal.Path(dir, 9)), os.Rename(wal.Path(dir, 3), wal.Path(dir, 2)),
				os.Rename(wal.Path(dir, 9), wal.Path(dir, 3)), os.Remove(filepath.Join(dir, datadir.StateFile))))
			from := filepath.Join(dir, "first")
			body, err := os.ReadFile(from)
			must(t, errors.Join(err, os.WriteFile(filepath.Join(dir, datadir.StateFile), body, 0o600)))
		}, []string{"in inbox-00000003.db come before those of inbox-00000002.db", "Move the one"}},
		"one of before that is applied": {func(t *testing.T, dir string) {
			must(t, os.Rename(wal.Path(dir, 1), wal.Path(dir, 4)))
		}, nil},
	} {
		for _, ended := range []string{"stopped", "of another run of the machine"} {
			t.Run(name+", "+ended, func(t *testing.T) {
				b := open(t, rules(domain.SendAttribute))
				must(t, b.Store.Close())
				body, err := os.ReadFile(filepath.Join(b.dir, datadir.StateFile))
				must(t, errors.Join(err, os.WriteFile(filepath.Join(b.dir, "first"), body, 0o600)))
				b.Store = nil
				b.reopen(rules(domain.SendAttribute))
				for i, user := range []string{"ann", "bob", "cid"} {
					b.receive(event(user, "vip", true, i))
					must(t, b.inbox.RotateNow())
				}
				must(t, b.Store.Close())
				tc.put(t, b.dir)
				before := inboxNames(t, b.dir)
				if ended != "stopped" {
					endUncleanly(t, b.dir, false)
				}
				s, err := Open(b.dir, Options{Log: query.Discard})
				if s != nil {
					b.Store = s
				}
				if tc.refused == nil {
					must(t, err)
					b.wantMembers("vip", "ann", "bob", "cid")
					return
				}
				if !errors.Is(err, datadir.ErrForeign) || !strings.Contains(err.Error(), b.dir) {
					t.Fatalf("the start said %v", err)
				}
				for _, want := range tc.refused {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("it does not say %q: %v", want, err)
					}
				}
				if after := inboxNames(t, b.dir); !slices.Equal(before, after) {
					t.Errorf("it left %q, there were %q", after, before)
				}
			})
		}
	}
}

// TestATornCopyOfAnInboxFileRefusesNoStart: one that cp made while the agent wrote has heads that lead nowhere.
func TestATornCopyOfAnInboxFileRefusesNoStart(t *testing.T) {
	onFiles(t)
	b := fourFiles(t)
	body, err := os.ReadFile(wal.Path(b.dir, 4))
	must(t, err)
	page := os.Getpagesize()
	clear(body[:2*page])
	must(t, os.WriteFile(wal.Path(b.dir, 9), body, 0o600))
	b.Store = nil
	b.reopen(rules(domain.SendAttribute))
	must(t, b.Applied(t.Context()))
	b.wantMembers("vip", "ann", "bob", "cid", "dan", "eve")
}

// TestRecordsOfAnInboxFileThatWasRemovedAreCountedAsLost: they were passed over, and nothing said so.
func TestRecordsOfAnInboxFileThatWasRemovedAreCountedAsLost(t *testing.T) {
	onFiles(t)
	b := fourFiles(t)
	must(t, os.Remove(wal.Path(b.dir, 3)))
	b.Store = nil
	b.reopen(rules(domain.SendAttribute))
	must(t, b.Applied(t.Context()))
	b.wantMembers("vip", "ann", "bob", "cid", "eve")
	if c := b.balance(); c.Events.Lost != 1 || c.Events.Accepted != 5 {
		t.Errorf("the ledger says %+v", c.Events)
	}
}

// TestADamagedCopyOfAnInboxFileRefusesNoStart: where a page between the first and the last was damaged, of the copy
// or of the file that it was made of, no start could compare the two, and none salvaged either.
func TestADamagedCopyOfAnInboxFileRefusesNoStart(t *testing.T) {
	onFiles(t)
	for name, hit := range map[string]uint64{"the copy": 3, "the file that it was made of": 1} {
		for _, ended := range []string{"stopped", "of another run of the machine"} {
			t.Run(name+", "+ended, func(t *testing.T) {
				b := open(t, rules(domain.SendAttribute))
				for i := range 100 { // more than one page of records
					b.receive(event(fmt.Sprintf("user%02d", i), "vip", true, i))
				}
				must(t, b.inbox.RotateNow())
				b.receive(event("last", "vip", true, 200))
				must(t, b.Store.Close())
				copyInbox(t, b.dir, 1, 3)
				damageBetween(t, wal.Path(b.dir, hit))
				if ended != "stopped" {
					endUncleanly(t, b.dir, false)
				}
				b.Store = nil
				b.reopen(rules(domain.SendAttribute))
				b.receive(event("new", "vip", true, 201))
				list, err := b.Salvages()
				must(t, err)
				if !slices.ContainsFunc(list, func(s repair.Salvage) bool { return s.File == filepath.Base(wal.Path("", hit)) }) {
					t.Errorf("the damaged file is not among those salvaged: %+v", list)
				}
				must(t, b.Store.Close())
				if r, err := repair.Check(t.Context(), b.dir, nil); err != nil || !r.OK() {
					t.Errorf("check: %+v, %v", r, err)
				}
				b.Store = nil
				b.reopen(rules(domain.SendAttribute))
				if c := b.balance(); c.Events.Accepted != 102 || c.Events.Lost != 0 {
					t.Errorf("the ledger says %+v", c.Events)
				}
			})
		}
	}
}

// damageBetween spoils a page of records in the middle of a file of the inbox.
func damageBetween(t *testing.T, path string) {
	t.Helper()
	file, err := boltpage.Open(path)
	must(t, err)
	m, _ := file.Newest()
	var leaves []uint64
	w := boltpage.Walk{
		File: file, Meta: m, Fault: func(err error) { t.Fatal(err) }, Bucket: func([]string, uint64) {},
		Leaf: func(page uint64, path []string, _ []boltpage.Element) {
			if len(path) > 0 && path[0] != string(boltfile.BucketMeta) {
				leaves = append(leaves, page)
			}
		},
	}
	w.Run()
	file.Close()
	if len(leaves) < 3 {
		t.Fatalf("the records are on the pages %v", leaves)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(make([]byte, os.Getpagesize()), int64(leaves[len(leaves)/2])*int64(os.Getpagesize()))
	must(t, errors.Join(err, f.Close()))
}
