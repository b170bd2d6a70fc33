package apply

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/state"
	"personasync/store/internal/statetest"
)

func faulty(reason string) statetest.Option {
	return func(e *domain.Event) { e.Fault, e.Sentence = reason, "as ingest says" }
}

// by has an event name its user by an anonymous id, an e-mail address, or neither.
func by(anonymous, email string) statetest.Option {
	return func(e *domain.Event) {
		e.User, e.Anonymous, e.Email = domain.Identifier{}, domain.Identifier{ID: anonymous}, domain.Identifier{ID: email}
	}
}

func in(space, id string) statetest.Option {
	return func(e *domain.Event) { e.Space, e.ComputationID = space, id }
}

func of(class domain.Class) statetest.Option { return func(e *domain.Event) { e.Class = class } }

// TestAnEventThatCannotBeUsedIsParkedWithItsReason: its bytes stay, and it changes nothing else.
func TestAnEventThatCannotBeUsedIsParkedWithItsReason(t *testing.T) {
	long := strings.Repeat("x", domain.MaxUserID+1)
	refused := func(e *domain.Event) { e.User.Fault = "id_blocked" }
	ignoring := func(r *domain.Rules) {
		r.Defaults.Anonymous, r.Defaults.EmailOnly = domain.IdentityUse, domain.IdentityUse
	}
	for _, tc := range []struct {
		name   string
		before []*domain.Event
		event  *domain.Event
		rules  func(*domain.Rules)
		reason string
		user   string // under whom it is listed
	}{
		{"ingest found a fault", nil, enter("ann", "vip", 1, faulty("undetermined")), nil, "undetermined", "ann"},
		{"a delete nobody vouches for", nil, enter("ann", "", 1, faulty("unverified_delete")), nil, "unverified_delete", "ann"},
		{"anonymous", nil, enter("", "vip", 1, by("a-1", "")), nil, "anonymous", "a-1"},
		{"an e-mail address only", nil, enter("", "vip", 1, by("", "ann@example.com")), nil, "email_only", "ann@example.com"},
		{"nobody", nil, enter("", "vip", 1, by("", "")), nil, "no_identifier", ""},
		{"anonymous, by the key of an audience whose id has a section", []*domain.Event{enter("bob", "vip", 1)}, enter("", "vip", 1, by("a-1", ""), in("", "")), func(r *domain.Rules) {
			p := r.Defaults
			p.Anonymous = domain.IdentityUse
			r.Sections = []domain.Section{{Key: "vip", ID: "aud_vip", Policy: p}}
		}, "", ""},
		{"an id that MoEngage blocks", nil, enter("null", "vip", 1, refused), nil, "id_blocked", "null"},
		{"an id that is too long", nil, enter(long, "vip", 1), nil, "id_too_long", long},
		{"an anonymous id that is too long", nil, enter("", "vip", 1, by(long, "")), ignoring, "id_too_long", long},
		{"a trait of an audience's id", []*domain.Event{enter("bob", "vip", 1)}, trait("ann", "vip", 1, "vip", "1"), nil, "", ""},
		{"a trait of an audience", []*domain.Event{enter("bob", "vip", 1)}, func() *domain.Event {
			e := trait("ann", "vip", 1, "vip", "1")
			e.ComputationID = "aud_vip"
			return e
		}(), nil, "class_conflict", "ann"},
		{"an audience of a trait", []*domain.Event{trait("bob", "vip", 1, "vip", "1")}, enter("ann", "vip", 1, in("spa_1", "tra_vip")), nil, "class_conflict", "ann"},
		{"an id under another key", []*domain.Event{trait("bob", "score", 1, "score", "1")}, enter("ann", "vip", 1, in("", "tra_score")), nil, "class_conflict", "ann"},
		{"a key of several spaces", []*domain.Event{enter("bob", "vip", 1), enter("bob", "vip", 1, in("spa_2", "aud_2"))}, enter("ann", "vip", 1, in("", "")), nil, "ambiguous_key", "ann"},
		{"a class that nobody knows", nil, enter("ann", "vip", 1, of(domain.ClassNone), faulty(domain.UnknownClass)), nil, "unknown_class", "ann"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := sending(t, domain.SendBoth)
			if tc.rules != nil {
				rules := statetest.Rules(domain.SendBoth)
				tc.rules(&rules)
				r.SetRules(rules)
			}
			r.events(tc.before...)
			was, fields := r.told(), r.State.Registry.Size()
			would := false
			r.Read(func(tx *state.Tx) { would = WouldPark(tx, tc.event) })
			came := r.event(tc.event)
			if would != (tc.reason != "") || (came == domain.OutcomeParked) != would {
				t.Fatalf("it would be parked: %v; it comes to %s", would, came)
			}
			if tc.reason == "" {
				return
			}
			r.wantTold(strings.TrimSpace(was + " " + tc.user + "?" + tc.reason + "(parked)"))
			if strings.Contains(tc.reason, "conflict") || tc.reason == "ambiguous_key" {
				if n := r.State.Registry.Size(); n != fields {
					t.Errorf("it made %d computations", n-fields)
				}
			}
			ch := r.changes()[len(r.changes())-1]
			if string(ch.Raw) != string(statetest.Frame(tc.event)) || ch.Sentence == "" || ch.ID.Seq != r.seq || ch.ID.Epoch != statetest.Epoch || ch.MessageID != tc.event.MessageID || !ch.Received.Equal(receipt) {
				t.Errorf("what is parked is %+v", ch)
			}
			if queued := len(r.queue()); queued != len(queuesOf(tc.user)) {
				t.Errorf("%d users have a parked event", queued)
			}
		})
	}
}

