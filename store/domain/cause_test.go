package domain

import (
	"strings"
	"testing"
)

func TestCausesAreTheSameWhereOnlyTheUserDiffers(t *testing.T) {
	for _, c := range []struct{ name, user, sentence, want string }{
		{"no words of the other side", "usr_1", "MoEngage refused the data.", "data_refused"},
		{"the user", "usr_1", "Refused." + Said + "customer usr_1 is blocked.", "data_refused: customer … is blocked"},
		{"numbers", "u", "Refused." + Said + "value 4711 exceeds 512 characters", "data_refused: value # exceeds # characters"},
		{"addresses", "u", "Refused." + Said + "'ann@example.com' is no id", "data_refused: '…' is no id"},
		{"ids", "u", "Refused." + Said + "request 9c41e2f0-3e8-0 failed", "data_refused: request … failed"},
		{"names of attributes stay", "u", "Refused." + Said + "attribute `high_value` is unknown", "data_refused: attribute `high_value` is unknown"},
		{"nothing said", "u", "Refused." + Said, "data_refused"},
	} {
		ch := Change{User: c.user, Reason: "data_refused", Sentence: c.sentence}
		if got := ch.Cause(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	long := Change{Reason: "r", Sentence: Said + strings.Repeat("wörter ", 200)}
	if got := []rune(long.Cause()); len(got) > causeLength {
		t.Errorf("a cause of %d characters", len(got))
	}
}

// TestAnIDOfHexadecimalDigitsIsNoWord: words such as facade and decade have their letters alone, and short ones may be any.
func TestAnIDOfHexadecimalDigitsIsNoWord(t *testing.T) {
	for word, want := range map[string]bool{
		"9c41e2f0": true, "ABCDEF01": true, "abcdefa0": true, "0abcdefa": true, "9abcdefa": true, "9c41e2f0-3e8-0": true, "12345678": true,
		"9c41e2f": false, "facadeaa": false, "deadbeef": false, "abc-defa": false, "9c41e2g0": false, "G1234567": false, "@1234567": false, "`1234567": false, ":1234567": false, "/1234567": false, "": false,
	} {
		if got := isHex(word); got != want {
			t.Errorf("%q is an id: %v", word, got)
		}
	}
}
