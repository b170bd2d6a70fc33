package payload

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"personasync/store/domain"

	"github.com/google/go-cmp/cmp"
)

var eventTime = time.Date(2026, 8, 1, 14, 34, 56, 789e6, time.FixedZone("CEST", 2*3600))

func attr(name, value string) domain.Change {
	return domain.Change{Kind: domain.KindAttribute, Name: name, Value: json.RawMessage(value)}
}

func synthesised() *domain.Change {
	return &domain.Change{
		ID: domain.ID{Epoch: 0x9c41e2f0, Seq: 1000, Slot: 2}, Kind: domain.KindEvent, Name: "Audience Entered",
		Computation: "high_value", ComputedBy: "aud_2abCdEf", Class: domain.ClassAudience,
		Value: json.RawMessage("true"), EventTime: eventTime, MessageID: "m-1",
	}
}

func received(props string) *domain.Change {
	c := synthesised()
	c.Props, c.Value = json.RawMessage(props), json.RawMessage("true")
	return c
}

func TestAttributeElements(t *testing.T) {
	tests := []struct {
		name    string
		enc     Encoder
		user    string
		changes []domain.Change
		want    string
	}{
		{
			"as MoEngage documents it", Encoder{}, "user-1001",
			[]domain.Change{attr("plan", `"gold"`), attr("ltv", `120.5`), attr("vip", `true`), attr("renews_at", `"2026-12-01T00:00:00Z"`), attr("tags", `["a","b"]`)},
			`{"type":"customer","customer_id":"user-1001","attributes":{"plan":"gold","ltv":120.5,"vip":true,"renews_at":"2026-12-01T00:00:00Z","tags":["a","b"]}}`,
		},
		{
			"known users only", Encoder{UpdateExistingOnly: true}, "user-1001", []domain.Change{attr("vip", `false`)},
			`{"type":"customer","customer_id":"user-1001","update_existing_only":true,"attributes":{"vip":false}}`,
		},
		{
			"numbers keep their digits", Encoder{}, "u1", []domain.Change{attr("a", `12345678901234567890`), attr("b", `1.10`), attr("c", `1e400`), attr("d", `-0.0`)},
			`{"type":"customer","customer_id":"u1","attributes":{"a":12345678901234567890,"b":1.10,"c":1e400,"d":-0.0}}`,
		},
		{
			"null removes", Encoder{}, "u1", []domain.Change{attr("favorite_store", `null`)},
			`{"type":"customer","customer_id":"u1","attributes":{},"unset_attributes":[{"type":"equals","attr":"favorite_store","case_sensitive":true}]}`,
		},
		{
			"some are set, some removed", Encoder{}, "u1", []domain.Change{attr("a", `null`), attr("b", `1`), attr("c", ` null `)},
			`{"type":"customer","customer_id":"u1","attributes":{"b":1},"unset_attributes":[{"type":"equals","attr":"a","case_sensitive":true},{"type":"equals","attr":"c","case_sensitive":true}]}`,
		},
		{
			"objects become strings", Encoder{}, "u1", []domain.Change{attr("o", `{"x": "q\"q"}`), attr("l", `[ {"x":1}, null, [2], "s", 3 ]`)},
			`{"type":"customer","customer_id":"u1","attributes":{"o":"{\"x\": \"q\\\"q\"}","l":["{\"x\":1}","[2]","s",3]}}`,
		},
		{
			"strange names", Encoder{}, "ann\"\\\n\u2028\x01é日", []domain.Change{attr("a\tb\x7f", `"\u00e9"`)},
			`{"type":"customer","customer_id":"ann\"\\\n` + "\u2028" + `\u0001é日","attributes":{"a\tb` + "\x7f" + `":"\u00e9"}}`,
		},
		{
			"bytes that are not UTF-8", Encoder{}, "u1", []domain.Change{attr("a\xff", "\"b\xff\xfe\"")},
			`{"type":"customer","customer_id":"u1","attributes":{"a` + "\uFFFD" + `":"b` + "\uFFFD" + `"}}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.enc.AppendAttributes(nil, tt.user, tt.changes)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
			if !json.Valid(got) {
				t.Error("not JSON")
			}
		})
	}
}

func TestEventElements(t *testing.T) {
	trait := synthesised()
	trait.Class, trait.Computation, trait.Value, trait.Name = domain.ClassTrait, "ltv", json.RawMessage("1.10"), "Trait Computed"
	gone := synthesised()
	gone.Value, gone.ComputedBy = json.RawMessage("null"), ""
	timeless := synthesised()
	timeless.EventTime = time.Time{}
	const ours = `"audience_key":"high_value","change_id":"9c41e2f0-3e8-2","message_id":"m-1"`
	const made = `"computation_key":"high_value","computation_id":"aud_2abCdEf","value":true,` + ours
	element := func(action, attributes string) string {
		return `{"type":"event","customer_id":"user-1001","actions":[{"action":"` + action + `","attributes":{` + attributes + `},"platform":"unknown","current_time":"2026-08-01T12:34:56.789Z"}]}`
	}
	tests := []struct {
		name   string
		change *domain.Change
		want   string
	}{
		{"synthesised", synthesised(), element("Audience Entered", made)},
		{"of a trait", trait, element("Trait Computed", `"computation_key":"ltv","computation_id":"aud_2abCdEf","value":1.10,"trait_key":"ltv","change_id":"9c41e2f0-3e8-2","message_id":"m-1"`)},
		{"without a value", gone, element("Audience Entered", `"computation_key":"high_value",`+ours)},
		{"without a time", timeless, strings.Replace(element("Audience Entered", made), `,"current_time":"2026-08-01T12:34:56.789Z"`, "", 1)},

		{"received", received(`{"high_value":true,"total": 12.50 ,"tags":["a"]}`), element("Audience Entered", ours+`,"high_value":true,"total":12.50,"tags":["a"]`)},
		{"received without properties", received(`{}`), element("Audience Entered", ours)},
		{"received with null for properties", received(`null`), element("Audience Entered", ours)},
		{"our names stand", received(`{"audience_key":"theirs","change_id":1,"message_id":2,"trait_key":3,"value":4}`), element("Audience Entered", ours+`,"trait_key":3,"value":4`)},
		{"refused names are kept under another", received(`{"id":1,"_id":2,"":3,"moe_x":4,"MOE_Y":5,"moex":6,"ids":7}`), element("Audience Entered", ours+`,"segment_id":1,"segment__id":2,"segment_":3,"segment_moe_x":4,"segment_MOE_Y":5,"moex":6,"ids":7`)},
		{"refused names behind escapes", received(`{"\u0069d":1,"m\u006fe_x":2,"\u0061":3}`), element("Audience Entered", ours+`,"segment_id":1,"segment_moe_x":2,"a":3`)},
		{"nulls are left out", received(`{"a":null,"b":[null,1],"c":[null]}`), element("Audience Entered", ours+`,"b":[1],"c":[]`)},
		{"objects become strings", received(`{"a":{"b":[1,{}]},"c":[[1]]}`), element("Audience Entered", ours+`,"a":"{\"b\":[1,{}]}","c":["[1]"]`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Encoder{}.AppendEvent(nil, "user-1001", tt.change)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
			if !json.Valid(got) {
				t.Error("not JSON")
			}
		})
	}
}

func TestRealTimeAction(t *testing.T) {
	got, err := Encoder{RealTimeAction: true}.AppendEvent(nil, "u1", synthesised())
	if err != nil || !strings.Contains(string(got), `[{"action":"Audience Entered","real_time_action":"true","attributes":{`) {
		t.Errorf("%s, %v", got, err)
	}
}

func TestAnEventKeepsAHundredAttributes(t *testing.T) {
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, `,"p%d":%d`, i, i)
	}
	got, err := Encoder{}.AppendEvent(nil, "u1", received("{"+b.String()[1:]+"}"))
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		Actions []struct{ Attributes map[string]any }
	}
	if err := json.Unmarshal(got, &e); err != nil {
		t.Fatal(err)
	}
	a := e.Actions[0].Attributes
	_, last := a["p96"]
	_, first := a["p97"]
	if len(a) != 100 || a["message_id"] != "m-1" || !last || first {
		t.Errorf("%d attributes, p96 %v, p97 %v", len(a), last, first)
	}
}

// The event has the same name for enter and exit, and traits are forwarded with it.
func TestAnEventOfManyPropertiesKeepsItsFlag(t *testing.T) {
	for _, before := range []int{96, 97, 98, 150} { // 97 have room
		c := received("")
		var b strings.Builder
		for i := range before {
			fmt.Fprintf(&b, `"p%d":%d,`, i, i)
		}
		c.Props = []byte("{" + b.String() + strconv.Quote(c.Computation) + ":false}")
		got, err := Encoder{}.AppendEvent(nil, "u1", c)
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			Actions []struct{ Attributes map[string]any }
		}
		if err := json.Unmarshal(got, &e); err != nil {
			t.Fatal(err)
		}
		a := e.Actions[0].Attributes
		if flag, there := a[c.Computation]; len(a) != 100 || !there || flag != false || a["p95"] != 95.0 {
			t.Errorf("behind %d: %d attributes, the flag is %v", before, len(a), flag)
		}
	}
}

func TestWhatMakesNoElement(t *testing.T) {
	for _, value := range []string{"", "{", `"open`, "tru", "nul", "1 2", "\"a\nb\"", "NaN"} {
		if got, err := (Encoder{}).AppendAttributes(nil, "u1", []domain.Change{attr("a", value)}); err == nil {
			t.Errorf("value %q became %s", value, got)
		}
	}
	for _, props := range []string{"[]", "{", "1", `{"a":}`, `"x"`, " "} {
		if got, err := (Encoder{}).AppendEvent(nil, "u1", received(props)); err == nil && props != " " {
			t.Errorf("properties %q became %s", props, got)
		}
	}
	if _, err := (Encoder{}).AppendAttributes(nil, "u\xff", nil); err == nil {
		t.Error("a user id that is not UTF-8 became another user")
	}
}

func FuzzMembers(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[{"c":"}"}],"\"":-1.5e3,"d":{} , "e":"\\"}`))
	f.Add([]byte("{ }"))
	f.Add([]byte("{\n\t\"a\" : null\r}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) == 0 || raw[0] != '{' || !json.Valid(raw) || raw[len(raw)-1] != '}' {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(raw, &want); err != nil {
			return
		}
		got := map[string]json.RawMessage{}
		for k, v := range members(raw) {
			var name string
			if err := json.Unmarshal(k, &name); err != nil {
				t.Fatalf("key %q: %v", k, err)
			}
			if utf8.Valid(k) && unquote(k) != name {
				t.Fatalf("unquote(%s) = %q, want %q", k, unquote(k), name)
			}
			got[name] = v
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func BenchmarkReceivedEvent(b *testing.B) {
	c := received(`{"high_value":true,"audience_key":"high_value","audience_name":"High value","revenue":120.50,"products":["a","b","c"],"cart":{"items":[{"sku":"x"}]}}`)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = (Encoder{}).AppendEvent(buf[:0], "5a3bab48-7f3a-4c1e-9d7f-0c39c6340591", c); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAnEnterAndAnExitWithinASecondBearDifferentTimes(t *testing.T) {
	var at [2]string
	for i := range at {
		c := synthesised()
		c.EventTime = eventTime.Add(time.Duration(i) * 40 * time.Millisecond)
		b, err := Encoder{}.AppendEvent(nil, "u1", c)
		if err != nil {
			t.Fatal(err)
		}
		_, at[i], _ = strings.Cut(string(b), `"current_time":`)
	}
	if want := `"2026-08-01T12:34:56.829Z"}]}`; at[0] == at[1] || at[1] != want {
		t.Errorf("%v, want the second to be %s", at, want)
	}
}

// A text cut inside an emoji had been sent unchanged, and MoEngage could refuse the whole request for it.
func TestNoHalfOfACharacterLeaves(t *testing.T) {
	for value, want := range map[string]string{
		`"caf\u00e9 \ud83d"`:        `"caf\u00e9 \ufffd"`,
		`"\ud83d\ude00"`:            `"\ud83d\ude00"`,
		`["\ud83d",{"a":"\ude00"}]`: `["\ufffd","{\"a\":\"\\ufffd\"}"]`,
		`{"\ud83d":1}`:              `"{\"\\ufffd\":1}"`,
	} {
		b, err := Encoder{}.AppendAttributes(nil, "u1", []domain.Change{{Name: "a", Value: []byte(value)}})
		if err != nil || !strings.Contains(string(b), `"a":`+want+`}`) {
			t.Errorf("%s leaves as %s, %v", value, b, err)
		}
		c := synthesised()
		c.Props = []byte(`{"a":` + value + `,"b\ud83d":1}`)
		b, err = Encoder{}.AppendEvent(nil, "u1", c)
		if err != nil || !strings.Contains(string(b), `"a":`+want+`,"b`) || domain.LoneSurrogate(b) >= 0 {
			t.Errorf("%s leaves as %s, %v", value, b, err)
		}
	}
}

