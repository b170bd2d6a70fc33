package payload

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"personasync/store/domain"
)

func entry(list, key string, transition domain.Transition) domain.Change {
	return domain.Change{Kind: domain.KindList, Name: list, Computation: key, Transition: transition}
}

// The fields are those of MoEngage's page on array attributes.
func TestListEntries(t *testing.T) {
	const enter, exit = domain.TransitionEnter, domain.TransitionExit
	for want, changes := range map[string][]domain.Change{
		`{"addValueToArrayField":{"audiences":["vip"]}}`:                                     {entry("audiences", "vip", enter)},
		`{"removeValueFromArrayField":{"audiences":["vip","a\"b"]}}`:                         {entry("audiences", "vip", exit), entry("audiences", `a"b`, exit)},
		`{"addValueToArrayField":{"a":["x"],"segment_status":["y"]}}`:                        {entry("status", "y", enter), entry("a", "x", enter)},
		`{"addValueToArrayField":{"a":["x"]},"removeValueFromArrayField":{"b":["y"]}}`:       {entry("a", "x", enter), entry("b", "y", exit)},
		`{"vip":true,"addValueToArrayField":{"a":["x"]}}`:                                    {entry("a", "x", enter), attr("vip", "true")},
		`{"vip":true,"plan":1,"removeValueFromArrayField":{"a":["x"]}},"unset_attributes":[`: {attr("vip", "true"), attr("old", "null"), attr("plan", "1"), entry("a", "x", exit)},
	} {
		b, err := (Encoder{}).AppendAttributes(nil, "u1", changes)
		if err != nil || !json.Valid(b) || !strings.HasPrefix(string(b), `{"type":"customer","customer_id":"u1","attributes":`+want) {
			t.Errorf("%s, %v\nwant %s", b, err, want)
		}
	}
}

// The requests are those of MoEngage's page on Cohort Sync.
func TestCohortMembers(t *testing.T) {
	c := &domain.Change{Kind: domain.KindCohort, Name: `High "value"`, Transition: domain.TransitionExit}
	b, err := AppendMember([]byte(CohortHead(c)), `us"er`)
	want := `{"action":"remove_members","partner":"personasync","parameters":{"cohort_name":"High _value_","cohort_id":"High _value_","members":[{"uid":"us\"er"}]}}`
	if got := string(b) + CohortTail; err != nil || got != want {
		t.Errorf("%s, %v", got, err)
	}
	if b, err := AppendMember(nil, "u\xff"); err == nil {
		t.Errorf("an id that is not UTF-8 became %s", b)
	}
}

func TestEventsThatCannotBeEncoded(t *testing.T) {
	if b, err := (Encoder{}).AppendEvent(nil, "u\xff", synthesised()); err == nil {
		t.Errorf("an id that is not UTF-8 became %s", b)
	}
	c := synthesised()
	c.Value = json.RawMessage("{")
	if b, err := (Encoder{}).AppendEvent(nil, "u1", c); err == nil {
		t.Errorf("a broken value became %s", b)
	}
}

// A trait's event has its column, and the key under another name. What is empty or null is left out.
func TestTheEventOfATrait(t *testing.T) {
	c := synthesised()
	c.Class, c.Column, c.Value, c.MessageID, c.EventTime = domain.ClassTrait, "city", json.RawMessage("null"), "", time.Time{}
	b, err := (Encoder{}).AppendEvent(nil, "u1", c)
	want := `{"type":"event","customer_id":"u1","actions":[{"action":"Audience Entered","attributes":{"computation_key":"high_value","computation_id":"aud_2abCdEf","column":"city","trait_key":"high_value","change_id":"9c41e2f0-3e8-2"},"platform":"unknown"}]}`
	if string(b) != want || err != nil {
		t.Errorf("%s, %v", b, err)
	}
}

func TestControlCharactersAreEscaped(t *testing.T) {
	in := "a\x00\x1f\b\n\r\t\"\\\u007f\u2028é\xffz"
	got := string(appendString(nil, in))
	if want := `"a\u0000\u001f\u0008\n\r\t\"\\` + "\u007f\u2028é\uFFFDz\""; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
