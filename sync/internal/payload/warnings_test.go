package payload

import (
	"fmt"
	"strings"
	"testing"

	"personasync/store/domain"
)

func TestWhatMoEngageDropsInSilenceIsSaidOnce(t *testing.T) {
	long := strings.Repeat("é", 513)
	for want, value := range map[string]string{
		"":           `"` + strings.Repeat("é", 512) + `"`,
		ValueTooLong: `"` + long + `"`,
		URLTooLong:   `"https://` + long + `"`,
		ArrayTooLong: "[" + strings.Repeat("1,", 50) + "1]",
		" ":          "[" + strings.Repeat("1,", 49) + "1]",
		"  ":         `"` + strings.Repeat(`\u00e9`, 512) + `"`,
		"   ":        "true",
		"    ":       `["a",null,{"b":1},["c"]]`, // an object is sent as a text
		ArrayMixed:   `["a",1]`,
		TextBroken:   `["a","\ud83d"]`,
		"     ":      `"\ud83d\ude00"`,
	} {
		if got := judgeValue([]byte(value)); got != strings.TrimSpace(want) {
			t.Errorf("%.40s: %q, want %q", value, got, want)
		}
	}
	ws := NewWarnings()
	f := &domain.Lease{Users: []domain.UserChanges{{User: "ann", Attributes: []domain.Change{{Name: "bio", Value: []byte(`"` + long + `"`)}}}}}
	if got := fmt.Sprint(ws.Check(f), ws.Check(f)); got != "[{value_too_long bio}] []" {
		t.Error(got)
	}
}

func TestTheWorkspacesNamesAreCounted(t *testing.T) {
	ws := NewWarnings()
	var f domain.Lease
	for i := range 520 {
		c := domain.Change{Name: fmt.Sprint("name ", i), Value: []byte("true")}
		f.Users = append(f.Users, domain.UserChanges{User: "ann", Attributes: []domain.Change{c}, Event: &c})
	}
	counted := map[string]int{}
	for _, c := range ws.Check(&f) {
		counted[c.Code]++
	}
	if got := fmt.Sprint(counted); got != "map[attribute_limit:264 event_name_limit:8]" {
		t.Error(got)
	}
}

// The log reports everything that MoEngage drops from an event after its 200, by the property's name.
func TestWhatMoEngageDropsOfAnEventIsSaid(t *testing.T) {
	many := func(n int) string {
		var props []string
		for i := range n {
			props = append(props, fmt.Sprintf(`"p%d":%d`, i, i))
		}
		return "{" + strings.Join(props, ",") + "}"
	}
	long := strings.Repeat("a", 513)
	for _, tt := range []struct{ name, props, want string }{
		{"Moved", many(97), "[]"},
		{"Moved", many(98), "[{event_attributes Moved}]"},
		{"Moved", `{"plan":"gold","audience_key":"vip"}`, "[]"},
		{"Moved", `{"bio":"` + long + `","page":"https://` + long + `"}`, "[{value_too_long bio} {url_too_long page}]"},
		{"Moved", `{"tags":[1,"a"],"ids":[` + strings.Repeat("1,", 50) + `1]}`, "[{array_mixed tags} {array_too_long ids}]"},
		{"Moved", `{"texts":["` + long + `"]}`, "[{value_too_long texts}]"},
		{"Moved", `{"id":1,"MOE_x":2}`, "[{name_reserved id} {name_reserved MOE_x}]"},
		{"moe_moved", `{}`, "[{name_reserved moe_moved}]"},
		{strings.Repeat("m", 201), `{}`, "[{name_cut " + strings.Repeat("m", 200) + "}]"},
		{"Moved", `{"` + strings.Repeat("p", 201) + `":1}`, "[{name_cut " + strings.Repeat("p", 200) + "}]"},
	} {
		ws := NewWarnings()
		f := &domain.Lease{Users: []domain.UserChanges{{User: "ann", Event: &domain.Change{Name: tt.name, Props: []byte(tt.props)}}}}
		if got := fmt.Sprint(ws.Check(f)); got != tt.want {
			t.Errorf("%.30s %.60s: %s, want %s", tt.name, tt.props, got, tt.want)
		}
	}
}

func TestARenamedAttributeIsSaid(t *testing.T) {
	for name, want := range map[string]string{
		"status":                      "[{name_reserved status}]",
		"addValueToArrayField":        "[{name_reserved addValueToArrayField}]",
		strings.Repeat("n", 201):      "[{name_cut " + strings.Repeat("n", 200) + "}]",
		"segment_status":              "[]",
		strings.Repeat("\u00e9", 200): "[]",
	} {
		ws := NewWarnings()
		f := &domain.Lease{Users: []domain.UserChanges{{User: "ann", Attributes: []domain.Change{{Name: name, Value: []byte("true")}}}}}
		if got := fmt.Sprint(ws.Check(f)); got != want {
			t.Errorf("%.30s: %s, want %s", name, got, want)
		}
	}
}

func TestTheWorkspacesCohortsAreCounted(t *testing.T) {
	ws := NewWarnings()
	var f domain.Lease
	for i := range 1002 {
		f.Users = append(f.Users, domain.UserChanges{User: "ann", Attributes: []domain.Change{{Kind: domain.KindCohort, Name: fmt.Sprint("c", i), Value: []byte("true")}}})
	}
	if got := fmt.Sprint(ws.Check(&f)); got != "[{cohort_limit c1000} {cohort_limit c1001}]" {
		t.Error(got)
	}
}

func TestWarningsAboutValues(t *testing.T) {
	long := strings.Repeat("a", MaxValueLength+1)
	for value, want := range map[string]string{
		`{"a":"` + long + `"}`:   ValueTooLong,
		`[true,false]`:           "",
		`[true,1]`:               ArrayMixed,
		`[1,2]`:                  "",
		`[{"a":"` + long + `"}]`: ValueTooLong,
		`[`:                      "",
		``:                       "",
		strings.Repeat("1", 600): "",
		`"http://` + long + `"`:  URLTooLong,
		`"ftp://` + long + `"`:   ValueTooLong,
		` "` + long + `" `:       ValueTooLong,
		`["` + long[:512] + `"]`: "",
		`["` + strings.Repeat(`\u00e9`, 512) + `"]`: "",
	} {
		if got := judgeValue([]byte(value)); got != want {
			t.Errorf("%.40s: %q, want %q", value, got, want)
		}
	}
}

// The memory of warnings is bounded, because names come from outside.
func TestWarningsAreBounded(t *testing.T) {
	ws := NewWarnings()
	n := 0
	for i := range maxWarnings + 10 {
		c := domain.Change{Kind: domain.KindCohort, Name: fmt.Sprint("c", i), Value: []byte("true")}
		n += len(ws.Check(&domain.Lease{Users: []domain.UserChanges{{User: "ann", Event: &domain.Change{Name: fmt.Sprint("moe_", i)}}, {User: "ann", Attributes: []domain.Change{c}}}}))
	}
	if n != maxWarnings {
		t.Errorf("%d warnings, want %d", n, maxWarnings)
	}
}
