package state

import (
	"crypto/sha256"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

func audience(key, space, id string) *Field {
	return &Field{Key: key, Space: space, ID: id, Class: domain.ClassAudience}
}

func column(key, name string) *Field { return &Field{Key: key, Column: name, Class: domain.ClassTrait} }

func TestAFieldHasTheKindOfItsColumn(t *testing.T) {
	p := domain.Policy{Send: domain.SendBoth | domain.SendCohort | domain.SendList, Attribute: "", CohortName: "Very important", ListAttribute: "lists"}
	for _, tc := range []struct {
		name      string
		field     *Field
		kind      domain.Kind
		endpoint  domain.Endpoint
		attribute string
		sql       string
		audience  bool
		readable  bool
	}{
		{"an audience", audience("vip", "s", "a"), domain.KindAttribute, domain.EndpointTransition, "vip", "", true, true},
		{"a trait", column("score", ""), domain.KindAttribute, domain.EndpointTransition, "score", "", false, true},
		{"a column", column("row", "city"), domain.KindAttribute, domain.EndpointTransition, "city", "city", false, true},
		{"a forwarded trait", column("", "city"), domain.KindAttribute, domain.EndpointTransition, "city", "city", false, true},
		{"a cohort", column("vip", CohortColumn), domain.KindCohort, domain.EndpointCohort, "Very important", "", false, false},
		{"a list", column("vip", ListColumn), domain.KindList, domain.EndpointTransition, "lists", "", false, true},
		{"a forwarded trait of a target's name", column("", CohortColumn), domain.KindAttribute, domain.EndpointTransition, CohortColumn, CohortColumn, false, true},
		{"a former audience", &Field{Key: "vip", Class: domain.ClassAudience, Flags: FormerMark}, domain.KindAttribute, domain.EndpointTransition, "vip", "", false, true},
		{"a journey step", &Field{Key: "j", Class: domain.ClassJourneyStep}, domain.KindAttribute, domain.EndpointTransition, "j", "", true, true},
	} {
		f := tc.field
		if f.Kind() != tc.kind || f.Endpoint() != tc.endpoint || f.Attribute(&p) != tc.attribute || f.SQLColumn() != tc.sql || f.Audience() != tc.audience || f.ReadableBy(&p) != tc.readable {
			t.Errorf("%s: kind %s, endpoint %d, attribute %q, column %q, audience %v, readable %v", tc.name, f.Kind(), f.Endpoint(), f.Attribute(&p), f.SQLColumn(), f.Audience(), f.ReadableBy(&p))
		}
	}
	p.Attribute, p.CohortName = "renamed", ""
	if got := audience("vip", "", "").Attribute(&p); got != "renamed" {
		t.Errorf("a configured attribute is %q", got)
	}
	if got := column("vip", CohortColumn).Attribute(&p); got != "vip" {
		t.Errorf("a cohort without a name is %q", got)
	}
	if got := ColumnName(CohortColumn); got != "cohort" || ColumnName("city") != "city" {
		t.Errorf("a column named as a target is %q", got)
	}
	for send, want := range map[domain.SendMethods][3]bool{
		domain.SendNone: {}, domain.SendEvent: {}, domain.SendAttribute: {true, false, false}, domain.SendAsReceived: {true, false, false},
		domain.SendCohort: {false, true, false}, domain.SendList: {false, false, true},
	} {
		q := domain.Policy{Send: send}
		if got := [3]bool{audience("vip", "", "").toldBy(&q), column("vip", CohortColumn).toldBy(&q), column("vip", ListColumn).toldBy(&q)}; got != want {
			t.Errorf("sent as %d: %v", send, got)
		}
	}
}

func TestMembersNeverGoBelowZero(t *testing.T) {
	f := &Field{Members: 1}
	for range 3 {
		f.Leave()
	}
	if f.Members != 0 {
		t.Errorf("there are %d", f.Members)
	}
}

func TestACallIsHeardOnce(t *testing.T) {
	f := new(Field)
	for i, tc := range []struct {
		sort int
		call domain.Call
		want bool
	}{
		{KeptIdentify, domain.CallUnknown, false}, {KeptOne, domain.CallIdentify, false}, {KeptIdentify, domain.CallIdentify, true},
		{KeptIdentify, domain.CallIdentify, false}, {KeptTrack, domain.CallTrack, true}, {KeptTrack, domain.CallTrack, false},
	} {
		if got := f.NoteCall(tc.sort, tc.call); got != tc.want {
			t.Errorf("call %d is new: %v", i, got)
		}
	}
	if f.Former() || f.Gone() || f.Flags != 1<<KeptIdentify|1<<KeptTrack {
		t.Errorf("it has the marks %b", f.Flags)
	}
	if f.Flags |= GoneMark; !f.Former() || !f.Gone() {
		t.Error("a removed field is not former")
	}
}

func TestAFieldIsReadAsItWasWritten(t *testing.T) {
	f := &Field{
		Number: 9, Space: "s", Key: "k", Column: "c", ID: "i", Class: domain.ClassAudience, Members: 1, Entered: 2, Exited: 3, Held: 4, LastEvent: noon, Flags: 5,
		Exits: ExitWindow{Since: noon, Seq: 6, Members: 7, Left: 8, Tripped: noon.Add(1), Until: 9, Swept: []byte("s"), Undone: RecordRange{10, 11}},
	}
	got, err := DecodeField(9, f.Encode(nil))
	if err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := DecodeField(8, f.Encode(nil)); !errors.Is(err, wire.ErrDamaged) {
		t.Errorf("under another number: %v", err)
	}
	if !f.Exits.Undone.Has(10) || f.Exits.Undone.Has(11) || f.Exits.Undone.Has(9) || (RecordRange{}).Has(0) {
		t.Error("a range has other records")
	}
	bad := *f
	bad.Members, bad.Exits.Members = math.MaxUint64, math.MaxUint64-1
	if got, err = DecodeField(9, bad.Encode(nil)); err != nil || got.Members != 0 || got.Exits.Members != 0 {
		t.Errorf("a counter that an earlier version let go below zero is %d, %d, %v", got.Members, got.Exits.Members, err)
	}
	bad.Members, bad.Class = 5, domain.ClassTrait
	if got, err = DecodeField(9, bad.Encode(nil)); err != nil || got.Members != 0 {
		t.Errorf("a trait has %d members, %v", got.Members, err)
	}
	whole := f.Encode(nil)
	body := unsealed(whole)
	end := len(body) - 2 // without the window that is not undone yet
	two := append([]byte{2}, body[1:end]...)
	if got, err = DecodeField(9, rekeyed(two, FieldKey(9))); err != nil || got.Exits.Until != 9 || got.Exits.Undone != (RecordRange{}) || got.Flags != 5 {
		t.Errorf("of version 2: %+v, %v", got, err)
	}
	for version, counters := range map[byte][3]uint64{3: {}, 4: {1, 0, 0}, 5: {0, 1, 0}, 6: {0, 0, 1}} { // each is written only where there is something of it
		f.Withheld, f.Rollout, f.Paused = counters[0], counters[1], counters[2]
		frame := f.Encode(nil)
		if got, err = DecodeField(9, frame); err != nil || frame[0] != version || !reflect.DeepEqual(got, f) {
			t.Errorf("of version %d, want %d: %+v, %v", frame[0], version, got, err)
		}
	}
	w := f.Exits
	one := append([]byte{1}, body[1:len(body)-len(w.encode(nil))-1]...)
	if got, err = DecodeField(9, rekeyed(one, FieldKey(9))); err != nil || got.Members != 1 || got.Flags != 0 || !reflect.DeepEqual(got.Exits, ExitWindow{}) {
		t.Errorf("of version 1: %+v, %v", got, err)
	}
	if _, err = DecodeField(9, rekeyed(append([]byte{fieldVersion + 1}, body[1:]...), FieldKey(9))); !errors.Is(err, wire.ErrNewer) {
		t.Errorf("of a newer version: %v", err)
	}
	if _, err = DecodeField(9, nil); err == nil {
		t.Error("nothing is a field")
	}
}

// registry has the fields given, numbered in order.
func registry(rules *domain.Rules, fields ...*Field) *Registry {
	for i, f := range fields {
		f.Number = uint32(i)
	}
	return newRegistry(fields, rules)
}

func TestAnEventFindsItsComputation(t *testing.T) {
	event := func(key, space, id string) *domain.Event {
		return &domain.Event{Key: key, Space: space, ComputationID: id, Class: domain.ClassAudience}
	}
	former := audience("vip", "s1", "old")
	former.Flags = FormerMark
	for _, tc := range []struct {
		name      string
		known     []*Field
		event     *domain.Event
		want      int // number, -1: none
		ambiguous bool
	}{
		{"nothing known", nil, event("vip", "s1", "a1"), -1, false},
		{"by id, space and key", []*Field{audience("vip", "s1", "a1")}, event("vip", "s1", "a1"), 0, false},
		{"by id alone", []*Field{audience("vip", "s1", "a1")}, event("", "", "a1"), 0, false},
		{"by id, with another key and no space", []*Field{audience("vip", "s1", "a1")}, event("new", "", "a1"), 0, false},
		{"by id, with another key in its space", []*Field{audience("vip", "s1", "a1")}, event("new", "s1", "a1"), -1, false},
		{"an id in another space", []*Field{audience("vip", "s1", "a1")}, event("vip", "s2", "a1"), -1, false},
		{"one without a space takes the first", []*Field{audience("vip", "", "a1")}, event("vip", "s2", "a1"), 0, false},
		{"by key alone", []*Field{audience("vip", "s1", "a1")}, event("vip", "", ""), 0, false},
		{"by key and space", []*Field{audience("vip", "s1", "a1"), audience("vip", "s2", "a2")}, event("vip", "s2", ""), 1, false},
		{"a key of two spaces", []*Field{audience("vip", "s1", "a1"), audience("vip", "s2", "a2")}, event("vip", "", ""), -1, true},
		{"a key of two ids in one space", []*Field{audience("vip", "s1", "a1"), audience("vip", "s1", "a2")}, event("vip", "s1", ""), -1, true},
		{"an id that is in two spaces", []*Field{audience("vip", "s1", "a1"), audience("vip", "s2", "a1")}, event("vip", "", "a1"), -1, true},
		{"… and the event names one", []*Field{audience("vip", "s1", "a1"), audience("vip", "s2", "a1")}, event("vip", "s2", "a1"), 1, false},
		{"the space of the event goes before none", []*Field{audience("vip", "", "a1"), audience("vip", "s1", "a1")}, event("vip", "s1", "a1"), 1, false},
		{"… in either order", []*Field{audience("vip", "s1", "a1"), audience("vip", "", "a1")}, event("vip", "s1", "a1"), 0, false},
		{"the key decides between two of an id", []*Field{audience("old", "", "a1"), audience("vip", "", "a1")}, event("vip", "", "a1"), 1, false},
		{"another id of that key", []*Field{audience("vip", "s1", "a1")}, event("vip", "s1", "a2"), -1, false},
		{"a key without an id takes one", []*Field{audience("vip", "", "")}, event("vip", "s1", "a1"), 0, false},
		{"a former one by its id", []*Field{former, audience("vip", "s1", "new")}, event("vip", "s1", "old"), 0, false},
		{"a former one not by its key", []*Field{former}, event("vip", "s1", ""), -1, false},
		{"a live one before a former one of its id", []*Field{former, audience("vip", "s1", "old")}, event("vip", "s1", "old"), 1, false},
		{"by key, two stored of one id", []*Field{audience("vip", "", "a1"), audience("vip", "s1", "a1")}, event("vip", "", ""), 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, f := range tc.known {
				f.Number = 0
			}
			r := registry(&domain.Rules{}, tc.known...)
			f, ambiguous := r.Find(tc.event)
			got := -1
			if f != nil {
				got = int(f.Number)
			}
			if got != tc.want || ambiguous != tc.ambiguous {
				t.Errorf("it finds %d, ambiguous: %v", got, ambiguous)
			}
		})
	}
}

