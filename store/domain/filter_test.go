package domain

import (
	"testing"
	"time"
)

func TestAFilterMatchesEveryPartOfIt(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	change := Change{User: "ann", Computation: "vip", ComputedBy: "aud_1", Received: at, State: StateParked, Reason: "data_refused", Sentence: "It is 12 too long", Answer: Answer{Status: 400, Body: "12 too long"}}
	for _, tt := range []struct {
		name string
		f    OutboxFilter
		want bool
	}{
		{"everything", OutboxFilter{}, true},
		{"the user", OutboxFilter{User: "ann"}, true},
		{"another user", OutboxFilter{User: "bob"}, false},
		{"the key", OutboxFilter{Computation: "vip"}, true},
		{"the id", OutboxFilter{Computation: "aud_1"}, true},
		{"another computation", OutboxFilter{Computation: "gold"}, false},
		{"the reason", OutboxFilter{Reason: "data_refused"}, true},
		{"the cause", OutboxFilter{Reason: change.Cause()}, true},
		{"another reason", OutboxFilter{Reason: "too_large"}, false},
		{"since then", OutboxFilter{Since: at}, true},
		{"since later", OutboxFilter{Since: at.Add(1)}, false},
		{"until then", OutboxFilter{Until: at}, false},
		{"until later", OutboxFilter{Until: at.Add(1)}, true},
		{"all, one of them wrong", OutboxFilter{User: "ann", Computation: "vip", Reason: "data_refused", Since: at, Until: at}, false},
		{"all of them", OutboxFilter{User: "ann", Computation: "vip", Reason: "data_refused", Since: at, Until: at.Add(time.Hour)}, true},
	} {
		if got := tt.f.Matches(&change); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