// queuesOf is the users that a parked event is listed under: one whose id can be a key.
func queuesOf(user string) []string {
	if user == "" || len(user) > domain.MaxUserID {
		return nil
	}
	return []string{user}
}

// queue returns the parked entries of all users' queues.
func (r *room) queue() (parked [][]byte) {
	r.Helper()
	for _, k := range r.Keys(state.BucketQueue) {
		if _, rest, ok := state.UserOf(k); ok && len(rest) == 14 && string(rest[:4]) == string(state.FieldKey(state.LaneParked)) {
			parked = append(parked, k)
		}
	}
	return parked
}

func TestAClassConflictNamesTheComputationAndTheCommand(t *testing.T) {
	r := sending(t, domain.SendBoth)
	e := trait("ann", "vip", 1, "vip", "1")
	e.ComputationID = "aud_vip"
	r.events(enter("bob", "vip", 1), e)
	r.wantCounts("vip", 1, 1, 0)
	ch := r.changes()[len(r.changes())-1]
	if want := "the event is of class trait, and the computation \"vip\" that it names is of class audience: nothing was changed; " +
		"look at what builds this event, or, if the computation was made by mistake, remove it with `personasync audience forget aud_vip` and retry the event"; ch.Sentence != want {
		t.Errorf("it says %s", ch.Sentence)
	}
}

func TestAJourneyStepAndAnAudienceAreOneClass(t *testing.T) {
	r := sending(t, domain.SendBoth)
	if got := r.events(enter("ann", "vip", 1, of(domain.ClassJourneyStep)), exit("ann", "vip", 2)); got != "transition transition" {
		t.Errorf("they come to %s", got)
	}
	r.wantCounts("vip", 0, 1, 1)
}