func TestAClassThatDoesNotFitIsFound(t *testing.T) {
	vip, score := audience("vip", "s1", "a1"), &Field{Key: "score", Space: "s1", ID: "t1", Class: domain.ClassTrait}
	r := registry(&domain.Rules{}, vip, score)
	for _, tc := range []struct {
		f     *Field
		event domain.Event
		want  *Field
	}{
		{vip, domain.Event{Class: domain.ClassAudience}, nil}, {vip, domain.Event{Class: domain.ClassJourneyStep}, nil}, {vip, domain.Event{Class: domain.ClassTrait}, vip},
		{score, domain.Event{Class: domain.ClassAudience}, score}, {score, domain.Event{Class: domain.ClassTrait}, nil},
		{nil, domain.Event{Class: domain.ClassAudience, ComputationID: "t1"}, score}, {nil, domain.Event{Class: domain.ClassAudience, ComputationID: "t1", Space: "s1"}, score},
		{nil, domain.Event{Class: domain.ClassAudience, ComputationID: "t1", Space: "s2"}, nil}, {nil, domain.Event{Class: domain.ClassTrait, ComputationID: "t1"}, nil}, {nil, domain.Event{Class: domain.ClassTrait, ComputationID: "zz"}, nil},
	} {
		if got := r.OtherClass(tc.f, &tc.event); got != tc.want {
			t.Errorf("%+v of %v: %v", tc.event, tc.f, got)
		}
	}
}

