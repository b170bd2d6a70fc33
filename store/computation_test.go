package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// parkedReasons lists why events are parked, in order.
func (b *bench) parkedReasons() (list []string) {
	b.Helper()
	page, _, err := b.Changes(domain.OutboxFilter{State: domain.StateParked})
	must(b, err)
	for _, c := range page {
		list = append(list, c.Reason)
	}
	return list
}

// computations lists what is known, as space, key, id, class and members.
func (b *bench) computations() (list []string) {
	b.Helper()
	all, err := b.Computations()
	must(b, err)
	for _, c := range all {
		list = append(list, fmt.Sprintf("%s/%s %s %s %d", c.Space, c.Key, c.ID, c.Class, c.Members))
	}
	return list
}

func (b *bench) wantComputations(want ...string) {
	b.Helper()
	if got := b.computations(); !slices.Equal(got, want) {
		b.Errorf("known are %q, want %q", got, want)
	}
}

// wantToldAll compares what was delivered, users in any order.
func (b *bench) wantToldAll(want string) {
	b.Helper()
	words, wants := strings.Fields(b.said()), strings.Fields(want)
	slices.Sort(words)
	slices.Sort(wants)
	if !slices.Equal(words, wants) {
		b.Errorf("MoEngage was told %q, want %q", words, wants)
	}
}

// calling has an event name a computation by other names. Empty ones are left out by the sender.
func calling(space, id string) func(*domain.Event) {
	return func(e *domain.Event) { e.Space, e.ComputationID = space, id }
}

func with(e *domain.Event, options ...func(*domain.Event)) *domain.Event {
	for _, o := range options {
		o(e)
	}
	return e
}

// TestATraitOverwritesNoAudience: an event of class trait with an audience's key and id overwrote the
// membership past the counter of members, which fell below zero.
func TestATraitOverwritesNoAudience(t *testing.T) {
	costly(t, manyStores)
	for name, other := range map[string]*domain.Event{
		"by key and id":              with(trait("ann", "vip", 5, "vip", `"gold"`), calling("spa_1", "aud_vip")),
		"a true value":               with(trait("bob", "vip", 5, "vip", "true"), calling("spa_1", "aud_vip")),
		"a false value":              with(trait("ann", "vip", 5, "vip", "false"), calling("spa_1", "aud_vip")),
		"a null":                     with(trait("ann", "vip", 5, "vip", "null"), calling("spa_1", "aud_vip")),
		"by track":                   with(trait("ann", "vip", 5, "vip", `"gold"`), calling("spa_1", "aud_vip"), func(e *domain.Event) { e.Call = domain.CallTrack }),
		"by a pass-through":          with(trait("ann", "vip", 5, "vip", `"gold"`), calling("spa_1", "aud_vip"), passThrough("p1")),
		"by its key alone":           with(trait("ann", "vip", 5, "vip", `"gold"`), calling("", "")),
		"by space and key":           with(trait("ann", "vip", 5, "vip", `"gold"`), calling("spa_1", "")),
		"by its id alone":            with(trait("ann", "vip", 5, "vip", `"gold"`), calling("", "aud_vip")),
		"by its id with another key": with(trait("ann", "other", 5, "other", `"gold"`, "vip", "false"), calling("spa_1", "aud_vip")),
		"by its id in no space, with another key": with(trait("ann", "other", 5, "other", `"gold"`), calling("", "aud_vip")),
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, rules(domain.SendBoth))
			b.receive(event("ann", "vip", true, 1), event("bob", "vip", false, 1))
			b.drain()
			b.said()
			b.receive(other)
			if got := b.parkedReasons(); !slices.Equal(got, []string{"class_conflict"}) {
				t.Errorf("parked for %q", got)
			}
			b.wantComputations("spa_1/vip aud_vip audience 1")
			b.wantMembers("vip", "ann")
			b.receive(event("ann", "vip", false, 9), event("bob", "vip", false, 9))
			b.drain()
			b.wantSaid("ann.vip=false ann!Audience Exited")
			b.wantComputations("spa_1/vip aud_vip audience 0")
			b.balance()
			recount(t, b)
		})
	}
}