func TestAnEventWithoutAClassTakesThatOfItsComputation(t *testing.T) {
	classless := func(e *domain.Event) *domain.Event {
		e.Class, e.Fault, e.Sentence = domain.ClassNone, domain.UnknownClass, "no class"
		return e
	}
	silent := classless(trait("ann", "score", 2, "score", "2"))
	silent.Columns = nil
	flagged := classless(enter("ann", "score", 2, in("spa_1", "tra_score")))
	for _, tc := range []struct {
		name  string
		known *domain.Event
		event *domain.Event
		want  string
	}{
		{"of an audience", enter("bob", "vip", 1), classless(enter("ann", "vip", 1)), "transition"},
		{"of a trait", trait("bob", "score", 1, "score", "1"), classless(trait("ann", "score", 1, "score", "1")), "transition"},
		{"unknown", nil, classless(enter("ann", "vip", 1)), "parked"},
		{"of a journey step, which may repeat or not", enter("bob", "vip", 1, of(domain.ClassJourneyStep)), classless(enter("ann", "vip", 1)), "parked"},
		{"of an audience, with values", enter("bob", "score", 1), classless(trait("ann", "score", 1, "score", "1")), "parked"},
		{"of a trait, without values", trait("bob", "score", 1, "score", "1"), silent, "parked"},
		{"of a trait, with a flag and no values", trait("bob", "score", 1, "score", "1"), flagged, "ignored"},
		{"of several", enter("bob", "vip", 1), classless(enter("ann", "vip", 1, in("", ""))), "transition"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := sending(t, domain.SendNone)
			if tc.known != nil {
				r.event(tc.known)
			}
			if got := r.event(tc.event).String(); got != tc.want {
				t.Errorf("it comes to %s, want %s", got, tc.want)
			}
			if tc.event.Fault == "" {
				t.Error("the event itself was changed")
			}
		})
	}
}

func TestAnOrdinaryEventIsIgnored(t *testing.T) {
	r := sending(t, domain.SendBoth)
	if got := r.events(enter("ann", "", 1, of(domain.ClassNone), in("", ""))); got != "ignored" || r.State.Registry.Size() != 0 {
		t.Errorf("it comes to %s, and there are %d computations", got, r.State.Registry.Size())
	}
	r.wantTold("")
}

func TestWhoAnEventIsAboutIsUpToThePolicy(t *testing.T) {
	for _, tc := range []struct {
		name   string
		policy domain.IdentityPolicy
		event  *domain.Event
		want   string
		told   string
	}{
		{"an anonymous id is used", domain.IdentityUse, enter("", "vip", 1, by("a-1", "")), "transition", "a-1.vip=true"},
		{"an anonymous id is ignored", domain.IdentityIgnore, enter("", "vip", 1, by("a-1", "")), "ignored", ""},
		{"an address is used", domain.IdentityUse, enter("", "vip", 1, by("", "a@b.c")), "transition", "a@b.c.vip=true"},
		{"an address is ignored", domain.IdentityIgnore, enter("", "vip", 1, by("", "a@b.c")), "ignored", ""},
		{"the user id goes first", domain.IdentityIgnore, enter("ann", "vip", 1, func(e *domain.Event) { e.Anonymous.ID, e.Email.ID = "a-1", "a@b.c" }), "transition", "ann.vip=true"},
		{"then the anonymous id", domain.IdentityUse, enter("", "vip", 1, by("a-1", "a@b.c")), "transition", "a-1.vip=true"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := sending(t, domain.SendAttribute, func(r *domain.Rules) { r.Defaults.Anonymous, r.Defaults.EmailOnly = tc.policy, tc.policy })
			if got := r.event(tc.event).String(); got != tc.want {
				t.Errorf("it comes to %s, want %s", got, tc.want)
			}
			r.wantTold(tc.told)
		})
	}
}

