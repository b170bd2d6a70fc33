package inspect

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPrintableEvents(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"JSON loses its blanks and nothing else", "{ \"n\": 1.0, \"s\": \"<\u00e9>\" }", "{\"n\":1.0,\"s\":\"<\u00e9>\"}"},
		{"what is no JSON becomes a string", `{"cut`, `"{\"cut"`},
		{"brackets in a string are no depth", `"` + strings.Repeat("[", 1000) + `"`, `"` + strings.Repeat("[", 1000) + `"`},
		{"a quote behind a backslash ends no string", `"\"` + strings.Repeat("[", 1000) + `"`, `"\"` + strings.Repeat("[", 1000) + `"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(printable([]byte(c.raw))); got != c.want {
				t.Errorf("shown as %s, want %s", got, c.want)
			}
		})
	}
	if got := string(printable(nil)); got != "null" {
		t.Errorf("an event that is gone is shown as %s", got)
	}
	deep := printable([]byte(strings.Repeat("[", 5000) + strings.Repeat("]", 5000)))
	if deep[0] != '"' || !json.Valid(deep) {
		t.Errorf("5,000 nested arrays would be indented: %.20s", deep)
	}
}
