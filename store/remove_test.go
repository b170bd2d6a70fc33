package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/apply"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
)

func (b *bench) removes(key string) {
	b.Helper()
	if r, err := b.Remove(context.Background(), key, true); err != nil || r.Removed == 0 {
		b.Fatalf("the rehearsal for %s: %+v, %v", key, r, err)
	}
	r, err := b.Remove(context.Background(), key, false)
	must(b, err)
	if r.Removed == 0 {
		b.Errorf("nothing of %s was removed", key)
	}
}

// TestNamesThatWereUsedUpComeBack: a client with a write key could use up the names there may be, for good.
func TestNamesThatWereUsedUpComeBack(t *testing.T) {
	defer func(n int) { state.MaxFields = n }(state.MaxFields)
	state.MaxFields = 4
	r := rules(domain.SendAttribute)
	r.Defaults.ForwardTraits = []string{"*"}
	b := open(t, r)
	wide := event("ann", "vip", false, 1)
	wide.Raw = []byte(`{"traits":{"vip":false,"made_up":1}}`)
	wide.Object = spanOf(wide.Raw, `{"vip":false,"made_up":1}`)
	b.receive(wide, trait("ann", "row", 1, "x", "1"))
	b.receive(event("ann", "real", true, 2))
	if got := b.parkedReasons(); !slices.Equal(got, []string{"too_many_names"}) {
		t.Fatalf("parked for %q", got)
	}
	b.drain()
	b.said()
	b.removes("row")
	b.removes("made_up")
	b.removes("vip")
	b.wantComputations()
	b.reopen(r)
	b.wantComputations()
	b.receive(event("ann", "real", true, 3), event("ann", "vip", true, 4), event("bob", "vip", true, 4))
	b.drain()
	b.wantToldAll("ann.real=true ann.vip=true bob.vip=true")
	b.wantComputations("spa_1/real aud_real audience 1", "spa_1/vip aud_vip audience 2")
	b.receive(trait("ann", "row", 5, "x", "1"), trait("ann", "more", 5, "x", "1"))
	if got := b.parkedReasons(); !slices.Equal(got, []string{"too_many_names", "too_many_names"}) {
		t.Errorf("parked for %q", got)
	}
	b.balance()
	recount(t, b)
}

// TestWhatIsReferredToIsNotRemoved: members, and changes that wait in any way.
func TestWhatIsReferredToIsNotRemoved(t *testing.T) {
	costly(t, manyStores)
	ctx := context.Background()
	for name, make := range map[string]func(b *bench){
		"members": func(b *bench) { b.receive(event("ann", "vip", true, 1)); b.drain() },
		"pending": func(b *bench) { b.receive(event("ann", "vip", true, 1), event("ann", "vip", false, 2)) },
		"in flight": func(b *bench) {
			b.receive(event("ann", "vip", true, 1))
			b.take()
			b.receive(event("ann", "vip", false, 2))
		},
		"a parked change": func(b *bench) {
			b.receive(event("ann", "vip", true, 1))
			b.settle(b.take(), domain.Parked)
			b.receive(event("ann", "vip", false, 2))
		},
		"held": func(b *bench) {
			b.receive(event("ann", "vip", true, 1, calling("spa_0", "aud_0")), event("ann", "vip", true, 1), event("ann", "vip", false, 2))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, rules(domain.SendBoth))
			make(b)
			before := b.computations()
			if _, err := b.Remove(ctx, "aud_vip", false); !errors.Is(err, ErrReferredTo) {
				t.Errorf("removing answers %v", err)
			}
			if after := b.computations(); !slices.Equal(after, before) {
				t.Errorf("known are %q, and were %q", after, before)
			}
		})
	}
	b := open(t, rules(domain.SendBoth))
	if _, err := b.Remove(ctx, "vip", false); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("removing what is not known answers %v", err)
	}
}

// TestWhatIsHeardOfMeanwhileStays: an event that is applied between the look and the order is not lost.
func TestWhatIsHeardOfMeanwhileStays(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", false, 1))
	b.measure(func(x *state.Tx) {
		apply.ApplyOrder(x, x.State.Applied, &record.Order{Verb: record.OrderForget, Received: time.Now(), Field: 0, Time: noon})
	})
	b.wantComputations("spa_1/vip aud_vip audience 0")
}

// TestARemovedNameIsFreeForAnother: what was held for it leaves.
func TestARemovedNameIsFreeForAnother(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(trait("ann", "vip", 1, "vip", "1"), event("ann", "vip", true, 2))
	b.drain()
	b.wantSaid("ann.vip=1")
	b.removes("tra_vip")
	b.drain()
	b.wantSaid("ann.vip=true")
	b.receive(with(trait("ann", "vip", 3, "vip", "2"), calling("", "")))
	if got := fmt.Sprint(b.parkedReasons()); got != "[class_conflict]" {
		t.Errorf("parked for %s", got)
	}
	b.wantComputations("spa_1/vip aud_vip audience 1")
	b.balance()
	recount(t, b)
}
