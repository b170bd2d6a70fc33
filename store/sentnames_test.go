package store

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/outbox"
	"personasync/store/internal/state"
)

// drainNames delivers everything, and fails if an element says two things under one name. The names are
// those that leave, by the tests' own list of what MoEngage refuses or cuts.
func (b *bench) drainNames(as map[string]string) {
	b.Helper()
	for f := b.take(); f != nil; f = b.take() {
		for _, d := range f.Users {
			seen := map[string]bool{}
			for _, a := range d.Attributes {
				name := a.Name
				if n, renamed := as[name]; renamed {
					name = n
				}
				if a.Kind != domain.KindList && seen[name] {
					b.Errorf("one element says %q twice: %+v", name, d.Attributes)
				}
				seen[name] = true
			}
		}
		b.settle(f, domain.Delivered)
	}
}

// heldReasons lists what is held, as kind, computation, column and reason.
func (b *bench) heldReasons() (list []string) {
	b.Helper()
	page, _, err := b.Changes(domain.OutboxFilter{State: domain.StateHeld})
	must(b, err)
	for _, c := range page {
		list = append(list, c.Kind+" "+c.Computation+" "+c.Reason)
	}
	slices.Sort(list)
	return list
}

// TestTwoOwnersOfOneNameAsItLeaves: names were compared before they are renamed and cut, so status and
// segment_status, and names equal in their first 200 characters, overwrote each other.
func TestTwoOwnersOfOneNameAsItLeaves(t *testing.T) {
	costly(t, manyStores)
	long := strings.Repeat("n", 200)
	as := map[string]string{"status": "segment_status", "id": "segment_id", "moe_x": "segment_moe_x", long + "_1": long, long + "_2": long}
	forwarding := rules(domain.SendAttribute)
	forwarding.Defaults.ForwardTraits = []string{"*"}
	beside := func(object string) func(*domain.Event) {
		return func(e *domain.Event) { e.Raw, e.Object = []byte(object), domain.Span{Off: 0, Len: uint32(len(object))} }
	}
	listed := rules(domain.SendAttribute | domain.SendList)
	listed.Defaults.ListAttribute = "status"
	for name, c := range map[string]struct {
		rules  domain.Rules
		events []*domain.Event
		said   string
		held   []string
	}{
		"two traits": {rules(domain.SendAttribute), []*domain.Event{trait("ann", "status", 1, "status", `"gold"`), trait("ann", "segment_status", 2, "segment_status", `"silver"`)},
			`ann.status="gold"`, []string{"attribute segment_status key_conflict"}},
		"the other way round": {rules(domain.SendAttribute), []*domain.Event{trait("ann", "segment_status", 1, "segment_status", `"silver"`), trait("ann", "status", 2, "status", `"gold"`)},
			`ann.segment_status="silver"`, []string{"attribute status key_conflict"}},
		"an audience and a trait": {rules(domain.SendAttribute), []*domain.Event{event("ann", "id", true, 1), trait("ann", "segment_id", 2, "segment_id", "7")},
			`ann.id=true`, []string{"attribute segment_id key_conflict"}},
		"equal in 200 characters": {rules(domain.SendAttribute), []*domain.Event{event("ann", long+"_1", true, 1), event("ann", long+"_2", true, 2)},
			"ann." + long + "_1=true", []string{"attribute " + long + "_2 key_conflict"}},
		"columns of two SQL traits": {rules(domain.SendAttribute), []*domain.Event{trait("ann", "a", 1, "moe_x", "1"), trait("ann", "b", 2, "segment_moe_x", "2", "y", "3")},
			`ann.moe_x=1 ann.y=3`, []string{"attribute b key_conflict"}},
		"two columns of one row": {rules(domain.SendAttribute), []*domain.Event{trait("ann", "a", 1, "moe_x", "1", "segment_moe_x", "2")},
			`ann.moe_x=1`, []string{"attribute a key_conflict"}},
		"two forwarded traits": {forwarding, []*domain.Event{event("ann", "vip", true, 1, beside(`{"vip":true,"segment_status":2,"status":1}`))},
			`ann.vip=true ann.segment_status=2`, []string{"attribute  key_conflict"}},
		"a forwarded trait and a computation of another name": {forwarding, []*domain.Event{trait("ann", "segment_status", 1, "segment_status", `"silver"`), event("ann", "vip", true, 2, beside(`{"vip":true,"status":1}`))},
			`ann.segment_status="silver" ann.vip=true`, []string{"attribute  key_conflict"}},
		"a list and an attribute": {listed, []*domain.Event{event("ann", "vip", true, 1), trait("ann", "segment_status", 2, "segment_status", "2")},
			`ann.vip=true ann.status=true`, []string{"attribute segment_status key_conflict"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, c.rules)
			b.receive(c.events...)
			b.drainNames(as)
			b.wantSaid(c.said)
			if held := b.heldReasons(); !slices.Equal(held, c.held) {
				t.Errorf("held %q, want %q", held, c.held)
			}
			b.balance()
			recount(t, b)
			b.reopen(c.rules)
			if held := b.heldReasons(); !slices.Equal(held, c.held) {
				t.Errorf("held after a restart: %q, want %q", held, c.held)
			}
		})
	}
}