// A computation whose name MoEngage refuses or reserves is sent, and unset, under another name.
func TestNamesThatMoEngageRefusesAreRenamed(t *testing.T) {
	long := strings.Repeat("ä", domain.MaxName)
	for name, want := range map[string]string{
		"": "segment_", "id": "segment_id", "_id": "segment__id", "moe_x": "segment_moe_x", "MOE_GAID": "segment_MOE_GAID",
		"status": "segment_status", "source": "segment_source", "user_id": "segment_user_id", "INSTALL": "segment_INSTALL",
		"USER_ATTRIBUTE_USER_BDAY": "segment_USER_ATTRIBUTE_USER_BDAY",
		"moe_unsubscribe":          "moe_unsubscribe", "moe_spam": "moe_spam", "moe_hard_bounce": "moe_hard_bounce",
		"moe_em_unsub_categories": "moe_em_unsub_categories", "moe_sms_subscription": "moe_sms_subscription",
		"moe_wa_subscription": "moe_wa_subscription", "moe_sub_w": "moe_sub_w",
		"moe_email_open_tracking_consent": "moe_email_open_tracking_consent", "MOE_SPAM": "segment_MOE_SPAM",
		"vip": "vip", "email": "email", "moe": "moe", "status_2": "status_2", long: long, long + "x": long,
	} {
		if got := domain.AttributeName(name); got != want {
			t.Errorf("%q is sent as %q, want %q", name, got, want)
		}
		for _, value := range []string{"true", "null"} {
			b, err := Encoder{}.AppendAttributes(nil, "ann", []domain.Change{{Name: name, Value: []byte(value)}})
			if err != nil || !strings.Contains(string(b), strconv.Quote(want)) {
				t.Errorf("%q = %s: %s, %v", name, value, b, err)
			}
		}
	}
}
