package repair

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/boltfile"
	"personasync/store/internal/boltpage"
	"personasync/store/internal/datadir"
	"personasync/store/internal/dirtest"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
	"personasync/store/internal/wal"
	"personasync/store/internal/wire"
)

const crowd = 300

// crowded is a store with crowd users, all of them members with a pending attribute and a pending event.
func crowded(t *testing.T) *dirtest.Dir {
	t.Helper()
	return crowdedBy(t, domain.SendBoth)
}

func crowdedBy(t *testing.T, send domain.SendMethods) *dirtest.Dir {
	t.Helper()
	d := dirtest.New(t, send)
	var list []*domain.Event
	for i := range crowd {
		list = append(list, statetest.Enter(fmt.Sprintf("user%04d", i), "vip", i%50))
	}
	d.Receive(list...)
	d.Apply()
	return d
}

// salvage makes the state of d anew.
func salvage(d *dirtest.Dir) (*Salvage, error) {
	inbox, err := wal.OpenReadOnly(d.Path, 0, record.InboxRecords)
	d.Must(err)
	defer inbox.CloseFiles()
	return State(d.Path, inbox, slog.New(slog.DiscardHandler), []string{"a fault"})
}

func wantSound(t *testing.T, d *dirtest.Dir) {
	t.Helper()
	r, err := Check(t.Context(), d.Path, nil)
	if err != nil || !r.OK() {
		t.Errorf("the check says %v, %+v", err, r)
	}
}

// rootOf returns the page that the tree of a bucket begins with.
func rootOf(d *dirtest.Dir, name []byte) (root uint64) {
	file, err := boltpage.Open(d.StatePath())
	d.Must(err)
	defer file.Close()
	m, _ := file.Newest()
	w := boltpage.Walk{File: file, Meta: m, Fault: func(error) {}, Bucket: func([]string, uint64) {}, Leaf: func(_ uint64, path []string, list []boltpage.Element) {
		for i := range list {
			if at, _, ok := list[i].Bucket(); ok && bytes.Equal(list[i].Key, name) {
				root = at
			}
		}
	}}
	w.Run()
	return root
}

// newest returns the newest meta page of the state.
func newest(d *dirtest.Dir) boltpage.Meta {
	file, err := boltpage.Open(d.StatePath())
	d.Must(err)
	defer file.Close()
	m, _ := file.Newest()
	return m
}