// TestAnEventThatPassesThroughIsOneForEachMessage: a flag in it sets the membership, and does not decide.
func TestAnEventThatPassesThroughIsOneForEachMessage(t *testing.T) {
	silent := func(e *domain.Event) { e.Flag, e.Class = domain.FlagSilent, domain.ClassJourneyStep }
	nameless := func(e *domain.Event) { e.Name = "" }
	for _, tc := range []struct {
		name   string
		send   domain.SendMethods
		events []*domain.Event
		want   string
		told   string
		is     string
	}{
		{"two messages that say the same", domain.SendAsReceived, []*domain.Event{enter("ann", "vip", 1, step("Step", "m-1")), enter("ann", "vip", 1, step("Step", "m-2"))}, "transition transition", "ann!Step ann!Step", "in"},
		{"one message twice", domain.SendAsReceived, []*domain.Event{enter("ann", "vip", 1, step("Step", "m-1")), enter("ann", "vip", 1, step("Step", "m-1"))}, "transition duplicate", "ann!Step", "in"},
		{"one message of two users", domain.SendEvent, []*domain.Event{enter("ann", "vip", 1, step("Step", "m-1")), enter("bob", "vip", 1, step("Step", "m-1"))}, "transition transition", "ann!Step bob!Step", "in"},
		{"one message of two computations", domain.SendEvent, []*domain.Event{enter("ann", "vip", 1, step("Step", "m-1")), enter("ann", "new", 1, step("Step", "m-1"))}, "transition transition", "ann!Step ann!Step", "in"},
		{"no flag", domain.SendEvent, []*domain.Event{enter("ann", "vip", 1, step("Step", "m-1"), silent)}, "transition", "ann!Step", "nothing"},
		{"an older flag is sent, and sets nothing", domain.SendEvent, []*domain.Event{enter("ann", "vip", 2, step("Step", "m-1")), exit("ann", "vip", 1, step("Step", "m-2"))}, "transition transition", "ann!Step ann!Step", "in"},
		{"an exit of a stranger is sent", domain.SendEvent, []*domain.Event{exit("ann", "vip", 1, step("Step", "m-1"))}, "transition", "ann!Step", "out"},
		{"without a name it is an enter", domain.SendEvent, []*domain.Event{enter("ann", "vip", 1, step("Step", "m-1"), nameless)}, "transition", "ann!Audience Entered", "in"},
		{"… or an exit", domain.SendEvent, []*domain.Event{exit("ann", "vip", 1, step("Step", "m-1"), nameless)}, "transition", "ann!Audience Exited", "out"},
		{"a policy without events sets the attribute", domain.SendAttribute, []*domain.Event{enter("ann", "vip", 1, step("Step", "m-1")), enter("ann", "vip", 2, step("Step", "m-2"))}, "transition unchanged", "ann.vip=true", "in"},
		{"a policy that sends nothing", domain.SendNone, []*domain.Event{enter("ann", "vip", 1, step("Step", "m-1"))}, "transition", "", "in"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := sending(t, tc.send)
			if got := r.events(tc.events...); got != tc.want {
				t.Errorf("they come to %s, want %s", got, tc.want)
			}
			r.wantTold(tc.told)
			if got := r.membership("ann", "vip"); got != tc.is {
				t.Errorf("ann is %s, want %s", got, tc.is)
			}
		})
	}
}

func TestAReplayOfAPassThroughEventIsStale(t *testing.T) {
	r := sending(t, domain.SendEvent, func(r *domain.Rules) { r.MessageIDs = 20 * time.Minute })
	if got := r.events(enter("ann", "vip", 9, step("Step", "m-1")), enter("ann", "vip", 10, step("Step", "m-2"))); got != "stale transition" {
		t.Errorf("they come to %s", got)
	}
	r.wantTold("ann!Step")
	for_ever := sending(t, domain.SendEvent, func(r *domain.Rules) { r.MessageIDs = 0 })
	if got := for_ever.events(enter("ann", "vip", -1000000, step("Step", "m-1"))); got != "transition" {
		t.Errorf("where message ids do not expire an old one is %s", got)
	}
}

func TestAPassThroughEventOfATraitKeepsItsValue(t *testing.T) {
	r := sending(t, domain.SendBoth)
	e := trait("ann", "score", 1, "score", "5")
	step("Scored", "m-1")(e)
	if got := r.events(e, e); got != "transition duplicate" {
		t.Errorf("it comes to %s", got)
	}
	r.wantTold("ann.score=5 ann!Scored")
}

func TestAPassThroughEventThatIsTooOldSetsTheStateAlone(t *testing.T) {
	r := sending(t, domain.SendEvent, func(r *domain.Rules) { r.Defaults.MaxEventAge = time.Minute })
	if got := r.events(enter("ann", "vip", 1, step("Step", "m-1"))); got != "transition" || r.membership("ann", "vip") != "in" {
		t.Errorf("it comes to %s", got)
	}
	r.wantTold("")
}

// TestARepeatWithACorrectedTimeIsKnownByItsMessage: its time follows from its receipt, so it is another each time.
func TestARepeatWithACorrectedTimeIsKnownByItsMessage(t *testing.T) {
	r := sending(t, domain.SendEvent)
	shifted := func(minute int) *domain.Event {
		e := enter("ann", "vip", minute)
		e.MessageID, e.ClockShift = "m-1", time.Second
		return e
	}
	if got := r.events(shifted(1), shifted(2)); got != "transition duplicate" {
		t.Errorf("they come to %s", got)
	}
}

