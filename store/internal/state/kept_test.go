package state_test

import (
	"errors"
	"reflect"
	"testing"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/state"
)

// TestCountsOfRefusalsSurviveARestart, also after a transaction that failed. What an older program counted without a kind
// stays in the sum.
func TestCountsOfRefusalsSurviveARestart(t *testing.T) {
	d := newDB(t)
	load := func(total uint64) (list []domain.Refusal, heard domain.Heard) {
		t.Helper()
		r := state.NewRefusals(noon)
		d.Must(d.File().View(func(tx engine.Tx) error { return r.Load(tx, total) }))
		if r.Unwritten() {
			t.Error("what was just read is said to lack on disk")
		}
		return r.List()
	}
	if list, _ := load(0); len(list) != 0 {
		t.Errorf("of nothing there are %+v", list)
	}
	if list, _ := load(3); len(list) != 1 || list[0] != (domain.Refusal{Count: 3}) {
		t.Errorf("of an older program there are %+v", list)
	}
	r := state.NewRefusals(noon)
	one := domain.Refusal{Route: "webhook", Status: 401, Code: "invalid_signature", Delivery: true, Last: noon}
	r.Count(one)
	r.Count(one)
	r.Hear(domain.Heard{Webhook: noon})
	broken := errors.New("broken")
	err := d.Try(func(tx *state.Tx) { r.Write(tx); tx.Err = broken })
	if !errors.Is(err, broken) || r.Unwritten() {
		t.Fatalf("%v, unwritten: %v", err, r.Unwritten())
	}
	if r.Failed(); !r.Unwritten() {
		t.Error("counts of a transaction that failed are said to be written")
	}
	d.Do(func(tx *state.Tx) { r.Write(tx) })
	if r.Unwritten() || d.State.Ledger.Rejected != 2 {
		t.Errorf("unwritten: %v, the ledger has %d", r.Unwritten(), d.State.Ledger.Rejected)
	}
	list, heard := load(5)
	one.Count = 2
	if want := []domain.Refusal{{Count: 3}, one}; !reflect.DeepEqual(list, want) || !heard.Webhook.Equal(noon) {
		t.Errorf("%+v at %v, want %+v", list, heard, want)
	}
	r.Hear(domain.Heard{Webhook: noon})
	if r.Unwritten() {
		t.Error("the same times are written again")
	}
	d.Do(func(tx *state.Tx) { r.Write(tx) })
	d.Put(state.BucketMeta, state.MetaRefusals, []byte("rubbish"))
	if err := d.File().View(func(tx engine.Tx) error { return state.NewRefusals(noon).Load(tx, 0) }); err == nil {
		t.Error("rubbish is read")
	}
}

// TestConsentIsKeptBesideARow, and decides about a user from then on. A holdout is told nothing, whatever it gave.
func TestConsentIsKeptBesideARow(t *testing.T) {
	d := newDB(t)
	asks := &domain.Policy{Consent: []string{"Ads", "Marketing"}}
	given := &domain.Consent{Preferences: domain.Preferences{Given: []string{"Ads", "Marketing", "Other"}}, Time: 7, Since: 5, Seq: 3, Updated: true}
	allows := func(p *domain.Policy) (ok bool) {
		d.Read(func(tx *state.Tx) { ok = state.Allows(tx, tx.User("ann"), p) })
		return ok
	}
	if !allows(&domain.Policy{}) || allows(asks) {
		t.Error("of a user who said nothing, all or nothing is allowed")
	}
	d.Do(func(tx *state.Tx) {
		u := tx.User("ann")
		keep(tx, "ann", 3, says("true", 5))
		state.SetConsent(u, given)
		u.Dirty = true
	})
	d.Read(func(tx *state.Tx) {
		if c := state.ConsentOf(tx, tx.User("ann")); c == nil || !reflect.DeepEqual(c, given) {
			t.Errorf("kept is %+v", c)
		}
		if c := state.ConsentOf(tx, tx.User("bob")); c != nil {
			t.Errorf("of another user %+v", c)
		}
	})
	if !allows(asks) || allows(&domain.Policy{Consent: []string{"Ads", "Sale"}}) {
		t.Error("every category that is asked for must be given, and no more")
	}
	for holdout, want := range map[float64]bool{0: true, 1: false} {
		if allows(&domain.Policy{Of: "vip", Rollout: &domain.Rollout{Share: 1, Holdout: holdout}}) != want {
			t.Errorf("a holdout of %v allows: %v", holdout, !want)
		}
	}
	d.Do(func(tx *state.Tx) {
		u := tx.User("ann")
		state.SetConsent(u, nil)
		u.Dirty = true
	})
	if allows(asks) {
		t.Error("consent that was removed counts")
	}
	d.Read(func(tx *state.Tx) {
		if e := tx.Entry(tx.User("ann"), 3); !e.Newest().IsIn() {
			t.Error("the membership went with it")
		}
	})
}

// TestAUserIsListedAfterAnother, those of this transaction included.
func TestAUserIsListedAfterAnother(t *testing.T) {
	d := newDB(t)
	all := []string{"ann", "bob", "cid", "dan"}
	d.Do(func(tx *state.Tx) {
		for _, u := range all {
			keep(tx, u, 3, says("true", 5))
		}
	})
	var after []byte
	seen := map[string]int{}
	for pages := 0; ; pages++ {
		var more bool
		d.Read(func(tx *state.Tx) {
			var list []string
			list, more = state.UsersAfter(tx, after, 3)
			for _, u := range list {
				seen[u]++
				after = state.UserKey(u)
			}
		})
		if !more {
			break
		}
		if pages > len(all) {
			t.Fatal("the pages do not end")
		}
	}
	for _, u := range all {
		if seen[u] != 1 {
			t.Errorf("%s is listed %d times", u, seen[u])
		}
	}
}