// TestTheCostOfADamagedPageIsCounted damages one kind of page after the other. A page with rows of users who are in no
// other entry costs these users. A pending event restores its user and their membership. The pages that the salvage makes
// anew cost nothing, and a lost last commit is applied again from the inbox.
func TestTheCostOfADamagedPageIsCounted(t *testing.T) {
	for _, send := range []domain.SendMethods{domain.SendAttribute, domain.SendBoth} {
		whole := crowdedBy(t, send)
		was := whole.Load().Ledger
		rows := whole.Leaves(whole.StatePath(), string(state.BucketRows))
		if was.Users != crowd || was.Changes.Pending < crowd || len(rows) < 3 {
			t.Fatalf("%d pages of rows, the ledger says %+v", len(rows), was)
		}
		for _, tc := range []struct {
			name  string
			page  func(d *dirtest.Dir) uint64
			loses bool // rows
			back  bool // the last commit is lost with the page
			whole bool
		}{
			{"no page", nil, false, false, true},
			{"a leaf of rows", func(d *dirtest.Dir) uint64 { return rows[1] }, true, false, false},
			{"the branch above the rows", func(d *dirtest.Dir) uint64 { return rootOf(d, state.BucketRows) }, false, false, false},
			{"the locator", func(d *dirtest.Dir) uint64 { return rootOf(d, state.BucketLocator) }, false, false, false},
			{"the due index", func(d *dirtest.Dir) uint64 { return rootOf(d, state.BucketDue) }, false, false, false},
			{"the freelist", func(d *dirtest.Dir) uint64 { return newest(d).Freelist }, false, false, true},
			{"the newer meta page", func(d *dirtest.Dir) uint64 { return newest(d).Txid % 2 }, false, true, true},
			{"the older meta page", func(d *dirtest.Dir) uint64 { return 1 - newest(d).Txid%2 }, false, false, true},
		} {
			t.Run(fmt.Sprintf("%s, sending %v", tc.name, send), func(t *testing.T) {
				d := whole.Clone(t)
				if tc.page != nil {
					d.Spoil(d.StatePath(), tc.page(d))
				}
				r, err := Check(t.Context(), d.Path, nil)
				if err != nil || r.OK() != (tc.page == nil) {
					t.Errorf("the check says %v, %+v", err, r)
				}
				s, err := salvage(d)
				must(t, err)
				wantSound(t, d)
				if s.Whole() != tc.whole || (s.Lost.Pending > 0) != tc.loses || (s.Lost.Users > 0) != (tc.loses && send == domain.SendAttribute) || (s.Relearned > 0) != (tc.loses && send == domain.SendBoth) {
					t.Errorf("whole %v, relearned %d, saved %+v, lost %+v", s.Whole(), s.Relearned, s.Saved, s.Lost)
				}
				if !tc.back && (s.Saved.Users+s.Lost.Users != crowd || s.Saved.Pending+s.Lost.Pending != was.Changes.Pending || s.Saved.Members+s.Lost.Members != crowd) {
					t.Errorf("saved %+v, lost %+v", s.Saved, s.Lost)
				}
				st := d.Load()
				if l := st.Ledger; l.Users != s.Saved.Users || l.Changes.Lost != s.Lost.Pending || l.Changes.Pending != s.Saved.Pending || !l.Changes.Balances() || !l.Events.Balances() {
					t.Errorf("the ledger says %+v", l)
				}
				if (st.Applied == crowd+1) == tc.back || st.Epoch != statetest.Epoch || st.Rules.Defaults.Send != send {
					t.Errorf("the state says %+v", st)
				}
				d.Apply()
				if l := d.Load().Ledger; l.Users != crowd-s.Lost.Users || l.Events.Accepted != crowd {
					t.Errorf("with the rest of the inbox the ledger says %+v", l)
				}
				if kept, err := boltfile.Exists(filepath.Join(d.Path, s.KeptAs)); err != nil || !kept || s.File != datadir.StateFile {
					t.Errorf("kept as %q: %v, %v", s.KeptAs, kept, err)
				}
				if left, _ := boltfile.Exists(boltfile.NewPath(d.StatePath())); left {
					t.Error("the new file is left beside")
				}
			})
		}
	}
}

func TestWithoutTheNamesOfTheBucketsEntriesAreKnownByTheirShape(t *testing.T) {
	d := crowded(t)
	d.Spoil(d.StatePath(), newest(d).Root)
	s, err := salvage(d)
	must(t, err)
	if s.Saved.Users != crowd || s.Saved.Pending != 2*crowd || s.Saved.Members != crowd || !s.LedgerLost || !s.PositionLost || !s.RulesLost || s.Whole() {
		t.Errorf("%+v", s)
	}
	if st := d.Load(); st.Applied != crowd+1 || st.Rules.Defaults.Send != domain.SendBoth { // the inbox has the rules
		t.Errorf("%+v", st)
	}
	wantSound(t, d)
}

func TestAStateWithoutItsMetaBucketGoesOnBehindItsNewestRecord(t *testing.T) {
	d := crowded(t)
	d.Open(false, func(db *bolt.State) error {
		return db.DB().Update(func(tx *bbolt.Tx) error { // without a seal
			b := tx.Bucket(state.BucketMeta)
			return errors.Join(b.Delete(state.MetaLedger), b.Delete(state.MetaApplied), b.Delete(state.MetaRules))
		})
	})
	s, err := salvage(d)
	must(t, err)
	if !s.LedgerLost || !s.PositionLost || !s.RulesLost || s.Whole() || s.Lost.Users != 0 || s.Saved.Users != crowd {
		t.Errorf("%+v", s)
	}
	st := d.Load()
	if st.Applied != crowd+1 || st.Rules.Defaults.Send != domain.SendBoth || st.Ledger.Users != crowd || st.Ledger.Changes.Pending != 2*crowd || !st.Ledger.Changes.Balances() {
		t.Errorf("%+v", st)
	}
	wantSound(t, d)
}

