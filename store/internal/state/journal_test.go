package state_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// TestTheJournalHasTheTransitionsOfMemberships, if the rules ask for one, and each but once for a record.
func TestTheJournalHasTheTransitionsOfMemberships(t *testing.T) {
	fields := map[string]*state.Field{
		"an audience":            {Space: "spa_1", Key: "vip", ID: "aud_vip", Class: domain.ClassAudience},
		"a trait":                {Space: "spa_1", Key: "score", ID: "trait_1", Class: domain.ClassTrait},
		"a value passed through": {Column: "city", Class: domain.ClassAudience},
	}
	for name, f := range fields {
		for _, journal := range []bool{true, false} {
			rules := statetest.Rules(domain.SendBoth)
			rules.Journal = journal
			d := statetest.New(t, rules)
			d.Do(func(tx *state.Tx) {
				tx.NewField(f)
				for seq := range uint64(2) {
					for range 2 { // the second changes nothing more
						state.NoteTransition(tx, tx.User("ann"), f, state.JournalEntry{Seq: seq + 1, Transition: domain.TransitionEnter})
					}
				}
			})
			want := 0
			if journal && name == "an audience" {
				want = 2
			}
			if got := len(chain(d, "ann")); got != want {
				t.Errorf("of %s, journal %v: %d entries, want %d", name, journal, got, want)
			}
		}
	}
}

// enters writes n transitions of a user to the journal, and the outcome of a change after each.
func enters(d *statetest.DB, id string, n int) {
	d.Do(func(tx *state.Tx) {
		for i := range n {
			e := state.JournalEntry{
				Transition: domain.TransitionEnter, Moved: i%2 == 0, Cause: domain.CauseEvent, Seq: uint64(100 + i), User: id, Text: fmt.Sprint("m", i),
				At: statetest.Receipt.Add(time.Duration(i) * time.Minute), EventTime: statetest.Noon.Add(-time.Duration(i) * time.Hour),
			}
			state.AppendJournal(tx, tx.User(id), &e)
			state.AppendJournal(tx, tx.User(id), &state.JournalEntry{
				Transition: domain.TransitionEnter, Seq: e.Seq, At: e.At.Add(time.Second), Field: 3,
				JournalOutcome: state.JournalOutcome{State: domain.StateDropped, Kind: domain.KindEvent, Slot: 2, Reason: "why"},
			})
		}
	})
}

// chain reads the entries of a user, the newest first.
func chain(d *statetest.DB, id string) (list []state.JournalEntry) {
	d.Read(func(tx *state.Tx) {
		r := state.ReadJournal(tx)
		for e := r.At(tx.User(id).Index.Journal); e != nil; e = r.At(e.Prev) {
			list = append(list, *e)
		}
	})
	return list
}

func TestEntriesOfTheJournalAreReadAsWritten(t *testing.T) {
	for _, id := range []string{
		"ann", "", "personas_", "personas_2DGdYrXrV8dVWmzcgsKuUsxvrX2", "743be593-7789-4b74-8078-cbcc8894c586", "743BE593-7789-4b74-8078-cbcc8894c586",
		"743be593-7789-4b74-8078-cbcc8894c58g", "743be593+7789-4b74-8078-cbcc8894c586", strings.Repeat("x", 512), "\x00\xff",
	} {
		d := newDB(t)
		enters(d, id, 20)
		d.Reopen()
		list := chain(d, id)
		if len(list) != 40 {
			t.Fatalf("%q: %d entries are in the chain", id, len(list))
		}
		for i := range list {
			if n := uint64(40 - i); list[i].Number != n || list[i].Prev != n-1 {
				t.Errorf("%q: entry %d is number %d behind %d", id, i, list[i].Number, list[i].Prev)
			}
		}
		want := state.JournalEntry{Number: 39, Prev: 38, Transition: domain.TransitionEnter, Cause: domain.CauseEvent, Seq: 119, User: id, Text: "m19",
			At: statetest.Receipt.Add(19 * time.Minute), EventTime: statetest.Noon.Add(-19 * time.Hour)}
		if !reflect.DeepEqual(list[1], want) {
			t.Errorf("%q: a transition is read as %+v, want %+v", id, list[1], want)
		}
		ended := state.JournalEntry{Number: 40, Prev: 39, Transition: domain.TransitionEnter, Seq: 119, Field: 3, At: want.At.Add(time.Second),
			JournalOutcome: state.JournalOutcome{State: domain.StateDropped, Kind: domain.KindEvent, Slot: 2, Reason: "why"}}
		if !reflect.DeepEqual(list[0], ended) {
			t.Errorf("%q: an outcome is read as %+v, want %+v", id, list[0], ended)
		}
	}
}

