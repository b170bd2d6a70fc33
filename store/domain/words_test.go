package domain

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAnIDIsReadAsItIsWritten: its text is in MoEngage and in operators' notes, so it never changes.
func TestAnIDIsReadAsItIsWritten(t *testing.T) {
	for text, id := range map[string]ID{
		"9c41e2f0-3e8-0":                 {0x9c41e2f0, 1000, 0},
		"00000001-1-a":                   {1, 1, 10},
		"ffffffff-ffffffffffffffff-ffff": {1<<32 - 1, 1<<64 - 1, 1<<16 - 1},
		"00000000-0-0":                   {},
	} {
		if got, err := ParseID(text); err != nil || got != id || id.String() != text || id.IsZero() != (id == ID{}) {
			t.Errorf("%s: %+v, %v; %+v is written %s", text, got, err, id, id)
		}
	}
	for _, text := range []string{"", "-", "--", "9c41e2f0", "9c41e2f0-3e8", "9c41e2f0-3e8-0-0", "g-1-0", "1-g-0", "1-1-g", "100000000-1-0", "1-10000000000000000-0", "1-1-10000", " 1-1-0"} {
		if got, err := ParseID(text); err == nil || got != (ID{}) || !strings.Contains(err.Error(), "9c41e2f0-3e8-0") {
			t.Errorf("%q is read as %+v, %v", text, got, err)
		}
	}
	ordered := []ID{{1, 1, 0}, {1, 1, 1}, {1, 2, 0}, {2, 0, 0}, {2, 0, 7}}
	for i, a := range ordered {
		for j, b := range ordered {
			if got, want := a.Compare(b), (i-j)/max(i-j, j-i, 1); got != want {
				t.Errorf("%s and %s compare as %d", a, b, got)
			}
		}
	}
}

// TestNumbersOnDiskHaveTheirWords: the words are in the JSON of commands, and a number that a newer version wrote has none.
func TestNumbersOnDiskHaveTheirWords(t *testing.T) {
	for n, want := range map[State]string{1: "pending", 2: "held", 3: "parked", 4: "delivered", 5: "superseded", 6: "cancelled", 7: "dropped", 8: "expired", 9: "withheld", 0: "", 99: ""} {
		if got := n.String(); got != want {
			t.Errorf("state %d is %q, want %q", n, got, want)
		}
		if got, ok := ParseState(want); want != "" && (got != n || !ok) {
			t.Errorf("%q is read as %d, %v", want, got, ok)
		}
	}
	for _, word := range []string{"", "lost", "Pending", "pending "} {
		if got, ok := ParseState(word); ok {
			t.Errorf("%q is the state %d", word, got)
		}
	}
	for n, want := range map[Kind]string{1: "attribute", 2: "event", 3: "cohort", 4: "list", 5: "received", 6: "delete", 0: "", 99: ""} {
		if got := n.String(); got != want {
			t.Errorf("kind %d is %q, want %q", n, got, want)
		}
	}
	for n, want := range map[Transition]string{1: "enter", 2: "exit", 3: "value", 0: "", 99: ""} {
		if got := n.String(); got != want {
			t.Errorf("transition %d is %q, want %q", n, got, want)
		}
	}
	for n, want := range map[Class]string{1: "audience", 2: "trait", 3: "journey_step", 0: "", 99: ""} {
		if got := n.String(); got != want {
			t.Errorf("class %d is %q, want %q", n, got, want)
		}
	}
	if ClassTrait.HasMembers() || !ClassAudience.HasMembers() || !ClassJourneyStep.HasMembers() {
		t.Error("audiences and journey steps have members, and traits have none")
	}
	for n, want := range map[Call]string{0: "unknown", 1: "identify", 2: "track", 3: "group", 4: "page", 5: "screen", 6: "alias", 7: "delete", 99: "unknown"} {
		if got := n.String(); got != want {
			t.Errorf("call %d is %q, want %q", n, got, want)
		}
	}
	for n, want := range map[Outcome]string{OutcomeIgnored: "ignored", OutcomeStale: "stale", OutcomeDuplicate: "duplicate", OutcomeUnchanged: "unchanged", OutcomeTransition: "transition", OutcomeParked: "parked", OutcomeUnknown: ""} {
		if got := n.String(); got != want {
			t.Errorf("outcome %d is %q, want %q", n, got, want)
		}
	}
}

