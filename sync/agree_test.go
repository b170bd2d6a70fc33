package syncer

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestValuesAgreeByMeaning(t *testing.T) {
	long := strings.Repeat("ä", 600)
	for _, c := range []struct {
		name, want, got string
		agree           bool
	}{
		{"the same", `true`, `true`, true},
		{"the opposite", `true`, `false`, false},
		{"a missing attribute", `true`, ``, false},
		{"a missing one that was unset", `null`, ``, true},
		{"a null that was unset", `null`, `null`, true},
		{"one that should be unset", `null`, `1`, false},
		{"a null where a value should be", `1`, `null`, false},
		{"a flag is no text", `true`, `"true"`, false},
		{"zeros of a fraction", `12.50`, `12.5`, true},
		{"an exponent", `1e3`, `1000`, true},
		{"more digits than a double has", `9007199254740993`, `9007199254740992`, true},
		{"another number", `12.5`, `12.6`, false},
		{"a number as a text", `12`, `"12"`, false},
		{"escapes", `"a\u00e4"`, `"aä"`, true},
		{"cut where MoEngage cuts", `"` + long + `"`, `"` + long[:2*512] + `"`, true},
		{"cut elsewhere", `"` + long + `"`, `"` + long[:2*500] + `"`, false},
		{"a time in another zone", `"2026-03-14T09:00:00Z"`, `"2026-03-14T10:00:00.000+01:00"`, true},
		{"a time without a zone", `"2026-03-14T09:00:00Z"`, `"2026-03-14 09:00:00"`, true},
		{"another time", `"2026-03-14T09:00:00Z"`, `"2026-03-14T09:00:01Z"`, false},
		{"lists", `[1,"a"]`, `[1.0,"a"]`, true},
		{"lists in another order", `[1,2]`, `[2,1]`, false},
		{"a shorter list", `[1,2]`, `[1]`, false},
		{"objects in another order", `{"a":1,"b":null}`, `{"b":null,"a":1}`, true},
		{"another object", `{"a":1}`, `{"b":1}`, false},
		{"broken JSON", `{"a":1}`, `{"a":`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Agrees(json.RawMessage(c.want), json.RawMessage(c.got)); got != c.agree {
				t.Errorf("want %s, MoEngage has %s: agree %v", c.want, c.got, got)
			}
		})
	}
}

func TestAListHasAnEntry(t *testing.T) {
	for got, want := range map[string]bool{`["new","vip"]`: true, `["VIP","vip "]`: false, `[]`: false, `"vip"`: false, `null`: false, `[1,"vip",null]`: true} {
		if Lists([]byte(got), "vip") != want {
			t.Errorf("%s: want %v", got, want)
		}
	}
	if Lists(nil, "vip") {
		t.Error("an attribute that is not there has an entry")
	}
}