// TestTheJournalCountsItsBytes over appending, erasing and removing, in transactions of every size.
func TestTheJournalCountsItsBytes(t *testing.T) {
	d := newDB(t)
	counted := func(when string) {
		t.Helper()
		d.Read(func(tx *state.Tx) {
			size := uint64(0)
			d.Must(tx.Bucket(state.BucketJournal).ForEach(func(k, v []byte) error { size += uint64(len(k) + len(v)); return nil }))
			if tx.State.Journal.Bytes != size {
				t.Errorf("%s: %d bytes are counted, there are %d", when, tx.State.Journal.Bytes, size)
			}
		})
	}
	for i := range 40 {
		enters(d, fmt.Sprint("u", i%5), i%7)
	}
	counted("appended")
	before := len(chain(d, "u1"))
	var erased uint64
	d.Do(func(tx *state.Tx) { erased = state.ForgetJournal(tx, tx.User("u0")) })
	if erased == 0 || len(chain(d, "u0")) != 0 || len(chain(d, "u1")) != before {
		t.Errorf("%d are erased, of u0 are left %d, of u1 %d of %d", erased, len(chain(d, "u0")), len(chain(d, "u1")), before)
	}
	counted("erased")
	d.Do(func(tx *state.Tx) { // an erased user may come back in the same transaction
		u := tx.User("u0")
		state.AppendJournal(tx, u, &state.JournalEntry{Transition: domain.TransitionEnter, User: "u0", At: statetest.Receipt})
		state.ForgetJournal(tx, u)
		state.AppendJournal(tx, u, &state.JournalEntry{Transition: domain.TransitionExit, User: "u0", At: statetest.Receipt})
	})
	if list := chain(d, "u0"); len(list) != 1 || list[0].Transition != domain.TransitionExit {
		t.Errorf("of u0 there is %+v", list)
	}
	counted("erased and appended")
	keys := d.Keys(state.BucketJournal)
	d.Do(func(tx *state.Tx) {
		last := keys[len(keys)-1]
		state.RemoveChunk(tx, last, len(last)+len(tx.Bucket(state.BucketJournal).Get(last)))
	})
	last := d.State.Journal.Last
	enters(d, "u2", 1)
	if n := chain(d, "u2")[0].Number; n <= last {
		t.Errorf("number %d is given out again, after %d", n, last)
	}
	counted("removed")
}

func TestACorruptChunkEndsAChain(t *testing.T) {
	d := newDB(t)
	enters(d, "ann", 20)
	keys := d.Keys(state.BucketJournal)
	d.Put(state.BucketJournal, keys[1], []byte("no chunk"))
	d.Put(state.BucketJournal, keys[2], []byte("no chunk"))
	enters(d, "ann", 1)
	if list := chain(d, "ann"); len(list) != 2 || list[1].Prev != 40 {
		t.Errorf("the chain is %+v", list)
	}
}

// TestTheJournalOnDiskStays: an older agent wrote these bytes, and a newer one reads them.
func TestTheJournalOnDiskStays(t *testing.T) {
	d := newDB(t)
	enters(d, "ann", 1)
	enters(d, "bob", 8)
	d.Do(func(tx *state.Tx) { state.ForgetJournal(tx, tx.User("ann")) })
	var keys []string
	var first string
	d.Read(func(tx *state.Tx) {
		b := tx.Bucket(state.BucketJournal)
		_ = b.ForEach(func(k, v []byte) error { keys = append(keys, fmt.Sprintf("%x", k)); return nil })
		first = fmt.Sprintf("%x", b.Get(state.KeysWithPrefix(b, nil)[0]))
	})
	if want := []string{"0000000000000000", "0000000000000001"}; !slices.Equal(keys, want) {
		t.Errorf("18 entries are under %v, want %v", keys, want)
	}
	if want := "0180b599c59d67641010050000000180dddb01000c626f62086d30090100d00f02270303776879010102c0a90701c0c09a05000c626f62086d3109010290b9070227030377687905010480d30e0180a4d908000c626f62086d32090104d0e20e02270303776879010106c0fc1501c087980c000c626f62086d33090106908c160227030377687905010880a61d0180ebd60f000c626f62086d34090108d0b51d0227030377687901010ac0cf2401c0ce9513000c626f62086d3509010a90df240227030377687905010c80f92b0180b2d416000c626f62086d3609010cd0882c022703037768790b3fe460"; first != want {
		t.Errorf("the first chunk is\n%s, want\n%s", first, want)
	}
}
