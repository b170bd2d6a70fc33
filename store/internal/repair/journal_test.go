package repair

import (
	"fmt"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/engine/bolt"
	"personasync/store/internal/dirtest"
	"personasync/store/internal/query"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// journalOf lists what the journal says of users, and how many changes it knows the end of.
func journalOf(d *dirtest.Dir, users int) (lines []string, ended int) {
	db, err := bolt.Open(d.StatePath(), 0, true)
	d.Must(err)
	defer db.Close()
	r := &query.Reader{State: db}
	for i := range users {
		l := query.NewJournalListing(domain.JournalFilter{User: fmt.Sprintf("user%04d", i), Limit: 1000})
		for err = nil; err == nil && !l.Done(); {
			err = l.Read(r)
		}
		for _, e := range l.Page().Items {
			lines = append(lines, fmt.Sprint(e.User, e.Transition, e.MessageID))
			for _, told := range e.Told {
				if told.State == domain.StateSuperseded.String() {
					ended++
				}
			}
		}
	}
	return lines, ended
}

// journaled is a store in which each user entered, left and entered again, which superseded two changes of each.
func journaled(t *testing.T, users int) *dirtest.Dir {
	d := dirtest.New(t, domain.SendAttribute)
	for round := range 3 {
		for i := range users {
			d.Receive(statetest.Membership(fmt.Sprintf("user%04d", i), "vip", round != 1, round))
		}
		d.Apply()
	}
	return d
}

func TestASalvageKeepsTheJournal(t *testing.T) {
	d := journaled(t, 40)
	want, ended := journalOf(d, 40)
	if len(want) != 120 || ended != 40 {
		t.Fatalf("the journal has %d lines and %d ends", len(want), ended)
	}
	s, err := salvage(d)
	d.Must(err)
	if !s.Whole() {
		t.Errorf("lost: %+v", s)
	}
	wantSound(t, d)
	if got, n := journalOf(d, 40); fmt.Sprint(got) != fmt.Sprint(want) || n != ended {
		t.Errorf("the salvaged journal has %d lines and %d ends", len(got), n)
	}
}

func TestASalvageLinksTheJournalAroundALostChunk(t *testing.T) {
	d := journaled(t, 40)
	for _, lost := range []uint64{0, 4} {
		d.Edit(func(tx engine.Tx) error {
			return tx.Bucket(state.BucketJournal).Put(state.NumberKey(lost), []byte("no chunk"))
		})
	}
	_, err := salvage(d)
	d.Must(err)
	wantSound(t, d)
	got, ended := journalOf(d, 40)
	if len(got) < 120-32 || len(got) >= 120 || ended == 0 {
		t.Errorf("of 120 lines %d are left, and %d ends", len(got), ended)
	}
	d.Receive(statetest.Exit("user0001", "vip", 9))
	d.Apply()
	if more, _ := journalOf(d, 40); len(more) != len(got)+1 {
		t.Errorf("after another exit there are %d lines", len(more))
	}
	wantSound(t, d)
}

// TestASalvageBringsBackNoForgottenUser whose entries a corrupt chunk had hidden when they were forgotten.
func TestASalvageBringsBackNoForgottenUser(t *testing.T) {
	d := journaled(t, 40)
	d.Edit(func(tx engine.Tx) error {
		stone := state.NumberKey(uint64(statetest.Receipt.Add(time.Hour).UnixNano()))
		return tx.Bucket(state.BucketTombstones).Put(state.Tombstone(tx.Bucket(state.BucketMeta).Get(state.MetaSalt), "user0001"), stone)
	})
	_, err := salvage(d)
	d.Must(err)
	if got, _ := journalOf(d, 40); len(got) != 117 {
		t.Errorf("of 120 lines %d are left", len(got))
	}
}
