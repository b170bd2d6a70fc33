package rawjson

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWalk(t *testing.T) {
	object := []byte(`{ "a" : [ 1 , "x,]" , { "b" : [] } ] , "\u0063" : -1.5e3 , "a" : null }`)
	var got []string
	for name, value := range Members(object) {
		got = append(got, fmt.Sprintf("%s %s", name, value))
	}
	for item := range Items(Member(object, "a")) {
		got = append(got, string(item))
	}
	for item := range Items([]byte(`[ 1 , "x,]" , { "b" : [] } ]`)) {
		got = append(got, string(item))
	}
	want := []string{`a [ 1 , "x,]" , { "b" : [] } ]`, `c -1.5e3`, `a null`, `1`, `"x,]"`, `{ "b" : [] }`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("walked (-want +got):\n%s", diff)
	}
}

func TestValuesOfOtherKinds(t *testing.T) {
	for range Members([]byte(`[1]`)) {
		t.Error("a list has members")
	}
	for range Items([]byte(`{"a":1}`)) {
		t.Error("an object has items")
	}
	if Member([]byte(`{"a":1}`), "b") != nil || string(Member([]byte(`{"a":1,"a":2}`), "a")) != "2" {
		t.Error("of a missing member, or of duplicates")
	}
	for raw, want := range map[string]string{`"a\u00e9\"b"`: `aé"b`, `"a"`: "a", `1`: "", ``: ""} {
		if got := Text([]byte(raw)); got != want {
			t.Errorf("the text of %s is %q, want %q", raw, got, want)
		}
	}
	if Is(nil, '{') || Is([]byte(`[`), '{') || !Is([]byte(`{`), '{') {
		t.Error("the kind of a value")
	}
	if got := string(Quote("a\"é")); got != `"a\"é"` {
		t.Errorf("quoted %s", got)
	}
	for raw, want := range map[string]bool{`{"a":[1]}`: true, `{`: false, "\"\xff\"": false} {
		if WellFormed([]byte(raw)) != want {
			t.Errorf("%s is well-formed: %v", raw, !want)
		}
	}
}

// A walk may end early.
func TestAWalkThatEndsEarly(t *testing.T) {
	n := 0
	for range Members([]byte(`{"a":1,"b":2}`)) {
		n++
		break
	}
	for range Items([]byte(`[1,2]`)) {
		n++
		break
	}
	if n != 2 {
		t.Errorf("%d steps", n)
	}
}
