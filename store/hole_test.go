package store

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/record"
	"personasync/store/internal/repair"
	"personasync/store/internal/wal"
)

// behindHole is a stopped store without the files between the oldest and the newest of its inbox, which held more
// records than the newest could. cid's record in the newest is not applied yet.
func behindHole(t *testing.T) *bench {
	t.Helper()
	const hole = 100_000_000
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1))
	must(t, b.inbox.RotateNow())
	epoch := b.inbox.Epoch()
	must(t, b.Store.Close())
	appendFrom(t, b.dir, epoch, hole, event("bob", "vip", true, 2)) // the state counts what it misses, and goes on
	b.Store = nil
	b.reopen(rules(domain.SendAttribute))
	must(t, b.Applied(t.Context()))
	b.wantMembers("vip", "ann", "bob")
	must(t, b.Store.Close())
	appendFrom(t, b.dir, epoch, 0, event("cid", "vip", true, 3), event("ann", "vip", false, 4))
	b.Store = nil
	return b
}

func appendFrom(t *testing.T, dir string, epoch uint32, first uint64, events ...*domain.Event) {
	t.Helper()
	in, err := wal.Open(dir, wal.Config{Epoch: epoch, First: first, Records: record.InboxRecords})
	must(t, err)
	defer in.Close()
	for _, e := range events {
		must(t, in.Append(t.Context(), record.AppendEvent(nil, e)))
	}
}

// TestAHoleOfAppliedInboxFilesIsNoDamage: applied files were removed by hand, or a pruned one was copied back. The
// check called the healthy file behind the hole damaged, and the start after an unclean stop salvaged it: its
// records got numbers that were applied already, and those not applied yet never were.
func TestAHoleOfAppliedInboxFilesIsNoDamage(t *testing.T) {
	onFiles(t)
	b := behindHole(t)
	if r, err := repair.Check(t.Context(), b.dir, nil); err != nil || !r.OK() {
		t.Errorf("check: %+v, %v", r, err)
	}
	endUncleanly(t, b.dir, false)
	b.reopen(rules(domain.SendAttribute))
	must(t, b.Applied(t.Context()))
	b.wantMembers("vip", "bob", "cid")
	if list, err := b.Salvages(); err != nil || len(list) > 0 {
		t.Errorf("damage is spoken of: %+v, %v", list, err)
	}
	b.balance()
}

// TestAHoleOfUnappliedRecordsIsFound: records that the state does not know are missing.
func TestAHoleOfUnappliedRecordsIsFound(t *testing.T) {
	onFiles(t)
	b := behindHole(t)
	last := wal.Path(b.dir, 2)
	must(t, os.Rename(last, last+".away"))
	appendFrom(t, b.dir, epochOf(t, b.dir), 200_000_000, event("dan", "vip", true, 5))
	if r, err := repair.Check(t.Context(), b.dir, nil); err != nil || r.OK() {
		t.Errorf("check: %+v, %v", r, err)
	}
	b.openBroken()
	b.reopen(rules(domain.SendAttribute))
	must(t, b.Applied(t.Context()))
	b.wantMembers("vip", "ann", "bob", "dan")
}

// TestASalvageBehindAHoleGivesNoAppliedNumbers: whatever of the newest file is hit, the records in it that were not
// applied yet are.
func TestASalvageBehindAHoleGivesNoAppliedNumbers(t *testing.T) {
	onFiles(t)
	for _, head := range []string{"newer", "older", "both"} {
		t.Run(head, func(t *testing.T) {
			b := behindHole(t)
			path := wal.Path(b.dir, 2)
			breakHeads(t, path, head)
			endUncleanly(t, b.dir, false)
			b.reopen(rules(domain.SendAttribute))
			must(t, b.Applied(t.Context()))
			b.wantMembers("vip", "bob", "cid")
			list, err := b.Salvages()
			if err != nil || len(list) != 1 || list[0].File != filepath.Base(path) {
				t.Errorf("salvaged: %+v, %v", list, err)
			}
			b.receive(event("dan", "vip", true, 9))
			b.reopen(rules(domain.SendAttribute))
			b.wantMembers("vip", "bob", "cid", "dan")
			b.balance()
			must(t, b.Store.Close())
			if r, err := repair.Check(t.Context(), b.dir, nil); err != nil || !r.OK() {
				t.Errorf("check: %+v, %v", r, err)
			}
		})
	}
}

// TestADamagedStateBehindAHoleLosesNoRecord: with the position of the state unknown, the files behind the hole are
// read as damaged, and salvaged with it.
func TestADamagedStateBehindAHoleLosesNoRecord(t *testing.T) {
	onFiles(t)
	for _, head := range []string{"newer", "older", "both"} {
		t.Run(head, func(t *testing.T) {
			b := behindHole(t)
			breakHeads(t, filepath.Join(b.dir, datadir.StateFile), head)
			endUncleanly(t, b.dir, false)
			b.reopen(rules(domain.SendAttribute))
			must(t, b.Applied(t.Context()))
			b.wantMembers("vip", "bob", "cid")
			b.receive(event("dan", "vip", true, 9))
			b.wantMembers("vip", "bob", "cid", "dan")
			b.balance()
		})
	}
}

// openBroken opens a stopped store whose writer ends when it meets damage, and waits for that.
func (b *bench) openBroken(after ...*domain.Event) {
	b.Helper()
	s, err := Open(b.dir, Options{Log: slog.New(slog.DiscardHandler)})
	must(b, err)
	b.Store = s
	if len(after) > 0 {
		must(b, b.Append(context.Background(), after...))
	}
	select {
	case <-b.Broken():
	case <-time.After(time.Minute):
		b.Fatal("the damage did not end the writer")
	}
}

// breakHeads damages the newer, the older or both meta pages of a file.
func breakHeads(t *testing.T, path, which string) {
	t.Helper()
	file, err := boltpage.Open(path)
	must(t, err)
	newer, older := file.Metas()
	size := file.PageSize
	file.Close()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	for name, m := range map[string]boltpage.Meta{"newer": newer, "older": older} {
		if which == name || which == "both" {
			_, err := f.WriteAt(make([]byte, 128), int64(m.Txid%2)*int64(size))
			must(t, err)
		}
	}
}