func TestTraitsOfAnIdentifyAreForwarded(t *testing.T) {
	forward := func(names ...string) func(*domain.Rules) {
		return func(r *domain.Rules) { r.Defaults.ForwardTraits = names }
	}
	traits := statetest.WithTraits("vip", "true", "city", `"Rome"`, "age", "7")
	for _, tc := range []struct {
		name   string
		names  []string
		events []*domain.Event
		want   string
		told   string
	}{
		{"none", nil, []*domain.Event{enter("ann", "vip", 1, traits)}, "transition", "ann.vip=true"},
		{"one", []string{"city"}, []*domain.Event{enter("ann", "vip", 1, traits)}, "transition", `ann.vip=true ann.city="Rome"`},
		{"all", []string{"*"}, []*domain.Event{enter("ann", "vip", 1, traits)}, "transition", `ann.vip=true ann.age=7 ann.city="Rome"`},
		{"once", []string{"*"}, []*domain.Event{enter("ann", "vip", 1, traits), enter("ann", "vip", 2, traits)}, "transition unchanged", `ann.vip=true ann.age=7 ann.city="Rome"`},
		{"a change of one is a transition", []string{"age"}, []*domain.Event{enter("ann", "vip", 1, traits), enter("ann", "vip", 2, statetest.WithTraits("vip", "true", "age", "8"))}, "transition transition", "ann.vip=true ann.age=7(superseded) ann.age=8"},
		{"not of a track", []string{"*"}, []*domain.Event{enter("ann", "vip", 1, traits, track("Joined"))}, "transition", "ann.vip=true"},
		{"not under the name of a computation", []string{"*"}, []*domain.Event{enter("ann", "city", 1), enter("ann", "vip", 1, traits)}, "transition transition", "ann.city=true ann.vip=true ann.age=7"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := sending(t, domain.SendAttribute, forward(tc.names...))
			if got := r.events(tc.events...); got != tc.want {
				t.Errorf("they come to %s, want %s", got, tc.want)
			}
			r.wantTold(tc.told)
		})
	}
}

func TestAComputationIsFoundByWhatTheEventNames(t *testing.T) {
	r := sending(t, domain.SendNone)
	r.events(enter("ann", "vip", 1, in("", "")))
	if f := r.field("vip"); f.Space != "" || f.ID != "" {
		t.Fatalf("it begins as %+v", f)
	}
	r.events(enter("ann", "vip", 2, in("spa_1", "")), enter("ann", "vip", 3, in("", "aud_1")), enter("ann", "vip", 4, in("spa_1", "aud_1")))
	if f := r.field("vip"); f.Space != "spa_1" || f.ID != "aud_1" || r.State.Registry.Size() != 1 {
		t.Errorf("it became %+v, one of %d", f, r.State.Registry.Size())
	}
	r.events(enter("ann", "vip", 5, in("spa_2", "aud_2")))
	if n := r.State.Registry.Size(); n != 2 {
		t.Errorf("another space with another id makes %d computations", n)
	}
	r.Reopen()
	if len(r.State.Registry.ByID["aud_1"]) != 1 || len(r.State.Registry.ByKey["vip"]) != 2 {
		t.Error("the file has other computations")
	}
}