// TestCohortsOfOneNameAsItLeaves: seg:gold and seg_gold are one cohort, and leaving the one removed the
// members of the other.
func TestCohortsOfOneNameAsItLeaves(t *testing.T) {
	b := open(t, rules(domain.SendCohort))
	b.receive(event("ann", "seg:gold", true, 1), event("ann", "seg_gold", true, 2), event("ann", "seg_gold", false, 3), event("bea", ".seg:gold ", true, 3))
	var said []string
	for {
		f, _, err := b.Take(context.Background(), onCohorts(noon.Add(2*state.Day)))
		must(t, err)
		if f == nil {
			break
		}
		for _, d := range f.Users {
			said = append(said, d.User+" "+d.Attributes[0].Name+" "+d.Attributes[0].Transition.String())
		}
		b.settle(f, domain.Delivered)
	}
	if !slices.Equal(said, []string{"ann seg:gold enter"}) {
		t.Errorf("cohorts were told %q", said)
	}
	if held := b.heldReasons(); !slices.Equal(held, []string{"cohort .seg:gold  key_conflict", "cohort seg_gold key_conflict"}) {
		t.Errorf("held %q", held)
	}
	b.balance()
}

// TestAColumnGivesWayToAComputation: the event of a trait that lost its own key makes columns of what stands
// beside it. It took the name of an audience, whose changes were held for good.
func TestAColumnGivesWayToAComputation(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(trait("ann", "last_product", 1, "vip", "true"))
	b.receive(event("bea", "vip", true, 2))
	b.drainNames(nil)
	b.wantSaid("ann.vip=true bea.vip=true")
	if held := b.heldReasons(); len(held) > 0 {
		t.Errorf("held %q", held)
	}
	b.receive(trait("ann", "last_product", 3, "vip", "false"), event("ann", "vip", true, 4))
	b.drainNames(nil)
	b.wantSaid("ann.vip=true")
	if held := b.heldReasons(); !slices.Equal(held, []string{"attribute last_product key_conflict"}) {
		t.Errorf("held %q", held)
	}
	b.balance()
	recount(t, b)
}

// TestOneNameIsSaidOnceInAnElement: after a change of the rules two changes that wait bear one name. They
// leave one after the other, the newer last.
func TestOneNameIsSaidOnceInAnElement(t *testing.T) {
	r := rules(domain.SendAttribute)
	named := func(key, attribute string) domain.Section {
		p := policy(domain.SendAttribute)
		p.Attribute = attribute
		return domain.Section{Key: key, Policy: p}
	}
	r.Sections = []domain.Section{named("a", "status"), named("b", "other")}
	b := open(t, r)
	b.receive(trait("ann", "b", 1, "b", "1"), trait("ann", "a", 2, "a", `"old"`))
	r.Sections = []domain.Section{named("a", "another"), named("b", "segment_status")}
	must(t, b.SetRules(context.Background(), r))
	b.receive(trait("ann", "b", 3, "b", `"new"`))
	b.drainNames(map[string]string{"status": "segment_status"})
	b.wantSaid(`ann.status="old" ann.segment_status="new"`)
	b.balance()
}