// TestAnAudienceOverwritesNoTrait is the other way round: it made members of a trait.
func TestAnAudienceOverwritesNoTrait(t *testing.T) {
	for name, other := range map[string]*domain.Event{
		"audience":          with(event("ann", "tier", true, 5), calling("spa_1", "tra_tier")),
		"journey step":      with(event("ann", "tier", true, 5), calling("spa_1", "tra_tier"), func(e *domain.Event) { e.Class = domain.ClassJourneyStep }),
		"bare audience_key": with(event("ann", "tier", true, 5), calling("", "")),
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, rules(domain.SendAttribute))
			b.receive(trait("ann", "tier", 1, "tier", `"gold"`), other)
			b.drain()
			b.wantSaid(`ann.tier="gold"`)
			if got := b.parkedReasons(); !slices.Equal(got, []string{"class_conflict"}) {
				t.Errorf("parked for %q", got)
			}
			b.wantComputations("spa_1/tier tra_tier trait 0")
			b.balance()
			recount(t, b)
		})
	}
}

// TestAJourneyIsToldByEitherClass: Segment sends a journey's membership as class audience, and its steps as
// class journey_step. Both are memberships.
func TestAJourneyIsToldByEitherClass(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "j_o_1", true, 1), with(event("ann", "j_o_1", false, 2), func(e *domain.Event) { e.Class = domain.ClassJourneyStep }))
	b.receive(with(event("bob", "step", true, 1), func(e *domain.Event) { e.Class = domain.ClassJourneyStep }), with(event("bob", "step", false, 2), calling("", "")))
	b.wantComputations("spa_1/j_o_1 aud_j_o_1 audience 0", "spa_1/step aud_step journey_step 0")
	if got := b.parkedReasons(); len(got) > 0 {
		t.Errorf("parked for %q", got)
	}
	recount(t, b)
}

// TestATraitOfAnAudiencesKeyIsHeld: with an id of its own it is another computation, which MoEngage would be
// told of under the same name.
func TestATraitOfAnAudiencesKeyIsHeld(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1), trait("ann", "vip", 2, "vip", `"gold"`))
	b.drain()
	b.wantSaid("ann.vip=true")
	if held := b.heldReasons(); !slices.Equal(held, []string{"attribute vip key_conflict"}) {
		t.Errorf("held %q", held)
	}
	recount(t, b)
}

// TestOneComputationWithAndWithoutItsSpace: of the same id and key, with and without space_id, there became
// two. The exit of the one was the exit of somebody unknown to the other.
func TestOneComputationWithAndWithoutItsSpace(t *testing.T) {
	costly(t, manyStores)
	full, spaceless, keyOnly, idless := calling("spa_1", "aud_vip"), calling("", "aud_vip"), calling("", ""), calling("spa_1", "")
	ways := map[string]func(*domain.Event){"full": full, "without space": spaceless, "key only": keyOnly, "without id": idless}
	for first, as := range ways {
		for second, then := range ways {
			t.Run(first+", then "+second, func(t *testing.T) {
				b := open(t, rules(domain.SendAttribute))
				b.receive(event("ann", "vip", true, 1, as), event("bob", "vip", true, 1, as))
				b.drain()
				b.receive(event("ann", "vip", false, 2, then))
				b.reopen(rules(domain.SendAttribute))
				b.receive(event("bob", "vip", false, 3, full))
				b.drain()
				b.wantToldAll("ann.vip=true bob.vip=true ann.vip=false bob.vip=false")
				b.wantComputations("spa_1/vip aud_vip audience 0")
				b.balance()
				recount(t, b)
			})
		}
	}
}

// TestSpacesThatAreNamedKeepComputationsApart: one key in two spaces is two computations, also if their ids
// are one, as those of journeys are. An event that names neither space is about either.
func TestSpacesThatAreNamedKeepComputationsApart(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "step", true, 1, calling("spa_1", "step")), event("ann", "step", false, 2, calling("spa_2", "step")))
	b.wantComputations("spa_1/step step audience 1", "spa_2/step step audience 0")
	b.receive(event("ann", "step", false, 3, calling("", "step")), event("ann", "step", false, 4, calling("", "")))
	if got := b.parkedReasons(); !slices.Equal(got, []string{"ambiguous_key", "ambiguous_key"}) {
		t.Errorf("parked for %q", got)
	}
	b.receive(event("ann", "step", false, 5, calling("spa_1", "")))
	b.wantComputations("spa_1/step step audience 0", "spa_2/step step audience 0")
	recount(t, b)
}