func TestAStateOfWhichNothingCanBeReadIsRefusedAndLeftAlone(t *testing.T) {
	d := dirtest.New(t, domain.SendBoth)
	body := bytes.Repeat([]byte{0xa5}, 64<<10)
	must(t, os.WriteFile(d.StatePath(), body, 0o600))
	_, err := salvage(d)
	if !errors.Is(err, boltfile.ErrUnsalvageable) || !bytes.Contains([]byte(err.Error()), []byte("`personasync db restore FILE`")) {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadFile(d.StatePath()); err != nil || !bytes.Equal(left, body) {
		t.Errorf("the file was changed: %v", err)
	}
}

func TestADamagedStateOfANewerVersionIsLeftToIt(t *testing.T) {
	d := dirtest.New(t, domain.SendBoth)
	d.Open(false, func(db *bolt.State) error {
		err := db.Update(func(kv engine.Tx) error {
			return kv.Bucket(state.BucketMeta).Put(boltfile.MetaFormat, binary.BigEndian.AppendUint32(nil, datadir.Format+1))
		})
		tx, begun := db.DB().Begin(true)
		must(t, begun)
		return errors.Join(err, boltfile.Seal(tx), tx.Commit())
	})
	if _, err := salvage(d); !errors.Is(err, wire.ErrNewer) {
		t.Errorf("%v", err)
	}
}

func TestADamagedInboxFileKeepsItsNumbers(t *testing.T) {
	d := crowded(t)
	path := wal.Path(d.Path, 1)
	for i := range 10 {
		d.Receive(statetest.Enter(fmt.Sprintf("late%d", i), "vip", 1))
	}
	leaves := d.Leaves(path, "records")
	if len(leaves) < 3 {
		t.Fatalf("%d pages of records prove nothing", len(leaves))
	}
	d.Spoil(path, leaves[1])
	r, err := Check(t.Context(), d.Path, nil)
	if err != nil || r.OK() || !reflect.DeepEqual(r.DamagedFiles, []string{filepath.Base(path)}) {
		t.Fatalf("the check says %v, %+v", err, r)
	}
	s, err := Segment(path, statetest.Epoch, crowd+1, 0, []string{"a fault"})
	must(t, err)
	if s.Saved.Records == 0 || s.Lost.Records == 0 || s.Saved.Records+s.Lost.Records != crowd+11 || len(s.RecordsLost) == 0 || s.Whole() || s.EdgeLost || s.Pages+s.Entries == 0 {
		t.Errorf("%+v", s)
	}
	var lost, unapplied uint64
	for _, gap := range s.RecordsLost {
		for n := gap.First; n <= gap.Last; n++ {
			if lost++; n > crowd+1 {
				unapplied++
			}
		}
	}
	if lost != s.Lost.Records || unapplied != s.Unapplied {
		t.Errorf("the runs have %d records, %d of them not applied: %+v", lost, unapplied, s)
	}
	wantSound(t, d)
	if d.Last() != crowd+11 {
		t.Errorf("the last record is %d", d.Last())
	}
	if _, err := Segment(path, statetest.Epoch+1, 0, 0, nil); !errors.Is(err, datadir.ErrForeign) {
		t.Errorf("of another store: %v", err)
	}
}

func TestReportsStayAsLongAsTheDamagedFile(t *testing.T) {
	d := dirtest.New(t, domain.SendBoth)
	at := time.Date(2026, 3, 1, 2, 3, 4, 0, time.UTC)
	path := filepath.Join(d.Path, "inbox-00000007.db")
	var want []Salvage
	for _, name := range []string{"inbox-00000007.db.damaged-20260301T020304Z", "inbox-00000007.db.damaged-20260301T020304Z-2", "inbox-00000007.db.damaged-20260301T020304Z-3"} {
		kept := KeptName(path, "damaged", at)
		if kept != name {
			t.Errorf("kept as %s", kept)
		}
		must(t, errors.Join(os.WriteFile(path, []byte("damaged"), 0o600), os.WriteFile(boltfile.NewPath(path), []byte("saved"), 0o600), replaceDamaged(path, kept)))
		if now, err := os.ReadFile(path); err != nil || string(now) != "saved" {
			t.Errorf("in its place is %q, %v", now, err)
		}
		if old, err := os.ReadFile(filepath.Join(d.Path, kept)); err != nil || string(old) != "damaged" {
			t.Errorf("kept is %q, %v", old, err)
		}
		s := Salvage{At: at, File: filepath.Base(path), KeptAs: kept, Faults: []string{"a fault"}, Lost: Stock{Records: uint64(len(want))}}
		d.Open(false, func(db *bolt.State) error { return AddSalvage(db, &s) })
		want = append(want, s)
	}
	list := func() (list []Salvage) {
		d.Open(true, func(db *bolt.State) error {
			return db.View(func(kv engine.Tx) (err error) { list, err = SalvagesIn(kv, d.Path); return err })
		})
		return list
	}
	if got := list(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	must(t, os.Remove(filepath.Join(d.Path, want[1].KeptAs)))
	if got := list(); len(got) != 2 || got[0].KeptAs != want[0].KeptAs || got[1].KeptAs != want[2].KeptAs {
		t.Errorf("%+v", got)
	}
	must(t, os.WriteFile(boltfile.NewPath(path), []byte("saved again"), 0o600))
	if err := replaceDamaged(path, want[0].KeptAs); err == nil {
		t.Error("a kept file is written over")
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != "saved" {
		t.Errorf("a file that could not be kept is replaced by %q, %v", now, err)
	}
}

func TestASalvageIsWholeWhenNothingIsLost(t *testing.T) {
	if s := (&Salvage{Saved: Stock{Users: 1}, PositionLost: true, RulesLost: true, Relearned: 1, Unapplied: 1}); !s.Whole() {
		t.Errorf("%+v", s)
	}
	for _, s := range []Salvage{{LedgerLost: true}, {Lost: Stock{Held: 1}}, {Pages: 1}, {Entries: 1}, {RecordsLost: []RecordRange{{1, 1}}}, {EdgeLost: true}} {
		if s.Whole() {
			t.Errorf("%+v", s)
		}
	}
}

func TestAFieldThatIsLostIsNamedAfterItsChange(t *testing.T) {
	d := crowded(t)
	d.Edit(func(kv engine.Tx) error { return kv.Bucket(state.BucketFields).Delete(state.FieldKey(0)) })
	s, err := salvage(d)
	must(t, err)
	if s.Lost.Computations != 1 || s.Saved.Users != crowd {
		t.Errorf("%+v", s)
	}
	if f := d.Load().Registry.Fields[0]; f == nil {
		t.Error("a number has no field")
	}
	wantSound(t, d)
}

// TestASalvageKeepsTheWorkspace: without it the next start would take any workspace for the one that was told.
func TestASalvageKeepsTheWorkspace(t *testing.T) {
	d := crowded(t)
	d.Edit(func(tx engine.Tx) error { return tx.Bucket(state.BucketMeta).Put(engine.MetaWorkspace, []byte("ACME")) })
	_, err := salvage(d)
	d.Must(err)
	d.Edit(func(tx engine.Tx) error {
		if kept := tx.Bucket(state.BucketMeta).Get(engine.MetaWorkspace); string(kept) != "ACME" {
			t.Errorf("the workspace is %q", kept)
		}
		return nil
	})
	wantSound(t, d)
}