// TestATimeThatIsNotTheEventsOwnSaysSo: docs/semantics.md has the words of event_time_source.
func TestATimeThatIsNotTheEventsOwnSaysSo(t *testing.T) {
	for s, want := range map[TimeSource]struct {
		word           string
		unread, listed bool
		sentence       string
	}{
		TimeOwn:         {"", false, false, ""},
		TimeNone:        {"receipt", false, false, "has no time"},
		TimeUnreadable:  {"unreadable", true, true, "cannot be read: this is its receipt"},
		TimeSecond:      {"timestamp", true, true, "its originalTimestamp cannot be read"},
		TimeUncorrected: {"uncorrected", true, true, "its sentAt cannot be read"},
		TimeAhead:       {"ahead", false, true, "more than five minutes ahead"},
		99:              {"", false, true, ""},
	} {
		code := ""
		if want.listed {
			code = want.word
		}
		if s.String() != want.word || s.Unread() != want.unread || s.UnreadCode() != code || !strings.Contains(s.Sentence(), want.sentence) || (s.Sentence() == "") != (want.sentence == "") {
			t.Errorf("%d: %q, unread %v, code %q, %q", s, s, s.Unread(), s.UnreadCode(), s.Sentence())
		}
	}
}

func TestAWordForAShellIsOneWord(t *testing.T) {
	for word, want := range map[string]string{
		"vip": "vip", "a_b-c./d:e@f%g+h,i=j": "a_b-c./d:e@f%g+h,i=j", "AZ09": "AZ09", "": "''", "two words": "'two words'", "-f": "'-f'", "a'b": `'a'\''b'`,
		"$(rm)": "'$(rm)'", "ü": "'ü'", "a;b": "'a;b'", "~": "'~'", "*": "'*'",
	} {
		if got := ShellWord(word); got != want {
			t.Errorf("%q becomes %s, want %s", word, got, want)
		}
	}
}

func TestASizeForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 1<<30 + 1<<29: "1.5 GiB", 1 << 40: "1.0 TiB", 1 << 50: "1.0 PiB", 1<<63 - 1: "8.0 EiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

