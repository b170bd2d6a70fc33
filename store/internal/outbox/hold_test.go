package outbox

import (
	"strings"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

// TestAChangeUnderANameOfAnotherIsHeld until the name is free, and then sent unless MoEngage has the value.
func TestAChangeUnderANameOfAnotherIsHeld(t *testing.T) {
	r := statetest.Rules(domain.SendAttribute)
	b := newBox(t, r)
	ids := make(map[string]domain.ID)
	b.Do(func(tx *state.Tx) {
		f := tx.NewField(&state.Field{Space: "spa_1", Key: "vip", ID: "aud_other", Class: domain.ClassAudience})
		for user, in := range map[string]bool{"ann": true, "bob": false} {
			u, c := tx.User(user), b.cause(tx, 1)
			c.Event.Class = f.Class
			t, v := value(in)
			WantAttribute(tx, u, f, policy(tx, f), tx.Entry(u, f.Number), c, t, v)
			tx.Write(u, f.Number)
			ids[user] = domain.ID{Epoch: statetest.Epoch, Seq: c.Seq}
		}
	})
	b.wantState(ids["ann"], domain.StateHeld)
	b.wantState(ids["bob"], domain.StateHeld)
	if n := strings.Count(b.Logged(), "two computations send under one name"); n != 1 {
		t.Errorf("the conflict was logged %d times", n)
	}
	b.Do(ReleaseConflicts)
	b.wantState(ids["ann"], domain.StateHeld)

	own := r.Defaults
	own.Attribute = "vip_other"
	r.Sections = []domain.Section{{ID: "aud_other", Policy: own}}
	b.SetRules(r)
	b.Do(ReleaseConflicts)
	b.wantState(ids["ann"], domain.StatePending)
	b.wantState(ids["bob"], domain.StateCancelled) // MoEngage never knew bob
	f := b.take(options(5))
	if b.wantSent(f, "ann=true"); f.Users[0].Attributes[0].Name != "vip_other" {
		t.Errorf("sent as %q", f.Users[0].Attributes[0].Name)
	}
}