func TestComputationsAreNamedByKeyOrID(t *testing.T) {
	one, two, gone := audience("vip", "s1", "a1"), audience("vip", "s2", "a2"), audience("gone", "s1", "a3")
	former := audience("vip", "s1", "a4")
	gone.Flags, former.Flags = GoneMark, FormerMark
	r := registry(&domain.Rules{}, one, two, gone, former, audience("new", "s1", "a5"), column("vip", CohortColumn))
	for key, want := range map[string][]*Field{"vip": {one, two}, "a1": {one}, "a2": {two}, "gone": nil, "a3": nil, "a4": nil} {
		if got := r.Computations(key); !slices.Equal(got, want) {
			t.Errorf("%s names %v", key, got)
		}
	}
	if f, err := r.One("new"); err != nil || f.ID != "a5" {
		t.Errorf("%v, %v", f, err)
	}
	if _, err := r.One("a4"); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("%v", err)
	}
	var several *AmbiguousError
	if _, err := r.One("vip"); !errors.As(err, &several) || !slices.Equal(several.IDs, []string{"a1", "a2"}) || !strings.Contains(err.Error(), "give one of their ids") {
		t.Errorf("%v", err)
	}
	for _, tc := range [][3]string{{"vip", "a1", "a1"}, {"vip", "", "vip"}, {"new", "a5", "new"}, {"", "a5", "a5"}} {
		if got := r.argument(tc[0], tc[1]); got != tc[2] {
			t.Errorf("%s with the id %s is typed as %s", tc[0], tc[1], got)
		}
	}
	if r.Size() != 5 || len(r.Cohorts) != 1 {
		t.Errorf("%d fields, %d cohorts", r.Size(), len(r.Cohorts))
	}
}

