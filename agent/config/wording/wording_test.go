package wording

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNearestIsTheOneMeant(t *testing.T) {
	words := []string{"listen", "tls_cert", "tls_key", "auth", "on_delete"}
	for word, want := range map[string]string{
		"lisetn": "listen", "tlscert": "tls_cert", "tls_keys": "tls_key", "ath": "auth", "ondelete": "on_delete",
		"colour": "", "": "", "x": "", strings.Repeat("l", 500): "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestEitherListsAlternatives(t *testing.T) {
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := Either(words); got != want {
			t.Errorf("Either(%q) = %q, want %q", words, got, want)
		}
	}
}

func TestShortenCutsBetweenCharacters(t *testing.T) {
	long := strings.Repeat("é", 100) // 200 bytes
	if got := Shorten("x" + long); got != "x"+strings.Repeat("é", 59)+"…" {
		t.Errorf("Shorten returned %q", got)
	}
	if got := Shorten(long[:120]); got != long[:120] {
		t.Errorf("Shorten changed a text of 120 bytes to %q", got)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"list", "lits", 1}, {"list", "last", 1}, {"show", "shw", 1}, {"run", "flush", 4}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
