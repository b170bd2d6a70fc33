package payload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"personasync/store/domain"
)

// id had become segment_id beside the customer's own segment_id. The JSON object then had a name twice, and
// readers differ in which one they take.
func TestAPropertyRenamedOntoAnotherOfTheEvent(t *testing.T) {
	long := strings.Repeat("ä", 200)
	for props, want := range map[string]map[string]any{
		`{"id":"A","segment_id":"B"}`:                                {"segment_2_id": "A", "segment_id": "B"},
		`{"segment_id":"B","id":"A"}`:                                {"segment_2_id": "A", "segment_id": "B"},
		`{"id":"A","segment_id":null}`:                               {"segment_id": "A"},
		`{"id":1,"segment_id":2,"segment_segment_id":3}`:             {"segment_id": 2., "segment_segment_id": 3., "segment_2_id": 1.},
		`{"_id":3,"moe_x":1,"segment_moe_x":2}`:                      {"segment__id": 3., "segment_2_moe_x": 1., "segment_moe_x": 2.},
		`{"a\ud83d":1,"a\ud83e":2}`:                                  {"a\uFFFD": 1., "segment_2_a\uFFFD": 2.},
		`{"a\ud83d":1,"a\uFFFD":2}`:                                  {"a\uFFFD": 2., "segment_2_a\uFFFD": 1.},
		`{"a\ud83d":1,"a\uD83D":2}`:                                  {"a\uFFFD": 2.},
		`{"a\ud83d\ude00":1,"a\ude00\ud83d":2}`:                      {"a😀": 1., "a\uFFFD\uFFFD": 2.},
		`{"\ud83d\"x\udfff":1,"\ud83e\"x\udfff":null}`:               {"\uFFFD\"x\uFFFD": 1.},
		`{"a":1,"a":2}`:                                              {"a": 2.},
		`{"a":1,"\u0061":2}`:                                         {"a": 2.},
		`{"a":1,"a":null}`:                                           {},
		`{"` + long + `":1,"` + long + `x":2}`:                       {long: 1., domain.CutName("segment_2_" + long): 2.},
		`{"` + long + `y":1,"` + long + `x":2}`:                      {long: 1., domain.CutName("segment_2_" + long): 2.},
		`{"change_id":"theirs","message_id":"theirs","trait_key":1}`: {"trait_key": 1.},
	} {
		c := &domain.Change{Kind: domain.KindEvent, Name: "Audience Entered", Class: domain.ClassAudience, Computation: "vip", MessageID: "m-1", Props: json.RawMessage(props)}
		b, err := appendEventAttributes(nil, c)
		if err != nil {
			t.Errorf("%s: %v", props, err)
			continue
		}
		wantNamesOnce(t, b)
		got := map[string]any{}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		for _, ours := range []string{"audience_key", "change_id", "message_id"} {
			if got[ours] == nil || got[ours] == "theirs" {
				t.Errorf("%s: %s is %v", props, ours, got[ours])
			}
			delete(got, ours)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s leaves as %s:\n%s", props, b, d)
		}
	}
}

// wantNamesOnce fails if any object in a JSON text has a duplicate name.
func wantNamesOnce(t *testing.T, text []byte) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	var names []map[string]bool // of the enclosing objects; nil for an array
	isName := []bool{false}
	for {
		token, err := d.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		switch depth := len(names); token {
		case json.Delim('{'):
			names, isName = append(names, map[string]bool{}), append(isName, true)
			continue
		case json.Delim('['):
			names, isName = append(names, nil), append(isName, false)
			continue
		case json.Delim('}'), json.Delim(']'):
			names, isName = names[:depth-1], isName[:depth]
		default:
			if isName[depth] {
				name := fmt.Sprint(token)
				if names[depth-1][name] {
					t.Errorf("%s has %q twice", text, name)
				}
				names[depth-1][name], isName[depth] = true, false
				continue
			}
		}
		if n := len(names); n > 0 && names[n-1] != nil {
			isName[n] = true
		}
	}
}
