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
