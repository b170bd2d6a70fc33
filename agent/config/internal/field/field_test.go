package field

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"personasync/agent/config/internal/document"
	"personasync/store/domain"
)

// section has a field of every type.
type section struct {
	Inner
	Words  string             `toml:"words" one:"json|text"`
	Switch bool               `toml:"switch"`
	Count  int                `toml:"count" min:"1" max:"64"`
	Bytes  int64              `toml:"bytes" min:"0"`
	Share  float64            `toml:"share" min:"0" max:"1"`
	Wait   Duration           `toml:"wait" min:"1s" max:"45s"`
	Key    Secret             `toml:"key"`
	Keys   Secret             `toml:"keys" env:"list"`
	List   []string           `toml:"list"`
	Send   domain.SendMethods `toml:"send"`
	Below  struct {
		Name string `toml:"name"`
	} `toml:"below"`
	Left string `toml:"-"`
}

type Inner struct {
	Path string `toml:"path"`
}

func TestAllFieldsOfASectionAreFound(t *testing.T) {
	var keys []string
	for _, f := range Of(new(section), "x.") {
		keys = append(keys, f.Key)
	}
	want := []string{"x.path", "x.words", "x.switch", "x.count", "x.bytes", "x.share", "x.wait", "x.key", "x.keys", "x.list", "x.send", "x.below.name"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Error(diff)
	}
	if got := Variable("x.below.name"); got != "PERSONASYNC_X_BELOW_NAME" {
		t.Error(got)
	}
}

// set sets a field from what stands in a file, or from a variable.
func set(t *testing.T, s *section, word, file, variable string) (f Field, err error) {
	t.Helper()
	f, v := Named(s, "", word), document.Value{Kind: document.Untyped, Text: variable}
	if file != "" {
		entries, fault := document.Parse([]byte(word + " = " + file))
		if fault != nil {
			t.Fatal(fault)
		}
		v = entries[0].Value
	}
	return f, f.Set(v)
}

// TestAValueIsReadAndShown, of the file and of a variable.
func TestAValueIsReadAndShown(t *testing.T) {
	for _, tt := range []struct{ word, file, variable, shown string }{
		{"path", `"a b"`, "", `"a b"`}, {"path", "", `a "b"`, `"a \"b\""`},
		{"words", `"text"`, "", `"text"`}, {"words", "", "json", `"json"`},
		{"switch", "true", "", "true"}, {"switch", "", "true", "true"},
		{"count", "0x10", "", "16"}, {"count", "", "64", "64"}, {"count", "1_0", "", "10"},
		{"bytes", "9_000_000_000", "", "9000000000"},
		{"share", "0.3", "", "0.3"}, {"share", "1", "", "1"}, {"share", "", "0.25", "0.25"},
		{"wait", `"90s"`, "", ""}, {"wait", `"45s"`, "", `"45s"`}, {"wait", "", "1s", `"1s"`},
		{"key", `"hunter2"`, "", "(set, 1 value)"}, {"key", `["a", "b"]`, "", "(set, 2 values)"}, {"key", "", "one,still one", "(set, 1 value)"},
		{"keys", "", "a,b", "(set, 2 values)"},
		{"list", `["a", "b,c"]`, "", `["a", "b,c"]`}, {"list", "", "a,b", `["a", "b"]`},
		{"send", `["attribute", "cohort"]`, "", `["attribute", "cohort"]`}, {"send", `"none"`, "", `"none"`}, {"send", "", "event,list", `["event", "list"]`},
	} {
		f, err := set(t, new(section), tt.word, tt.file, tt.variable)
		switch {
		case tt.shown == "" && err == nil:
			t.Errorf("%s = %s%s is taken", tt.word, tt.file, tt.variable)
		case tt.shown != "" && (err != nil || f.Show() != tt.shown):
			t.Errorf("%s = %s%s is shown as %s, %v", tt.word, tt.file, tt.variable, f.Show(), err)
		}
	}
}

// TestAValueThatIsRefusedLeavesTheOldOne, and is named by what it must be.
func TestAValueThatIsRefusedLeavesTheOldOne(t *testing.T) {
	for _, tt := range []struct{ word, file, variable, want string }{
		{"path", "7", "", "must be text in double quotes"}, {"path", `"a\u0000"`, "", "must not contain a zero byte"},
		{"words", `"xml"`, "", "must be json or text"},
		{"switch", `"true"`, "", "must be true or false, without quotes"}, {"switch", "", "yes", "must be true or false, without quotes"},
		{"count", "0", "", "must be from 1 to 64"}, {"count", "65", "", "must be from 1 to 64"}, {"count", "", "0x10", "must be a whole number"}, {"count", `"4"`, "", "must be a whole number, without quotes"},
		{"bytes", "-1", "", "must be 0 or more"},
		{"share", "30", "", "must be from 0 to 1: write 30 % as 0.3"}, {"share", "101", "", "must be from 0 to 1"}, {"share", "nan", "", "must be from 0 to 1"}, {"share", `"0.3"`, "", "must be a number like 0.3, without quotes"},
		{"wait", `"999ms"`, "", "must be from 1s to 45s"}, {"wait", `"46s"`, "", "must be from 1s to 45s"}, {"wait", "30", "", `must be a duration in double quotes, like "30s", "15m" or "72h"`},
		{"key", `["a", ""]`, "", "has an empty value in the list"}, {"key", "7", "", "must be text in double quotes, or a list of such texts"},
		{"send", "[]", "", `must have at least one word, or be "none"`}, {"send", `["none", "event"]`, "", `"none" stands alone`},
	} {
		s := &section{Inner: Inner{"old"}, Words: "json", Count: 5, Bytes: 6, Share: 0.5, Wait: Duration{7 * time.Second}, Key: Secret{"old"}, List: []string{"old"}, Send: domain.SendEvent}
		before := Named(s, "", tt.word).Show()
		f, err := set(t, s, tt.word, tt.file, tt.variable)
		if err == nil || err.Error() != tt.want || f.Show() != before {
			t.Errorf("%s = %s%s: %v, and it is %s", tt.word, tt.file, tt.variable, err, f.Show())
		}
	}
}

// TestTextOfASecretIsNeverShown, nor which of its values is current.
func TestTextOfASecretIsNeverShown(t *testing.T) {
	f, err := set(t, new(section), "key", `"hunter2"`, "")
	if err != nil || !f.IsSecret() || f.Show() != "(set, 1 value)" {
		t.Errorf("%v, secret %v, shown as %s", err, f.IsSecret(), f.Show())
	}
	if f := Named(new(section), "", "path"); f.IsSecret() {
		t.Error("a path is a secret")
	}
}
