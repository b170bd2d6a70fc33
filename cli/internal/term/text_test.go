package term

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPlainTakesCommandsFromTerminals(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"usr_48213", "usr_48213"},
		{"Ünïcode 日本", "Ünïcode 日本"},
		{"\x1b]0;title\x07", `\u001b]0;title\u0007`},
		{"two\nlines", `two\u000alines`},
		{"\u009b31m", `\u009b31m`},          // the one-byte form of ESC [
		{"a\u202eb", `a\u202eb`},            // would turn the line around
		{"\xff", "\ufffd"},                  // as in JSON
		{"\U000e0001x", `\U000e0001` + "x"}, // invisible
	} {
		if got := Plain(c.in); got != c.want {
			t.Errorf("plain(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

// The reason of a pause, for example, is another operator's text, and a remark repeats it.
func TestARemarkTakesCommandsFromTerminals(t *testing.T) {
	var out, err strings.Builder
	New(&out, &err, func(string) string { return "" }).Remark("sending is paused (%s):\n  see `personasync status`", "freeze\x1b]0;title\x07")
	if want := "sending is paused (freeze\\u001b]0;title\\u0007):\n  see `personasync status`\n"; err.String() != want {
		t.Errorf("got %q, want %q", err.String(), want)
	}
}

func TestIndentedJSONStaysReadable(t *testing.T) {
	got := Indented([]byte(`{"a":1,"b":"`+"\u009b"+`x"}`), "  ")
	if want := "  {\n    \"a\": 1,\n    \"b\": \"\\u009bx\"\n  }"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := Indented([]byte("no json\x1b"), "  "); got != `  no json\u001b` {
		t.Errorf("got %q", got)
	}
}

func TestListPrintsWhatTheWholeWould(t *testing.T) {
	for _, items := range [][]map[string]any{{}, {{"a": 1}}, {{"a": "<&>"}, {"b": []int{1, 2}}, {}}} {
		var pages, whole strings.Builder
		l := &JSONList{W: &pages}
		for _, i := range items {
			if err := l.Add(i); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.End(); err != nil {
			t.Fatal(err)
		}
		if err := PrintJSON(&whole, items); err != nil {
			t.Fatal(err)
		}
		if pages.String() != whole.String() || !json.Valid([]byte(pages.String())) {
			t.Errorf("in pages\n%s\nas a whole\n%s", pages.String(), whole.String())
		}
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -12345: "-12,345", -123: "-123"} {
		if got := Count(n); got != want {
			t.Errorf("count(%d) = %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 s", 59: "59 s", 61: "1 min 1 s", 3700: "1 h 1 min", 90000: "1 d 1 h"} {
		if got := Ago(n); got != want {
			t.Errorf("ago(%d) = %s, want %s", n, got, want)
		}
	}
	if got := Minute("2026-03-14T09:26:53.589734167Z"); got != "2026-03-14 09:26" {
		t.Errorf("minute: %s", got)
	}
	if got := Minute(""); got != "" {
		t.Errorf("minute of nothing: %q", got)
	}
}