func TestTheFieldsOfAComputationStandTogether(t *testing.T) {
	vip, cohort, list := audience("vip", "s", "a"), audience("vip", "s", "a"), audience("vip", "s", "a")
	cohort.Column, list.Column = CohortColumn, ListColumn
	row, a, b := audience("row", "s", "r"), audience("row", "s", "r"), audience("row", "s", "r")
	row.Class, a.Column, a.Class, b.Column, b.Class = domain.ClassTrait, "a", domain.ClassTrait, "b", domain.ClassTrait
	a.Held, vip.Held = 2, 3
	forwarded, other := column("", "city"), audience("vip", "s2", "a2")
	r := registry(&domain.Rules{}, vip, cohort, list, row, a, b, forwarded, other)
	if got := r.TargetFields(vip); !slices.Equal(got, []*Field{vip, cohort, list}) || len(r.TargetFields(other)) != 1 {
		t.Errorf("the targets are %v", got)
	}
	for f, want := range map[*Field]*Field{vip: vip, cohort: vip, list: vip, a: a, forwarded: forwarded} {
		if got := r.ComputationOf(f); got != want {
			t.Errorf("%v speaks for %v", got, f)
		}
	}
	if got := r.Family(vip); !slices.Equal(got, []*Field{vip, cohort, list}) {
		t.Errorf("the family is %v", got)
	}
	if got := r.Family(forwarded); !slices.Equal(got, []*Field{forwarded}) {
		t.Errorf("the family of a forwarded trait is %v", got)
	}
	if got := r.HeldColumns(); len(got) != 1 || !slices.Equal(got[row], []*Field{a}) || SumHeld([]*Field{a, vip}) != 5 {
		t.Errorf("held columns are %v", got)
	}
	r.Unname(cohort)
	if len(r.Cohorts) != 0 || r.Beside(vip, CohortColumn) != nil {
		t.Error("an unnamed cohort is found")
	}
	orphan := column("zoo", CohortColumn)
	if got := r.ComputationOf(orphan); got != orphan {
		t.Errorf("%v speaks for a target without its computation", got)
	}
}

