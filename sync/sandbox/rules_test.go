package sandbox

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatIsDroppedInSilence(t *testing.T) {
	long := strings.Repeat("ä", 513)
	tests := []struct {
		name     string
		elements string
		want     map[string]string // of user-1; nil: no such user
		rules    []Rule
	}{
		{"values of all kinds stay", customerOf("user-1", `{"a":1.5,"b":"x","c":[1,2],"d":false}`),
			map[string]string{"a": "1.5", "b": `"x"`, "c": "[1,2]", "d": "false"}, nil},
		{"a type in the wrong case", strings.Replace(fine, `"customer"`, `"Customer"`, 1), nil, []Rule{WrongCaseType}},
		{"a blocked id", customerOf("None", `{"a":1}`), nil, []Rule{BlockedID}},
		{"an id of one character", customerOf("ä", `{"a":1}`), nil, []Rule{BlockedID}},
		{"reserved names", customerOf("user-1", `{"status":1,"moe_x":1,"_id":1,"":1,"ok":1}`),
			map[string]string{"ok": "1"}, []Rule{ReservedName, ReservedName, ReservedName, ReservedName}},
		{"a documented name with the system's prefix", customerOf("user-1", `{"moe_sms_subscription":true}`),
			map[string]string{"moe_sms_subscription": "true"}, nil},
		{"an update of what is set at creation", customerOf("user-1", `{"cr_t":1}`) + "," + customerOf("user-1", `{"cr_t":2}`),
			map[string]string{"cr_t": "1"}, []Rule{CreateOnly, UserTwice}},
		{"a long name", customerOf("user-1", `{"`+strings.Repeat("n", 201)+`":1}`),
			map[string]string{strings.Repeat("n", 200): "1"}, []Rule{NameLength}},
		{"a long value", customerOf("user-1", `{"a":"`+long+`","b":"`+long[:1024]+`"}`),
			map[string]string{"a": `"` + long[:1024] + `"`, "b": `"` + long[:1024] + `"`}, []Rule{ValueLength}},
		{"a long URL", customerOf("user-1", `{"a":"https://x/`+long+`"}`), map[string]string{}, []Rule{URLLength}},
		{"null", customerOf("user-1", `{"a":null}`), map[string]string{}, []Rule{NullValue}},
		{"objects", customerOf("user-1", `{"a":{"b":1},"c":[{"d":1}],"platforms":[{"platform":"iOS"}]}`),
			map[string]string{"platforms": `[{"platform":"iOS"}]`}, []Rule{ObjectValue, ObjectValue}},
		{"a mixed array is only recorded", customerOf("user-1", `{"a":[1,"x"]}`),
			map[string]string{"a": `[1,"x"]`}, []Rule{ArrayValue}},
		{"unset beats set", customerOf("user-1", `{"a":1,"b":1}`) + "," +
			`{"type":"customer","customer_id":"user-1","attributes":{"a":2,"c":3},"unset_attributes":[{"type":"equals","attr":"a","case_sensitive":true}]}`,
			map[string]string{"b": "1", "c": "3"}, []Rule{UserTwice}},
		{"unset of a name nobody set", `{"type":"customer","customer_id":"user-1","unset_attributes":[{"type":"equals","attr":"zz"}]}`,
			map[string]string{}, []Rule{UnknownUnset}},
		{"update_existing_only", `{"type":"customer","customer_id":"user-1","update_existing_only":true,"attributes":{"a":1}}`,
			nil, []Rule{ExistingOnly}},
		{"values added to an array are there once", customerOf("user-1", `{"l":["a"],"addValueToArrayField":{"l":["a","b"],"m":["c"]}}`),
			map[string]string{"l": `["a","b"]`, "m": `["c"]`}, nil},
		{"values removed from an array", customerOf("user-1", `{"l":["a","b"],"removeValueFromArrayField":{"l":["a","z"]}}`),
			map[string]string{"l": `["b"]`}, nil},
		{"escaped names and ids are what they mean", `{"\u0074ype":"customer","customer_id":"user\u002d1","attributes":{"\u0061":1}}`,
			map[string]string{"a": "1"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(Options{Strict: true})
			got := record(s, newRequest(t, "http://sandbox"+bulkPath, bulkBody(tt.elements)))
			wantStatus(t, got, 200)
			wantRules(t, s, tt.rules...)
			p, ok := s.User("user-1")
			if ok != (tt.want != nil) {
				t.Fatalf("user-1 is there: %v", ok)
			}
			attributes := map[string]string{}
			for name, raw := range p.Attributes {
				attributes[name] = string(raw)
			}
			if diff := cmp.Diff(tt.want, attributes); ok && diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsKeptOfEvents(t *testing.T) {
	past := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	many := strings.Builder{}
	for i := range 101 {
		fmt.Fprintf(&many, `"a%d":1,`, i)
	}
	hundredAndOne := "{" + strings.TrimSuffix(many.String(), ",") + "}"
	hundred := strings.Replace(hundredAndOne, `,"a100":1`, "", 1)
	at := func(value string) string { return `{"action":"enter","current_time":` + value + `}` }
	tests := []struct {
		name   string
		action string
		want   *Event // nil: dropped; a zero time: received
		rules  []Rule
	}{
		{"as it came", `{"action":"enter","attributes":{ "k": "v" },"platform":"unknown","real_time_action":"true"}`,
			&Event{Action: "enter", Attributes: []byte(`{ "k": "v" }`), Platform: "unknown", RealTime: true}, nil},
		{"an ISO time", at(`"` + past.Format(time.RFC3339) + `"`), &Event{Action: "enter", Time: past}, nil},
		{"an epoch in seconds", at(fmt.Sprint(past.Unix())), &Event{Action: "enter", Time: past}, nil},
		{"an epoch in milliseconds, as a string", at(fmt.Sprintf(`"%d"`, past.UnixMilli())), &Event{Action: "enter", Time: past}, nil},
		{"a time that is none", at(`"yesterday"`), &Event{Action: "enter"}, []Rule{BadTime}},
		{"the future", at(`"2999-01-01T00:00:00Z"`), nil, []Rule{FutureEvent}},
		{"a name with the system's prefix", `{"action":"MOE_x"}`, nil, []Rule{ReservedName}},
		{"101 attributes", `{"action":"enter","attributes":` + hundredAndOne + `}`,
			&Event{Action: "enter", Attributes: []byte(hundred)}, []Rule{EventAttributes}},
		{"attributes that may not be", `{"action":"enter","attributes":{"moe_a":1,"o":{},"n":null,"ok":1}}`,
			&Event{Action: "enter", Attributes: []byte(`{"ok":1}`)}, []Rule{ReservedName, ObjectValue, NullValue}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(Options{Strict: true})
			wantStatus(t, record(s, newRequest(t, "http://sandbox"+bulkPath, bulkBody(eventOf("user-1", tt.action)))), 200)
			wantRules(t, s, tt.rules...)
			got := s.Events("user-1")
			if tt.want == nil {
				if len(got) != 0 {
					t.Errorf("kept %+v", got)
				}
				return
			}
			want := *tt.want
			want.Write = Write{Arrival: 1, Request: 1}
			want.Received = got[0].Received
			if want.Time.IsZero() {
				want.Time = want.Received
			}
			if diff := cmp.Diff([]Event{want}, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWorkspaceHas256CustomAttributes(t *testing.T) {
	s := serve(t, Options{})
	for i := range 257 {
		wantStatus(t, s.bulk(customerOf("user-1", fmt.Sprintf(`{"a%d":1,"u_em":"a@b"}`, i))), 200)
	}
	wantStatus(t, s.bulk(customerOf("user-2", `{"a7":2,"a256":2}`)), 200)
	wantRules(t, s.Sandbox, AttributeLimit, AttributeLimit)
	if p, _ := s.User("user-1"); len(p.Attributes) != 257 { // with the standard one
		t.Errorf("%d attributes, want 257", len(p.Attributes))
	}
	wantAttribute(t, s.Sandbox, "user-2", "a7", "2")
}

func TestWorkspaceHas512EventNames(t *testing.T) {
	s := serve(t, Options{})
	for i := range 513 {
		wantStatus(t, s.bulk(eventOf("user-1", fmt.Sprintf(`{"action":"e%d"}`, i))), 200)
	}
	wantRules(t, s.Sandbox, EventNameLimit)
	if n := len(s.Events("user-1")); n != 512 {
		t.Errorf("%d events, want 512", n)
	}
}

func TestObjectsStayWhereTheWorkspaceHasThem(t *testing.T) {
	s := serve(t, Options{Objects: true})
	wantStatus(t, s.bulk(customerOf("user-1", `{"a":{"b":1}}`)), 200)
	wantAttribute(t, s.Sandbox, "user-1", "a", `{"b":1}`)
	wantRules(t, s.Sandbox)
}
