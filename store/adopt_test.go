package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/apply"
	"personasync/store/internal/record"
)

// again has an event come from the audience that was made again.
func again(e *domain.Event) { e.ComputationID = "aud_again" }

func (b *bench) adopts(dry bool) MembershipReport {
	b.Helper()
	r, err := b.Adopt(context.Background(), "vip", "aud_again", dry, nil)
	must(b, err)
	return r
}

// TestAnAudienceMadeAgainIsContinued: ann and bob were members; of the new audience ann is one, cid enters
// it and dan was only ever out of it.
func TestAnAudienceMadeAgainIsContinued(t *testing.T) {
	for _, send := range []domain.SendMethods{everywhere, domain.SendAsReceived} {
		r := rules(send)
		them := newMoengage()
		b := open(t, r)
		b.receive(event("ann", "vip", true, 1), event("bob", "vip", true, 1))
		b.tell(them)
		b.receive(event("ann", "vip", true, 5, again), event("cid", "vip", true, 5, again), event("dan", "vip", false, 5, again))
		b.tell(them)
		if c := b.balance(); c.Changes.Held == 0 {
			t.Error("nothing is held: this shows nothing")
		}
		if n := b.adopts(true).Listed; n != 3 {
			t.Errorf("rehearsed with %d users", n)
		}
		if c := b.balance(); c.Changes.Held == 0 {
			t.Error("the rehearsal did something")
		}
		*them = *newMoengage()
		if n := b.adopts(false).Listed; n != 3 {
			t.Errorf("%d users were taken over", n)
		}
		b.wantHeld(0)
		b.tell(them)
		if got := fmt.Sprint(them.attributes); got != "map[cid.vip:true]" {
			t.Errorf("send %d: the difference is %s", send, got)
		}
		b.wantMembers("vip", "ann", "bob", "cid")

		// From now on the new id is the audience, and the old one is not heard any more.
		b.reopen(r)
		b.receive(event("bob", "vip", false, 9), event("eve", "vip", true, 9, again))
		b.wantMembers("vip", "ann", "bob", "cid", "eve")
		list, err := b.Computations()
		must(t, err)
		if len(list) != 1 || list[0].ID != "aud_again" || list[0].Members != 4 {
			t.Errorf("%+v", list)
		}
		if n := b.adopts(false).Listed; n != 0 {
			t.Errorf("given again, it took over %d users", n)
		}
		recount(t, b)
	}
}

// TestAnAdoptionCutShortIsGivenAgain: the ids were traded, and then the machine went down.
func TestAnAdoptionCutShortIsGivenAgain(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1), event("cid", "vip", true, 5, again))
	trade := &record.Order{Verb: record.OrderAdopt, Received: minute(10), Field: 0, Other: 1}
	b.order(record.AppendOrder(nil, trade))
	b.reopen(rules(domain.SendAttribute))
	b.wantHeld(1)
	if n := b.adopts(false).Listed; n != 1 {
		t.Errorf("%d users were taken over", n)
	}
	b.wantHeld(0)
	b.wantMembers("vip", "ann", "cid")
}

func TestWhatCannotBeAdopted(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1), event("ann", "other", true, 1), trait("ann", "spent", 1, "spent", "12"))
	for _, c := range []struct {
		key, id string
		want    error
	}{
		{"nobody", "aud_again", domain.ErrNotFound},
		{"vip", "aud_again", apply.ErrNoSuccessor},
		{"vip", "aud_other", apply.ErrNoSuccessor},
		{"spent", "tra_spent", ErrNoMembers},
	} {
		if _, err := b.Adopt(context.Background(), c.key, c.id, false, nil); !errors.Is(err, c.want) {
			t.Errorf("adopt %s %s: %v, want %v", c.key, c.id, err, c.want)
		}
	}
}