func TestNamesFromOutsideAreBounded(t *testing.T) {
	was := state.MaxFields
	state.MaxFields = 3
	t.Cleanup(func() { state.MaxFields = was })
	r := sending(t, domain.SendAttribute, func(r *domain.Rules) { r.Defaults.ForwardTraits = []string{"*"} })
	for i, step := range []struct {
		event *domain.Event
		want  string
	}{
		{enter("ann", "a", 1), "transition"},
		{trait("ann", "row", 1, "x", "1", "y", "2"), "parked"}, // the trait and two columns: one too many
		{trait("ann", "row", 1, "x", "1"), "transition"},
		{enter("ann", "b", 1), "parked"},
		{enter("ann", "a", 2, statetest.WithTraits("a", "true", "new", "1")), "parked"},
		{enter("ann", "a", 3), "unchanged"},
		{trait("ann", "row", 2, "x", "2"), "transition"},
	} {
		if got := r.event(step.event).String(); got != step.want {
			t.Errorf("event %d is %s, want %s", i, got, step.want)
		}
	}
	for _, ch := range r.changes() {
		if ch.State == domain.StateParked && (ch.Reason != "too_many_names" || !strings.Contains(ch.Sentence, "3 of them are known")) {
			t.Errorf("parked as %s: %s", ch.Reason, ch.Sentence)
		}
	}
	if n := r.State.Registry.Size(); n != 3 {
		t.Errorf("there are %d", n)
	}
}

func TestADeleteErasesOnce(t *testing.T) {
	remove := func(user, message string, minute int) *domain.Event {
		e := enter(user, "", minute)
		e.Call, e.Class, e.MessageID, e.Flag = domain.CallDelete, domain.ClassNone, message, domain.FlagSilent
		return e
	}
	again := func(e *domain.Event, at time.Duration) *domain.Event {
		e.Received, e.Time = receipt.Add(at), receipt.Add(at)
		return e
	}
	r := sending(t, domain.SendBoth)
	r.events(enter("ann", "vip", 1), enter("bob", "vip", 1))
	if got := r.event(remove("ann", "d-1", 5)); got != domain.OutcomeIgnored || r.membership("ann", "vip") != "nothing" || r.membership("bob", "vip") != "in" {
		t.Errorf("a delete is %s; ann is %s, bob %s", got, r.membership("ann", "vip"), r.membership("bob", "vip"))
	}
	r.wantCounts("vip", 1, 2, 0)
	if l := r.State.Ledger; l.Changes.Forgotten != 2 || l.Tombstones != 1 || l.Users != 1 {
		t.Errorf("the ledger has %+v", l)
	}
	for _, tc := range []struct {
		event *domain.Event
		want  string
	}{
		{enter("ann", "vip", 29), "ignored"},                         // received later, and not newer
		{remove("ann", "d-1", 5), "stale"},                           // a redelivery
		{enter("ann", "vip", 31), "transition"},                      // newer
		{again(remove("ann", "d-1", 5), 2*time.Minute), "duplicate"}, // the same message with a time of its receipt
		{again(remove("ann", "d-2", 5), 3*time.Minute), "ignored"},   // another request for erasure
		{again(enter("ann", "vip", 0), 4*time.Minute), "transition"}, // afresh
		{remove("", "d-3", 5), "parked"},                             // it names nobody
		{remove(strings.Repeat("x", 513), "d-4", 5), "parked"},       // nobody can be called that
		{func() *domain.Event { e := remove("", "d-5", 5); e.Anonymous.ID = "bob"; return e }(), "ignored"},
	} {
		if got := r.event(tc.event).String(); got != tc.want {
			t.Errorf("%s %s is %s, want %s", tc.event.MessageID, tc.event.User.ID, got, tc.want)
		}
	}
	if r.membership("bob", "vip") != "nothing" {
		t.Error("a delete by anonymous id erased nobody")
	}
	r.wantCounts("vip", 1, 4, 0)
	r.Balance()
}

func TestADeleteIsIgnoredWhereTheRulesSaySo(t *testing.T) {
	r := sending(t, domain.SendBoth, func(r *domain.Rules) { r.OnDelete = "ignore" })
	e := enter("ann", "", 2)
	e.Call = domain.CallDelete
	if got := r.events(enter("ann", "vip", 1), e); got != "transition ignored" || r.membership("ann", "vip") != "in" || r.State.Ledger.Tombstones != 0 {
		t.Errorf("they come to %s, ann is %s", got, r.membership("ann", "vip"))
	}
}

