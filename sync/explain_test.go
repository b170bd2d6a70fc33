package syncer

import "testing"

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