// TestOneNameHasOneOwner: names are compared as they are sent.
func TestOneNameHasOneOwner(t *testing.T) {
	long := strings.Repeat("x", domain.MaxName)
	send := func(s domain.SendMethods) domain.Rules {
		return domain.Rules{Defaults: domain.Policy{Send: s, ListAttribute: "lists"}}
	}
	cohort := func(key string) *Field { return column(key, CohortColumn) }
	list := func(key string) *Field { return column(key, ListColumn) }
	for _, tc := range []struct {
		name   string
		rules  domain.Rules
		fields []*Field
		want   []int // the rival of each, -1: none
	}{
		{"two of one key", send(domain.SendAttribute), []*Field{audience("vip", "s1", "a1"), audience("vip", "s2", "a2")}, []int{-1, 0}},
		{"two of one key that send events", send(domain.SendEvent), []*Field{audience("vip", "s1", "a1"), audience("vip", "s2", "a2")}, []int{-1, 0}},
		{"two that MoEngage would cut to one", send(domain.SendAttribute), []*Field{audience(long+"1", "s", "a1"), audience(long+"2", "s", "a2")}, []int{-1, 0}},
		{"one that is renamed to another's name", send(domain.SendAttribute), []*Field{audience("segment_id", "s", "a1"), audience("id", "s", "a2")}, []int{-1, 0}},
		{"two keys", send(domain.SendAttribute), []*Field{audience("vip", "s", "a1"), audience("new", "s", "a2")}, []int{-1, -1}},
		{"a column and a later computation", send(domain.SendAttribute), []*Field{column("row", "vip"), audience("vip", "s", "a1")}, []int{1, -1}},
		{"a computation and a column", send(domain.SendAttribute), []*Field{audience("vip", "s", "a1"), column("row", "vip")}, []int{-1, 0}},
		{"a forwarded trait and a later column", send(domain.SendAttribute), []*Field{column("", "city"), column("row", "city")}, []int{1, -1}},
		{"two columns", send(domain.SendAttribute), []*Field{column("row", "city"), column("raw", "city")}, []int{-1, 0}},
		{"cohorts of one name", send(domain.SendCohort), []*Field{cohort("a:b"), cohort("a*b")}, []int{-1, 0}},
		{"entries of one list", send(domain.SendList), []*Field{list("a"), list("b")}, []int{-1, -1}},
		{"two entries of one list under one key", send(domain.SendList), []*Field{list("a"), func() *Field { f := list("a"); f.ID = "x"; return f }()}, []int{-1, 0}},
		{"an attribute named as the list", send(domain.SendAttribute | domain.SendList), []*Field{list("a"), audience("lists", "s", "a1")}, []int{-1, 0}},
		{"a former one", send(domain.SendAttribute), []*Field{func() *Field { f := audience("vip", "s", "a0"); f.Flags = FormerMark; return f }(), audience("vip", "s", "a1")}, []int{1, -1}},
		{"two that have names in the config", domain.Rules{Defaults: domain.Policy{Send: domain.SendAttribute}, Sections: []domain.Section{{ID: "a2", Policy: domain.Policy{Send: domain.SendAttribute, Attribute: "other"}}}},
			[]*Field{audience("vip", "s1", "a1"), audience("vip", "s2", "a2")}, []int{-1, -1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := registry(&tc.rules, tc.fields...)
			for i, f := range tc.fields {
				p := tc.rules.For(f.Key, f.ID)
				got := -1
				if x := r.Rival(f, &p, &tc.rules); x != nil {
					got = int(x.Number)
				}
				if got != tc.want[i] || r.Conflicted(f, &p, &tc.rules) != (got >= 0) {
					t.Errorf("field %d gives way to %d, want %d", i, got, tc.want[i])
				}
			}
		})
	}
}