func TestACorruptRecordIsParkedAndCounted(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.event(enter("ann", "vip", 1))
	r.Do(func(tx *state.Tx) { Damaged(tx, 2, []byte("rubbish"), fmt.Errorf("a checksum")) })
	r.seq = 2
	ch := r.changes()[2]
	if r.State.Applied != 2 || ch.Reason != "corrupt" || string(ch.Raw) != "rubbish" || ch.ID != (domain.ID{Epoch: statetest.Epoch, Seq: 2}) || ch.User != "" {
		t.Errorf("parked as %+v", ch)
	}
	r.Read(func(tx *state.Tx) {
		if got := state.ReadVerdicts(tx.Bucket(state.BucketVerdicts), 2).Of(2); got != domain.OutcomeParked {
			t.Errorf("its outcome is %s", got)
		}
	})
	if l := r.State.Ledger.Events; l.Accepted != 2 || l.Parked != 1 {
		t.Errorf("%+v", l)
	}
	if !strings.Contains(r.Logged(), "record=2") {
		t.Error("the log does not name the record")
	}
	r.Balance()
}

func TestRecordsWithoutAnEventAreCounted(t *testing.T) {
	r := sending(t, domain.SendBoth)
	r.record(record.Record{Erased: true}, nil)
	if r.State.Ledger.Events.Accepted != 0 || r.State.Applied != 1 {
		t.Errorf("an erased record was applied before: %+v", r.State.Ledger.Events)
	}
	r.record(record.Record{}, nil)
	if l := r.State.Ledger.Events; l.Accepted != 1 || l.Lost != 1 {
		t.Errorf("a lost record: %+v", l)
	}
	r.Do(func(tx *state.Tx) { Missing(tx, 3) })
	if l := r.State.Ledger.Events; l.Accepted != 4 || l.Lost != 4 {
		t.Errorf("three that are missing: %+v", l)
	}
	if log := r.Logged(); !strings.Contains(log, "first=3") || !strings.Contains(log, "last=5") {
		t.Errorf("the log says %s", log)
	}
	r.Do(func(tx *state.Tx) { Missing(tx, record.RestoreJump) })
	if l := r.State.Ledger.Events; l.Accepted != 4 || l.Lost != 4 {
		t.Errorf("the jump of a restore counts as records: %+v", l)
	}
	r.Balance()
}

func TestNewRulesHoldForWhatFollows(t *testing.T) {
	r := sending(t, domain.SendAttribute)
	r.event(enter("ann", "vip", 1))
	rules := statetest.Rules(domain.SendEvent)
	r.record(record.Record{Rules: &rules}, nil)
	r.event(enter("bob", "vip", 1))
	r.wantTold("ann.vip=true bob!Audience Entered")
	r.Reopen()
	if r.State.Rules.Defaults.Send != domain.SendEvent || r.State.Applied != 3 || r.State.Ledger.Events.Accepted != 2 {
		t.Errorf("the file has %+v", r.State.Rules)
	}
}

// TestTwoOfOneNameDoNotFight: the later one is held, until the rules give it another name.
func TestTwoOfOneNameDoNotFight(t *testing.T) {
	r := sending(t, domain.SendBoth)
	other := in("spa_2", "aud_2")
	if got := r.events(enter("ann", "vip", 1), enter("ann", "vip", 2, other), enter("bob", "vip", 1, other)); got != "transition transition transition" {
		t.Errorf("they come to %s", got)
	}
	r.wantTold("ann.vip=true ann!Audience Entered ann.vip=true(held) ann!Audience Entered(held) bob.vip=true(held) bob!Audience Entered(held)")
	if ch := r.changes()[2]; ch.Reason != "key_conflict" || !strings.Contains(ch.Sentence, "personasync audience adopt vip aud_2") {
		t.Errorf("held as %s: %s", ch.Reason, ch.Sentence)
	}
	rules := statetest.Rules(domain.SendBoth)
	apart := rules.Defaults
	apart.Attribute = "vip_2"
	rules.Sections = []domain.Section{{ID: "aud_2", Policy: apart}}
	r.record(record.Record{Rules: &rules}, nil)
	r.wantTold("ann.vip=true ann!Audience Entered ann.vip_2=true ann!Audience Entered bob.vip_2=true bob!Audience Entered")
	if f := r.State.Registry.ByID["aud_2"][0]; f.Held != 0 {
		t.Errorf("%d are still counted as held", f.Held)
	}
}
