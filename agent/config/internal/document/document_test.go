package document

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// statements writes entries as "line section path = value", one each.
func statements(entries []Entry) []string {
	var all []string
	for _, e := range entries {
		text := fmt.Sprintf("%d %d %s", e.Line, e.Section, e.Key())
		switch {
		case e.Header && e.Array:
			text += " [[]]"
		case e.Header:
			text += " []"
		default:
			text += " = " + e.Value.String()
		}
		all = append(all, text)
	}
	return all
}

func TestParseFlattensADocument(t *testing.T) {
	for _, c := range []struct{ name, doc, want string }{
		{"empty", "", ""},
		{"values of every kind", "a = \"x\"\nb = 7\nc = true\nd = [\"y\", 'z']\ne = 1.5", `1 0 a = "x"|2 0 b = 7|3 0 c = true|4 0 d = ["y", "z"]|5 0 e = 1.5`},
		{"a section", "\n[log] # for people\n\nlevel = \"info\"", `2 0 log []|4 0 log.level = "info"`},
		{"a dotted key", "log.level = \"info\"", `1 0 log.level = "info"`},
		{"an inline table is a section", "log = {level = \"info\", format = \"text\"}", `1 0 log []|1 0 log.level = "info"|1 0 log.format = "text"`},
		{"numbered sections", "[[computation]]\nkey = \"a\"\n[[computation]]\nkey = \"b\"", `1 1  [[]]|2 1 key = "a"|3 2  [[]]|4 2 key = "b"`},
		{"a table below a numbered section", "[[computation]]\n[computation.x]\ny = 1", `1 1  [[]]|2 1 x []|3 1 x.y = 1`},
		{"sections on one line", "computation = [{key = \"a\"}, {key = \"b\"}]", `1 1  []|1 1 key = "a"|1 2  []|1 2 key = "b"`},
		{"an array that is not of sections", "computation = [1]", `1 0 computation = [1]`},
		{"a key with a dot in it", "\"a.b\" = 1\n[\"c d\"]", `1 0 "a.b" = 1|2 0 "c d" []`},
		{"a table as a value", "a = [{b = 1}]", `1 0 a = [{…}]`},
	} {
		entries, err := Parse([]byte(c.doc))
		if err != nil {
			t.Errorf("%s: %+v", c.name, err)
		}
		if got := strings.Join(statements(entries), "|"); got != c.want {
			t.Errorf("%s:\n%s\nis\n%s\nwant\n%s", c.name, c.doc, got, c.want)
		}
	}
}

func TestParseLocatesASyntaxError(t *testing.T) {
	for _, c := range []struct {
		doc          string
		line, column int
	}{
		{"a = 1\nb = ", 2, 0},
		{"a = 1\na = 2", 2, 1},
		{"\n\n[log", 3, 0},
	} {
		entries, err := Parse([]byte(c.doc))
		if err == nil || entries != nil {
			t.Errorf("%q was read as %v", c.doc, entries)
			continue
		}
		if err.Line != c.line || c.column > 0 && err.Column != c.column || err.Problem == "" {
			t.Errorf("%q: %+v, want line %d, column %d", c.doc, err, c.line, c.column)
		}
	}
	if _, err := Parse([]byte("secret = 99999999999999999999")); err == nil || strings.Contains(err.Problem, "9999") {
		t.Errorf("the error about a number that is too large quotes it: %+v", err)
	}
}

func TestKeys(t *testing.T) {
	if got := JoinKey([]string{"a", "b c", "d-e_1"}); got != `a."b c".d-e_1` {
		t.Errorf("JoinKey returned %s", got)
	}
	for key, want := range map[string][2]string{"a": {"", "a"}, "a.b": {"a", "b"}, "a.b.c": {"a.b", "c"}} {
		if section, word := SplitKey(key); section != want[0] || word != want[1] {
			t.Errorf("SplitKey(%q) = %q, %q", key, section, word)
		}
	}
}

func TestTexts(t *testing.T) {
	texts := func(kind Kind, text string, items ...Value) string {
		all, err := Value{Kind: kind, Text: text, items: items}.Texts()
		return fmt.Sprintf("%q %v", all, err)
	}
	for got, want := range map[string]string{
		texts(Untyped, " "):       `[] <nil>`,
		texts(Untyped, "a, b ,c"): `["a" "b" "c"] <nil>`,
		texts(list, "", Value{Text, "a", nil}, Value{Text, " b", nil}): `["a" " b"] <nil>`,
		texts(list, "", Value{Integer, "1", nil}):                      fmt.Sprintf("[] %v", errNotTexts),
		texts(Text, "a"): fmt.Sprintf("[] %v", errNotTexts),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := QuoteAll([]string{"a", `b"`}); got != `["a", "b\""]` {
		t.Errorf("QuoteAll returned %s", got)
	}
}
