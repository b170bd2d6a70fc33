package state_test

import (
	"reflect"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

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
		state.SetConsent(u, *given)
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
		state.ForgetConsent(u)
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
