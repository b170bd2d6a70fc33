package syncer

import (
	"strings"
	"testing"
)

func TestEveryCodeIsSpelledOut(t *testing.T) {
	for _, code := range Codes() {
		m, ok := Explain(code)
		if !ok {
			t.Fatalf("%s is not explained", code)
		}
		if e := m.Explanation(); e.Code != code || e.Data == "" || e.Lane == "" || e.Attempts == "" || e.Do == "" {
			t.Errorf("%s: %+v", code, e)
		}
	}
	for action := actAccept; action <= actNotSent; action++ {
		if _, ok := consequences[action]; !ok {
			t.Errorf("action %d has no consequences", action)
		}
	}
}

// TestNoAdviceIsOnlyToFixTheCause: of a wrong name, certificate or redirect an operator was told to fix the cause, and of a port that speaks another
// protocol that nothing is to be done.
func TestNoAdviceIsOnlyToFixTheCause(t *testing.T) {
	for _, code := range Codes() {
		m, _ := Explain(code)
		switch e := m.Explanation(); {
		case m.act == actStop && (strings.HasPrefix(e.Do, "Fix the cause") || !strings.Contains(e.Do, "`personasync ")):
			t.Errorf("%s: %q", code, e.Do)
		case !strings.HasPrefix(code, "http_") && code != "interrupted" && m.act == actUncertain && strings.HasPrefix(e.Do, "Nothing"):
			t.Errorf("%s can come of a wrong address: %q", code, e.Do)
		}
	}
}