func TestATraitThatAComputationDescribesIsNotForwarded(t *testing.T) {
	rules := domain.Rules{Defaults: domain.Policy{Send: domain.SendAttribute}}
	r := registry(&rules, audience("vip", "s", "a"), column("row", "city"), column("", "age"), audience("id", "s", "b"))
	for name, want := range map[string]bool{"vip": true, "city": true, "age": false, "new": false, "id": true, "segment_id": false} {
		if got := r.CoversTrait(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAConflictSaysWhatToDo(t *testing.T) {
	rules := domain.Rules{Defaults: domain.Policy{Send: domain.SendAttribute | domain.SendCohort | domain.SendList, ListAttribute: "lists"}}
	for _, tc := range []struct {
		name   string
		fields []*Field // the last is asked about
		want   []string
	}{
		{"made again", []*Field{audience("vip", "s1", "a1"), audience("vip", "s2", "a2")}, []string{`"vip" is sent by vip (id a1) already`, "`personasync audience adopt vip a2`", `with id = "a2"`}},
		{"an odd key", []*Field{audience("-v p", "s1", "a1"), audience("-v p", "s2", "a2")}, []string{"`personasync audience adopt -- '-v p' a2`"}},
		{"a column of a computation's name", []*Field{audience("vip", "s1", "a1"), column("row", "vip")}, []string{`rename the column "vip" in Segment, or give vip (id a1) another attribute in a [[computation]] section with id = "a1"`}},
		{"two columns", []*Field{column("row", "city"), column("raw", "city")}, []string{`"city" is sent by the column "city" of row already: rename one of the two in Segment`}},
		{"a forwarded trait", []*Field{audience("city", "", ""), column("", "city")}, []string{`"city" is sent by city already: leave "city" out of forward_traits, or rename the trait`}},
		{"two keys", []*Field{audience("segment_id", "s", "a1"), audience("id", "s", "")}, []string{`"segment_id" is sent by segment_id (id a1) already: give id another attribute in a [[computation]] section with key = "id"`}},
		{"cohorts", []*Field{column("a:b", CohortColumn), column("a*b", CohortColumn)}, []string{`"a_b" is sent by a:b already: give a*b another cohort_name`}},
		{"an attribute of the list's name", []*Field{column("a", ListColumn), audience("lists", "s", "a1")}, []string{`"lists" is sent by a already`}},
		{"a list of an attribute's name", []*Field{audience("lists", "s", "a1"), column("a", ListColumn)}, []string{"give a another list_attribute"}},
		{"a former one under a forwarded trait", []*Field{column("", "vip"), audience("vip", "s", "a1")}, []string{`"vip" is sent by vip (id a1) already`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := registry(&rules, tc.fields...)
			f := tc.fields[len(tc.fields)-1]
			p := rules.For(f.Key, f.ID)
			got := r.ConflictSentence(f, &p, &rules)
			for _, want := range tc.want {
				if !strings.Contains(got, want) {
					t.Errorf("it says %s\nwant %s", got, want)
				}
			}
		})
	}
}

func TestParkedChangesAreRememberedForReaders(t *testing.T) {
	p := NewParkings(noon)
	start := p.Number()
	park := func(from, n int) {
		var newly NewlyParked
		for i := range n {
			newly.ParkedNow(&Stored{Change: domain.Change{ID: domain.ID{Seq: uint64(from + i)}, User: "ann", Value: []byte("1"), Reason: "r", Answer: domain.Answer{Body: "b", At: noon}}, Raw: []byte("raw")})
		}
		p.Merge(newly.Parkings, newly.ParkedAll)
	}
	var to uint64
	park(0, 3)
	list, skipped := p.Since(start, &to)
	if len(list) != 3 || skipped != 0 || to != start+3 || list[0].Value != nil || list[0].Raw != nil || list[0].Answer != (domain.Answer{At: noon}) || list[0].State != domain.StateParked || list[0].Reason != "r" {
		t.Errorf("%d, %d skipped, the first %+v", len(list), skipped, list[0])
	}
	if list, skipped = p.Since(start+2, &to); len(list) != 1 || list[0].ID.Seq != 2 || skipped != 0 {
		t.Errorf("behind two: %d", len(list))
	}
	if list, skipped = p.Since(start+3, &to); len(list) != 0 || skipped != 0 || to != start+3 {
		t.Errorf("behind all: %d", len(list))
	}
	if list, skipped = p.Since(5, &to); len(list) != 3 || skipped != 0 { // of an earlier process
		t.Errorf("of an older cursor: %d, %d skipped", len(list), skipped)
	}
	park(3, ParkingsKept+10)
	if list, skipped = p.Since(start, &to); len(list) != ParkingsKept || skipped != 13 || to != start+ParkingsKept+13 {
		t.Errorf("of very many: %d, %d skipped", len(list), skipped)
	}
	var none *Parkings
	none.Merge(list, 1)
	if list, skipped = none.Since(0, &to); none.Number() != 0 || list != nil || skipped != 0 {
		t.Error("the files of a stopped agent remember some")
	}
}

// TestADigestOfAnOlderVersionIsKnown: it was taken of the text as it came.
func TestADigestOfAnOlderVersionIsKnown(t *testing.T) {
	text := []byte(`[ "shoes", "hats", "gloves" ]`)
	sum := sha256.Sum256(text)
	if !(LastSent{Kind: digestSent, Value: sum[:16]}).Is(text) {
		t.Error("what MoEngage was told would be sent again")
	}
}

// TestAnAudienceIsAComputationWithMembers that is in use: no trait, no column or target of one, and no former one.
func TestAnAudienceIsAComputationWithMembers(t *testing.T) {
	former := audience("vip", "s", "a1")
	former.Flags |= FormerMark
	for name, tc := range map[string]struct {
		f    *Field
		want bool
	}{
		"an audience": {audience("vip", "s", "a1"), true}, "a former one": {former, false}, "its cohort": {column("vip", CohortColumn), false}, "its list": {column("vip", ListColumn), false},
		"a trait": {&Field{Key: "score", Class: domain.ClassTrait}, false}, "a column": {column("row", "city"), false}, "a forwarded trait": {column("", "city"), false},
	} {
		if tc.f.Audience() != tc.want {
			t.Errorf("%s: %v", name, !tc.want)
		}
	}
}

// TestAFieldClaimsTheNamesThatItIsSentUnder, and none that its policy does not send.
func TestAFieldClaimsTheNamesThatItIsSentUnder(t *testing.T) {
	vip, cohort, list, trait := audience("vip", "s", "a1"), column("vip", CohortColumn), column("vip", ListColumn), column("", "city")
	for _, tc := range []struct {
		send domain.SendMethods
		want [4]int // names of the attribute, the cohort, the list and a forwarded trait
	}{
		{domain.SendEvent, [4]int{0, 0, 0, 1}}, {domain.SendAttribute, [4]int{1, 0, 0, 1}}, {domain.SendAsReceived, [4]int{1, 0, 0, 1}},
		{domain.SendCohort, [4]int{0, 1, 0, 1}}, {domain.SendList, [4]int{0, 0, 2, 1}},
	} {
		p := &domain.Policy{Send: tc.send, ListAttribute: "lists"}
		var got [4]int
		for i, f := range []*Field{vip, cohort, list, trait} {
			got[i] = len(f.claims(nil, p))
		}
		if got != tc.want {
			t.Errorf("by %d they claim %v names, want %v", tc.send, got, tc.want)
		}
	}
}
