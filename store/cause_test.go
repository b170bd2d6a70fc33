package store

import (
	"fmt"
	"strings"
	"testing"

	"personasync/store/domain"
)

func TestCausesAreTheSameWhereOnlyTheUserDiffers(t *testing.T) {
	for _, c := range []struct{ name, user, sentence, want string }{
		{"no words of the other side", "usr_1", "MoEngage refused the data.", "data_refused"},
		{"the user", "usr_1", "Refused." + domain.Said + "customer usr_1 is blocked.", "data_refused: customer … is blocked"},
		{"numbers", "u", "Refused." + domain.Said + "value 4711 exceeds 512 characters", "data_refused: value # exceeds # characters"},
		{"addresses", "u", "Refused." + domain.Said + "'ann@example.com' is no id", "data_refused: '…' is no id"},
		{"ids", "u", "Refused." + domain.Said + "request 9c41e2f0-3e8-0 failed", "data_refused: request … failed"},
		{"names of attributes stay", "u", "Refused." + domain.Said + "attribute `high_value` is unknown", "data_refused: attribute `high_value` is unknown"},
		{"nothing said", "u", "Refused." + domain.Said, "data_refused"},
	} {
		ch := domain.Change{User: c.user, Reason: "data_refused", Sentence: c.sentence}
		if got := ch.Cause(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	long := domain.Change{Reason: "r", Sentence: domain.Said + strings.Repeat("wörter ", 200)}
	if got := []rune(long.Cause()); len(got) > domain.CauseLength {
		t.Errorf("a cause of %d characters", len(got))
	}
}

// Whoever answers with other words each time does not make the statistics grow.
func TestCausesOfAReasonAreBounded(t *testing.T) {
	var all []domain.StatLine
	for i := range 10 * statCauses {
		cause := fmt.Sprintf("r: %c%d", 'a'+i%26, i)
		all = MergeStats(all, []domain.StatLine{{State: "parked", Reason: "r", Cause: cause, Count: 1, Samples: []string{"x"}}})
	}
	sum := uint64(0)
	for _, l := range all {
		sum += l.Count
	}
	if len(all) > statCauses+1 || sum != 10*statCauses {
		t.Errorf("%d lines that add up to %d", len(all), sum)
	}
}
