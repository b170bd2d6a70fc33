package field

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSecretNotGivenSaysSo(t *testing.T) {
	for _, s := range []Secret{nil, {}} {
		if got := fmt.Sprint(s); got != "(not set)" {
			t.Error(got)
		}
	}
	if got := fmt.Sprint(Secret{"a"}); got != "(set, 1 value)" {
		t.Error(got)
	}
}

func TestSecretLinesForgiveEditors(t *testing.T) {
	for text, want := range map[string]Secret{
		"a":                    {"a"},
		"a\n":                  {"a"},
		"new\nold\n":           {"new", "old"},
		"new\r\nold\r\n\r\n":   {"new", "old"},
		"\ufeffa\n\n\n":        {"a"},
		"  Bearer a b \t\n \n": {"Bearer a b"},
		"":                     nil,
		" \r\n\n":              nil,
	} {
		if diff := cmp.Diff([]string(want), []string(SecretLines(text))); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestCurrentSecretIsTheFirst(t *testing.T) {
	if got := (Secret{"new", "old"}).Current(); got != "new" {
		t.Error(got)
	}
	if got := Secret(nil).Current(); got != "" {
		t.Error(got)
	}
}