// TestAConflictSaysWhatToType: the sentence named no computation, and the command had no arguments.
func TestAConflictSaysWhatToType(t *testing.T) {
	costly(t, manyStores)
	forwarding := rules(domain.SendAttribute)
	forwarding.Defaults.ForwardTraits = []string{"*"}
	beside := func(e *domain.Event) {
		e.Raw = []byte(`{"vip":true,"status":1}`)
		e.Object = domain.Span{Off: 0, Len: uint32(len(e.Raw))}
	}
	for name, c := range map[string]struct {
		rules  domain.Rules
		events []*domain.Event
		want   string
	}{
		"made again": {rules(domain.SendAttribute), []*domain.Event{event("ann", "my vip's", true, 1), event("ann", "my vip's", true, 2, again)},
			`"my vip's" is sent by my vip's (id aud_my vip's) already: if Segment made it again, ` + "`personasync audience adopt 'my vip'\\''s' aud_again`" +
				` has the new id continue it; else give my vip's (id aud_again) another attribute in a [[computation]] section with id = "aud_again"`},
		"cohorts": {rules(domain.SendCohort), []*domain.Event{event("ann", "seg:gold", true, 1), event("ann", "seg_gold", true, 2)},
			`"seg_gold" is sent by seg:gold (id aud_seg:gold) already: give seg_gold (id aud_seg_gold) another cohort_name in a [[computation]] section with id = "aud_seg_gold"`},
		"a trait of an audience's key": {rules(domain.SendAttribute), []*domain.Event{event("ann", "vip", true, 1), trait("ann", "vip", 2, "vip", "1")},
			`"vip" is sent by vip (id aud_vip) already: give vip (id tra_vip) another attribute in a [[computation]] section with id = "tra_vip"`},
		"a column": {rules(domain.SendAttribute), []*domain.Event{event("ann", "vip", true, 1), trait("ann", "row", 2, "vip", "1")},
			`"vip" is sent by vip (id aud_vip) already: rename the column "vip" in Segment, or give vip (id aud_vip) another attribute in a [[computation]] section with id = "aud_vip"`},
		"two columns": {rules(domain.SendAttribute), []*domain.Event{trait("ann", "row", 1, "x", "1"), trait("ann", "other", 2, "x", "1")},
			`"x" is sent by the column "x" of row already: rename one of the two in Segment`},
		"a forwarded trait": {forwarding, []*domain.Event{trait("ann", "segment_status", 1, "segment_status", "1"), event("ann", "vip", true, 2, beside)},
			`"segment_status" is sent by segment_status (id tra_segment_status) already: leave "status" out of forward_traits, or rename the trait`},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, c.rules)
			b.receive(c.events...)
			page, _, err := b.Changes(domain.OutboxFilter{State: domain.StateHeld})
			must(t, err)
			if len(page) != 1 {
				t.Fatalf("held are %+v", page)
			}
			id, err := domain.ParseID(page[0].ID)
			must(t, err)
			held, _, err := b.Change(id)
			must(t, err)
			if held.Sentence != c.want {
				t.Errorf("held for\n%s, want\n%s", held.Sentence, c.want)
			}
		})
	}
}

// TestWhatIsHeldOfAColumnIsHeldOfItsTrait: the list of computations showed none.
func TestWhatIsHeldOfAColumnIsHeldOfItsTrait(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1), trait("ann", "row", 2, "vip", "1", "x", "2"))
	list, err := b.Computations()
	must(t, err)
	row := list[slices.IndexFunc(list, func(c domain.ComputationInfo) bool { return c.Key == "row" })]
	if row.Held != 1 || row.Conflict == nil || row.Conflict.Key != "vip" || row.Conflict.Name != "vip" {
		t.Errorf("%+v", row)
	}
}

// TestAnAdoptedAudienceIsOne: status counted the one that it continues as well.
func TestAnAdoptedAudienceIsOne(t *testing.T) {
	b := open(t, rules(domain.SendAttribute))
	b.receive(event("ann", "vip", true, 1), event("ann", "vip", true, 2, again))
	if c := b.balance(); c.Audiences != 2 {
		t.Fatalf("%d audiences", c.Audiences)
	}
	b.adopts(false)
	if c := b.balance(); c.Audiences != 1 {
		t.Errorf("%d audiences", c.Audiences)
	}
}

// TestWhatAnOlderVersionHeldIsDecidedAnew: a column had the name of an audience, whose changes were held; by
// today's rules the audience has it. Nothing would have released them but a change of the config.
func TestWhatAnOlderVersionHeldIsDecidedAnew(t *testing.T) {
	r := rules(domain.SendAttribute)
	b := open(t, r)
	b.receive(trait("ann", "row", 1, "vip", "1"))
	b.drain()
	b.said()
	b.measure(func(x *state.Tx) { // as it was before: the rules without a word on names, the column first
		x.State.Rules.Names = 0
		text, err := json.Marshal(&x.State.Rules)
		must(t, err)
		x.Put(x.Bucket(state.BucketMeta), state.MetaRules, text)
		f := x.NewField(&state.Field{Space: "spa_1", Key: "vip", ID: "aud_vip", Class: domain.ClassAudience})
		u, p := x.User("bob"), x.State.Rules.For("vip", "aud_vip")
		e := event("bob", "vip", true, 2)
		ch := outbox.Draft(x, u, f, &p, &outbox.Cause{Seq: x.State.Applied, Slots: 9, Event: e}, domain.KindAttribute, domain.TransitionEnter)
		ch.Name, ch.Value = "vip", domain.JSONTrue
		x.State.Ledger.Changes.Created++
		outbox.HoldConflict(x, u, f, ch, x.Entry(u, f.Number))
		x.Write(u, f.Number)
	})
	b.reopen(r)
	must(t, b.Applied(context.Background()))
	b.drain()
	b.wantSaid("bob.vip=true")
	if held := b.heldReasons(); len(held) > 0 {
		t.Errorf("held %q", held)
	}
	b.balance()
	recount(t, b)
}
