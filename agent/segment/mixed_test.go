package segment

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Events are built from every part in every state: valid, null, missing, of another kind, duplicate. A fuzzer
// that mutates bytes seldom gets there.
func TestMixedEventsAgreeWithTheReference(t *testing.T) {
	values := []string{`null`, `""`, `"k"`, `"j"`, `"email"`, `"e@x"`, `true`, `false`, `"TRUE"`, `"no"`, `1.50`, `[]`, `{}`, `{"k":true}`, `"\u006b"`}
	flags := []string{`"k":true`, `"k":false`, `"k":null`, `"k":"false"`, `"j":true`, `"email":"e@x"`, `"email":null`, `"audience_key":"k"`, `"audience_key":"j"`, `"audience_key":""`, `"trait_key":"k"`, `"trait_key":"j"`, `"x":1`}
	names := []string{"type", "userId", "anonymousId", "messageId", "event", "groupId", "timestamp", "traits", "properties", "context", "k", "audience_key", "trait_key", "t\\u0079pe"}
	kinds := []string{`"identify"`, `"track"`, `"group"`, `"page"`, `"delete"`, `"fax"`}
	classes := []string{`"audience"`, `"trait"`, `"computed_trait"`, `"journey_step"`, `"cohort"`, `null`}

	rapid.Check(t, func(t *rapid.T) {
		pick := func(from []string) string { return rapid.SampledFrom(from).Draw(t, "pick") }
		maybe := func() bool { return rapid.IntRange(0, 3).Draw(t, "maybe") > 0 }
		join := func(parts []string) string { return "{" + strings.Join(parts, ",") + "}" }
		objectOf := func(from []string) string {
			return join(rapid.SliceOfN(rapid.SampledFrom(from), 0, 4).Draw(t, "members"))
		}
		personas := func() string {
			return join([]string{`"computation_class":` + pick(classes), `"computation_key":` + pick([]string{`"k"`, `"k"`, `"j"`, `null`, `""`}), `"space_id":` + pick(values), `"namespace":"n"`, `"event_emitter_id":` + pick(values), `"computation_id":` + pick(values)})
		}

		var parts []string
		if maybe() {
			parts = append(parts, `"type":`+pick(kinds))
		}
		if maybe() {
			parts = append(parts, `"userId":"u"`)
		}
		if maybe() {
			parts = append(parts, `"context":{"personas":`+personas()+`,"traits":`+objectOf(flags)+`}`)
		}
		for _, name := range []string{"traits", "properties"} {
			if maybe() {
				parts = append(parts, fmt.Sprintf("%q:%s", name, objectOf(flags)))
			}
		}
		for range rapid.IntRange(0, 2).Draw(t, "odd") {
			parts = append(parts, `"`+pick(names)+`":`+pick(values))
		}
		raw := join(rapid.Permutation(parts).Draw(t, "order"))
		if diff := diffFromReference([]byte(raw)); diff != "" {
			t.Fatalf("%s (-reference +Read)\n%s", raw, diff)
		}
	})
}