func TestAPauseHoldsUntilItsEnd(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		pause *Pause
		holds bool
	}{
		"none": {nil, false}, "without an end": {&Pause{Since: at}, true}, "before its end": {&Pause{Until: at.Add(1)}, true}, "at its end": {&Pause{Until: at}, false}, "after its end": {&Pause{Until: at.Add(-1)}, false},
	} {
		if got := tt.pause.Holds(at); got != tt.holds {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTheNewestReceiptOfEachRouteIsHeard(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	var h LastReceived
	if !h.Last().IsZero() {
		t.Error("something was heard before the first event")
	}
	h.Note(&Event{Received: at})
	h.Note(&Event{Received: at.Add(-time.Hour)})
	h.Note(&Event{Received: at.Add(-time.Minute), Tracking: true})
	if want := (LastReceived{Webhook: at, Tracking: at.Add(-time.Minute)}); h != want || !h.Last().Equal(at) {
		t.Errorf("%+v", h)
	}
	h.Note(&Event{Received: at.Add(time.Minute), Tracking: true})
	if !h.Last().Equal(at.Add(time.Minute)) || !h.Webhook.Equal(at) {
		t.Errorf("%+v", h)
	}
}

func TestRefusalsOfOneKindAreCountedTogether(t *testing.T) {
	r := Refusal{Route: "webhook", Status: 401, Code: "invalid_signature", Delivery: true, Count: 7, Last: time.Now()}
	if got, want := r.OfKind(), (Refusal{Route: "webhook", Status: 401, Code: "invalid_signature", Delivery: true}); got != want {
		t.Errorf("%+v", got)
	}
	for _, tt := range []struct {
		r    Refusal
		want string
	}{
		{r, "401 invalid_signature at webhook"},
		{Refusal{Route: "other", Status: 404, Code: "not_found", Delivery: true}, "404 not_found at a path that takes no events"},
		{Refusal{Route: "tracking", Status: 405, Code: "method_not_allowed"}, "405 method_not_allowed at tracking, no delivery of Segment's"},
	} {
		if got := tt.r.Sentence(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// TestAnEventWithoutAUserIDIsOfItsNextBestIdentifier, as the policy says.
func TestAnEventWithoutAUserIDIsOfItsNextBestIdentifier(t *testing.T) {
	ann, anon, mail := Identifier{ID: "ann"}, Identifier{ID: "anon-1"}, Identifier{ID: "ann@example.com"}
	blocked, long := Identifier{ID: "null", Fault: "id_blocked"}, Identifier{ID: strings.Repeat("x", MaxUserID+1)}
	for name, tt := range map[string]struct {
		event            Event
		anonymous, email IdentityPolicy
		verdict          identityVerdict
		id, fault        string
	}{
		"a userId":                         {Event{User: ann, Anonymous: anon, Email: mail}, IdentityPark, IdentityPark, identityUsable, "ann", ""},
		"anonymous, parked":                {Event{Anonymous: anon, Email: mail}, IdentityPark, IdentityUse, IdentityParked, "anon-1", "anonymous"},
		"anonymous, used":                  {Event{Anonymous: anon}, IdentityUse, IdentityPark, identityUsable, "anon-1", ""},
		"anonymous, ignored":               {Event{Anonymous: anon}, IdentityIgnore, IdentityPark, IdentityIgnored, "anon-1", ""},
		"an address alone, parked":         {Event{Email: mail}, IdentityUse, IdentityPark, IdentityParked, "ann@example.com", "email_only"},
		"an address alone, used":           {Event{Email: mail}, IdentityPark, IdentityUse, identityUsable, "ann@example.com", ""},
		"an address alone, ignored":        {Event{Email: mail}, IdentityPark, IdentityIgnore, IdentityIgnored, "ann@example.com", ""},
		"nobody":                           {Event{}, IdentityUse, IdentityUse, IdentityParked, "", "no_identifier"},
		"an id that MoEngage refuses":      {Event{User: blocked}, IdentityPark, IdentityPark, IdentityParked, "null", "id_blocked"},
		"the longest id":                   {Event{User: Identifier{ID: strings.Repeat("x", MaxUserID)}}, IdentityPark, IdentityPark, identityUsable, strings.Repeat("x", MaxUserID), ""},
		"a longer one":                     {Event{User: long}, IdentityPark, IdentityPark, IdentityParked, "", "id_too_long"},
		"an anonymous id that is too long": {Event{Anonymous: long}, IdentityUse, IdentityPark, IdentityParked, "", "id_too_long"},
	} {
		who, verdict := IdentifyUser(&tt.event, &Policy{Anonymous: tt.anonymous, EmailOnly: tt.email})
		if verdict != tt.verdict || who.ID != tt.id || who.Fault != tt.fault {
			t.Errorf("%s: %+v, verdict %d", name, who, verdict)
		}
		if who.Fault != "" && (IdentitySentence(who.Fault) == "" || strings.HasPrefix(IdentitySentence(who.Fault), "MoEngage does not take")) {
			t.Errorf("%s has no sentence of its own", who.Fault)
		}
	}
	if got := IdentitySentence("odd"); !strings.HasSuffix(got, "odd") {
		t.Errorf("of an unknown reason: %q", got)
	}
}

// TestWhatATextMeansAsAnID: only blanks around an address are none of it.
func TestWhatATextMeansAsAnID(t *testing.T) {
	for text, want := range map[string]string{
		"ann": "ann", " ann ": " ann ", "": "", "  \t\n": "", "\u200e \u00a0": "", " ann@example.com\n": "ann@example.com", "\u200eann@example.com\u00a0": "ann@example.com", "a b": "a b",
	} {
		if got := CleanID(text); got != want {
			t.Errorf("%q is the id %q, want %q", text, got, want)
		}
	}
	for id, want := range map[string]bool{"ann": true, "ann smith~": true, "": true, "Zoë": true, "a\x00": false, "a\nb": false, "a\x7f": false, "\u0085": false, "\xff": false, "日本": true} {
		if got := Nameable(id); got != want {
			t.Errorf("%q can be named: %v", id, got)
		}
	}
}

// TestNamesAsTheyAreSent: what MoEngage reserves or refuses bears a prefix, its own attributes that may be updated keep their
// names, and it keeps 200 characters.
func TestNamesAsTheyAreSent(t *testing.T) {
	long := strings.Repeat("é", 201)
	for _, tt := range []struct{ name, attribute, event string }{
		{"vip", "vip", "vip"},
		{"", "segment_", "segment_"},
		{"id", "segment_id", "segment_id"},
		{"_id", "segment__id", "segment__id"},
		{"status", "segment_status", "status"},
		{"Status", "segment_Status", "Status"},
		{"user_id", "segment_user_id", "user_id"},
		{"moe_thing", "segment_moe_thing", "segment_moe_thing"},
		{"MOE_thing", "segment_MOE_thing", "segment_MOE_thing"},
		{"moe", "moe", "moe"},
		{"moe_sms_subscription", "moe_sms_subscription", "segment_moe_sms_subscription"},
		{long, strings.Repeat("é", 200), strings.Repeat("é", 200)},
		{strings.Repeat("x", 200), strings.Repeat("x", 200), strings.Repeat("x", 200)},
		{"moe_" + strings.Repeat("x", 200), "segment_moe_" + strings.Repeat("x", 188), "segment_moe_" + strings.Repeat("x", 188)},
	} {
		if got := SentName(KindAttribute, tt.name); got != tt.attribute {
			t.Errorf("the attribute %q is sent as %q, want %q", tt.name, got, tt.attribute)
		}
		if got := SentName(KindEvent, tt.name); got != tt.event {
			t.Errorf("the event %q is sent as %q, want %q", tt.name, got, tt.event)
		}
		if SentName(KindList, tt.name) != tt.attribute {
			t.Errorf("the list %q is not sent as an attribute", tt.name)
		}
	}
	for name, want := range map[string]string{
		"Gold": "Gold", "seg:gold": "seg_gold", `a|b*c?d\e<f>g=h$i"j`: "a_b_c_d_e_f_g_h_i_j", ".hidden": "hidden", ". . x": "x", " blank ": "blank", "a\nb": "a_b",
		"": "segment_cohort", "...": "segment_cohort", "\xff": "_", strings.Repeat("x", 201): strings.Repeat("x", 200), strings.Repeat("x", 199) + " y": strings.Repeat("x", 199),
	} {
		if got := SentName(KindCohort, name); got != want {
			t.Errorf("the cohort %q is kept as %q, want %q", name, got, want)
		}
	}
}

func TestThePolicyOfAComputation(t *testing.T) {
	send := func(s SendMethods) Policy { return Policy{Send: s} }
	r := Rules{Defaults: send(SendAsReceived), Sections: []Section{{Key: "vip", Policy: send(SendEvent)}, {ID: "aud_2", Policy: send(SendList)}, {Key: "vip", Policy: send(SendNone)}}}
	for _, tt := range []struct {
		key, id string
		want    SendMethods
	}{{"other", "aud_9", SendAsReceived}, {"vip", "aud_1", SendEvent}, {"vip", "aud_2", SendList}, {"other", "aud_2", SendList}, {"other", "", SendAsReceived}, {"", "", SendAsReceived}} {
		if got := r.For(tt.key, tt.id).Send; got != tt.want {
			t.Errorf("%s %s is sent by %d, want %d", tt.key, tt.id, got, tt.want)
		}
	}
	for methods, want := range map[SendMethods]bool{SendNone: false, SendAsReceived: true, SendAttribute: true, SendEvent: false, SendCohort: false, SendList: false, SendBoth: true} {
		if p := send(methods); p.SendsAttributes() != want {
			t.Errorf("%d sends attributes: %v", methods, !want)
		}
	}
	if !SendBoth.Has(SendAttribute) || SendAttribute.Has(SendBoth) || !SendNone.Has(SendNone) {
		t.Error("a set has every method of its parts")
	}
	for policy, want := range map[NullPolicy]string{NullSkip: "-", NullUnset: "null", NullEmpty: `""`} {
		p := Policy{OnNull: policy}
		got, sends := p.Sendable([]byte("null"))
		if !sends {
			got = []byte("-")
		}
		if other, sends := p.Sendable([]byte("5")); string(got) != want || !sends || string(other) != "5" {
			t.Errorf("%s sends %s for null, and %s for 5", policy, got, other)
		}
	}
	watched := Rules{Guard: Guard{Share: 0.3, Window: time.Hour}}
	for name, tt := range map[string]struct {
		r    Rules
		p    Policy
		want bool
	}{
		"watched": {watched, send(SendEvent), true}, "off": {Rules{Guard: Guard{Window: time.Hour}}, send(SendEvent), false}, "without a window": {Rules{Guard: Guard{Share: 1}}, send(SendEvent), false},
		"guard = false": {watched, Policy{Send: SendEvent, Unguarded: true}, false}, "nothing is sent": {watched, send(SendNone), false},
	} {
		if got := tt.r.Guards(&tt.p); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if (&Rules{}).AsksConsent() || !(&Rules{Defaults: Policy{Consent: []string{"m"}}}).AsksConsent() || !(&Rules{Sections: []Section{{}, {Policy: Policy{Consent: []string{"m"}}}}}).AsksConsent() {
		t.Error("consent is asked for by the defaults or by a section")
	}
	if got := ConsentSentence([]string{"Marketing", "Ads"}); !strings.HasSuffix(got, "Marketing, Ads") {
		t.Error(got)
	}
}

// TestTheAgeOfAnEvent is at its receipt. A clock that had jumped ahead makes no event old.
func TestTheAgeOfAnEvent(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	e := Event{Received: at, Time: at.Add(-time.Hour)}
	ahead := Event{Received: at, Time: at.Add(-time.Hour), ClockAhead: 10 * time.Minute}
	if e.Age() != time.Hour || ahead.Age() != 50*time.Minute || !ahead.Earliest().Equal(at.Add(-10*time.Minute)) {
		t.Errorf("%v, %v", e.Age(), ahead.Age())
	}
	for limit, want := range map[time.Duration]bool{0: false, time.Hour - 1: true, time.Hour: false, 2 * time.Hour: false} {
		if p := (Policy{MaxEventAge: limit}); p.IsTooOld(&e) != want {
			t.Errorf("older than %v: %v", limit, !want)
		}
	}
}

// TestPropertiesLeaveOutWhatCannotBeSent: nulls stand in their place.
func TestPropertiesLeaveOutWhatCannotBeSent(t *testing.T) {
	raw := `{"x":1,"properties":{"a":1e999,"b":2,"c":[9e999]},"y":2}`
	span := func(text string) Span { return Span{uint32(strings.Index(raw, text)), uint32(len(text))} }
	e := Event{Raw: []byte(raw), Object: span(`{"a":1e999,"b":2,"c":[9e999]}`), LeftOut: []Column{{"a", span("1e999")}, {"c", span("[9e999]")}}}
	if got := string(e.Properties()); got != `{"a":null,"b":2,"c":null}` || string(e.Raw) != raw {
		t.Errorf("%s of %s", got, e.Raw)
	}
	if got := e.LeftOutNames(); !slices.Equal(got, []string{"a", "c"}) || !e.leavesOut("a") || e.leavesOut("b") {
		t.Errorf("left out are %v", got)
	}
	if got := (&Event{}).Properties(); len(got) != 0 {
		t.Errorf("of no object %s", got)
	}
	for s, want := range map[Span]string{{0, 1}: "{", {0, uint32(len(raw))}: raw, {uint32(len(raw)), 0}: "", {1, uint32(len(raw))}: "", {1 << 31, 1 << 31}: "", {1<<32 - 1, 1<<32 - 1}: ""} {
		if got := string(e.Bytes(s)); got != want {
			t.Errorf("%+v spans %q, want %q", s, got, want)
		}
	}
}

// TestOtherTraitsAreForwardedByName, or all of them, but for the computation's own and those that cannot be sent.
func TestOtherTraitsAreForwardedByName(t *testing.T) {
	raw := `{"vip":true,"city":"Rome","age":5,"bad":1e999,"col":1}`
	e := Event{Call: CallIdentify, Raw: []byte(raw), Object: Span{0, uint32(len(raw))}, LeftOut: []Column{{Name: "bad"}}, Columns: []Column{{Name: "col"}}}
	for name, tt := range map[string]struct {
		forward []string
		change  func(e *Event, p *Policy)
		want    string
	}{
		"none":              {nil, nil, ""},
		"one":               {[]string{"city", "unknown", "vip"}, nil, "city"},
		"all":               {[]string{"*"}, nil, "age city"},
		"of a track":        {[]string{"*"}, func(e *Event, _ *Policy) { e.Call = CallTrack }, ""},
		"nothing is sent":   {[]string{"*"}, func(_ *Event, p *Policy) { p.Send = SendNone }, ""},
		"without an object": {[]string{"*"}, func(e *Event, _ *Policy) { e.Object = Span{} }, ""},
		"what is no object": {[]string{"*"}, func(e *Event, _ *Policy) { e.Object = Span{1, 5} }, ""},
	} {
		own, p := e, Policy{Send: SendEvent, ForwardTraits: tt.forward}
		if tt.change != nil {
			tt.change(&own, &p)
		}
		var names []string
		for n := range p.ForwardedTraits("vip", &own) {
			names = append(names, n)
		}
		if slices.Sort(names); strings.Join(names, " ") != tt.want {
			t.Errorf("%s: %v, want %s", name, names, tt.want)
		}
	}
}

// TestOnlyTheReservedEventIsAboutConsentAlone.
func TestOnlyTheReservedEventIsAboutConsentAlone(t *testing.T) {
	said := &Preferences{}
	for name, tt := range map[string]struct {
		e    Event
		want bool
	}{
		"it":                  {Event{Call: CallTrack, Name: "Segment Consent Preference Updated", Consent: said}, true},
		"without a statement": {Event{Call: CallTrack, Name: "Segment Consent Preference Updated"}, false},
		"of a computation":    {Event{Call: CallTrack, Name: "Segment Consent Preference Updated", Consent: said, Class: ClassAudience}, false},
		"another event":       {Event{Call: CallTrack, Name: "Order Completed", Consent: said}, false},
		"an identify":         {Event{Call: CallIdentify, Name: "Segment Consent Preference Updated", Consent: said}, false},
	} {
		if got := tt.e.IsConsentUpdate(); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestATimeThatIsNotBelievedIsOlder(t *testing.T) {
	s := Assertion{Time: 100, Since: 90}
	if s.Before(50); s.Time != 49 || s.Since != 49 {
		t.Errorf("%+v", s)
	}
	s = Assertion{Time: 100, Since: 20}
	if s.Before(50); s.Time != 49 || s.Since != 20 {
		t.Errorf("%+v", s)
	}
}

// TestNumbersOnDiskStay: old data opens for ever, see store/FORMAT.md.
func TestNumbersOnDiskStay(t *testing.T) {
	if EndpointTransition != 1 || EndpointCohort != 2 || EndpointDelete != 3 || Endpoints != 3 {
		t.Errorf("endpoints %d, %d, %d of %d", EndpointTransition, EndpointCohort, EndpointDelete, Endpoints)
	}
	for i, got := range []Call{CallUnknown, CallIdentify, CallTrack, CallGroup, CallPage, CallScreen, CallAlias, CallDelete} {
		if int(got) != i {
			t.Errorf("call %d has the number %d", i, got)
		}
	}
	for i, got := range []State{StatePending, StateHeld, StateParked, StateDelivered, StateSuperseded, StateCancelled, StateDropped, StateExpired, StateWithheld} {
		if int(got) != i+1 {
			t.Errorf("state %d has the number %d", i+1, got)
		}
	}
	for i, got := range []Kind{KindAttribute, KindEvent, KindCohort, KindList, KindReceived, KindDelete} {
		if int(got) != i+1 {
			t.Errorf("kind %d has the number %d", i+1, got)
		}
	}
	if ClassNone != 0 || ClassAudience != 1 || ClassTrait != 2 || ClassJourneyStep != 3 || TransitionEnter != 1 || TransitionExit != 2 || TransitionValue != 3 {
		t.Error("classes, or transitions")
	}
	if FlagSilent != 0 || FlagIn != 1 || FlagOut != 2 {
		t.Errorf("flags %d, %d, %d", FlagSilent, FlagIn, FlagOut)
	}
	if SendNone != 0 || SendAsReceived != 1 || SendAttribute != 2 || SendEvent != 4 || SendCohort != 8 || SendList != 16 || SendBoth != 6 {
		t.Error("ways of sending")
	}
}

// TestAListOfStatesIsItsCallersOwn: the completion of --state sorted out of it what did not match, and no state was "parked" after.
func TestAListOfStatesIsItsCallersOwn(t *testing.T) {
	clear(StateNames())
	if s, ok := ParseState("parked"); !ok || s != StateParked {
		t.Errorf("parked is %v, %v", s, ok)
	}
}