// TestTwoOfOneIDFromBeforeAreAdopted: an older version made two computations of one id. An event without a
// space is about the first; what the second one holds is shown, and adopted like an audience made again.
func TestTwoOfOneIDFromBeforeAreAdopted(t *testing.T) {
	onFiles(t)
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1, calling("", "aud_vip")), event("bob", "vip", true, 1, calling("", "aud_vip")))
	b.measure(func(x *state.Tx) {
		x.NewField(&state.Field{Space: "spa_1", Key: "vip", ID: "aud_vip", Class: domain.ClassAudience})
	})
	b.drain()
	b.wantToldAll("ann.vip=true bob.vip=true")
	b.receive(event("ann", "vip", false, 2, calling("spa_1", "aud_vip")), event("bob", "vip", false, 3, calling("", "")), event("cid", "vip", true, 3, calling("spa_1", "aud_vip")))
	b.drain()
	b.wantSaid("bob.vip=false")
	b.wantComputations("/vip aud_vip audience 1", "spa_1/vip aud_vip audience 1")
	if held := b.heldReasons(); !slices.Equal(held, []string{"attribute vip key_conflict"}) {
		t.Errorf("held %q", held)
	}
	b.reopen(rules(domain.SendAttribute))
	if _, err := b.Adopt(context.Background(), "vip", "aud_vip", false, nil); err != nil {
		t.Fatal(err)
	}
	b.receive(event("dan", "vip", true, 4, calling("spa_1", "aud_vip")), event("eve", "vip", true, 4, calling("", "aud_vip")))
	b.drain()
	b.wantComputations("spa_1/vip aud_vip audience 3")
	b.wantMembers("vip", "cid", "dan", "eve")
	b.wantToldAll("ann.vip=false cid.vip=true dan.vip=true eve.vip=true")
	if held := b.heldReasons(); len(held) > 0 {
		t.Errorf("held %q", held)
	}
	b.balance()
	recount(t, b)
}

// TestAnEventWithoutAClassIsOfTheKnownComputation: a mapping that drops computation_class lost every event of an
// audience that had been heard of, exits included.
func TestAnEventWithoutAClassIsOfTheKnownComputation(t *testing.T) {
	classless := func(flag domain.Flag, value string) func(*domain.Event) {
		return func(e *domain.Event) {
			e.Class, e.Fault, e.Sentence, e.Flag = domain.ClassNone, domain.UnknownClass, "no class", flag
			e.Raw = []byte(value)
			e.Columns = []domain.Column{{Name: e.Key, Value: domain.Span{Off: 0, Len: uint32(len(value))}}}
		}
	}
	either := func(user, key string, minute int, flag domain.Flag, value string, more ...func(*domain.Event)) *domain.Event {
		return event(user, key, false, minute, append([]func(*domain.Event){classless(flag, value), calling("", "")}, more...)...)
	}
	b := open(t, rules(domain.SendAttribute))
	b.receive(either("ann", "vip", 0, domain.FlagIn, "true"))
	if got := b.parkedReasons(); !slices.Equal(got, []string{"unknown_class"}) {
		t.Errorf("before the computation is known: parked for %q", got)
	}
	b.receive(
		event("ann", "vip", true, 1), trait("ann", "spent", 1, "spent", "1"), trait("ann", "flagged", 1, "flagged", "true"), event("ann", "step", true, 1, func(e *domain.Event) { e.Class = domain.ClassJourneyStep }))
	b.drain()
	b.wantToldAll("ann.vip=true ann.spent=1 ann.flagged=true ann.step=true")

	b.receive(either("ann", "vip", 2, domain.FlagOut, "false"), either("bob", "vip", 2, domain.FlagIn, `"true"`))
	b.receive(either("ann", "spent", 2, domain.FlagSilent, "2"), either("ann", "flagged", 2, domain.FlagOut, "false"))
	b.drain()
	b.wantToldAll("ann.vip=false bob.vip=true ann.spent=2 ann.flagged=false")
	b.receive(either("ann", "vip", 3, domain.FlagIn, "true", calling("spa_1", "")))
	b.drain()
	b.wantToldAll("ann.vip=true")
	if n := len(b.parkedReasons()); n != 1 {
		t.Errorf("parked for %q", b.parkedReasons())
	}

	b.receive(
		either("cid", "vip", 4, domain.FlagIn, "true", calling("spa_1", "aud_third")), // another id
		either("cid", "vip", 4, domain.FlagSilent, "7"),                               // no membership
		either("cid", "step", 4, domain.FlagIn, "true"),                               // may repeat, or not
		either("cid", "new", 4, domain.FlagIn, "true"))
	if n := len(b.parkedReasons()); n != 5 {
		t.Errorf("%d are parked: %q", n, b.parkedReasons())
	}
	b.balance()
	recount(t, b)
}
