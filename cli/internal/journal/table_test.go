package journal

import (
	"strings"
	"testing"

	"personasync/store/domain"
)

func TestALineSaysWhyAndWhatWasTold(t *testing.T) {
	accepted := domain.JournalTold{Kind: "attribute", State: "delivered", At: "2026-05-03T11:02:10Z", Reason: "http_503"}
	for name, tc := range map[string]struct {
		line domain.JournalInfo
		want string
	}{
		"an event":             {domain.JournalInfo{Transition: "enter", Moved: true, Cause: "event", MessageID: "m1", Told: []domain.JournalTold{accepted}}, "enter|m1|attribute delivered 2026-05-03 11:02:10"},
		"one without an id":    {domain.JournalInfo{Transition: "exit", Moved: true, Cause: "event"}, "exit|an event without a message id|nothing was to be sent"},
		"the other call":       {domain.JournalInfo{Transition: "enter", Cause: "event", MessageID: "m2"}, "told in|m2|nothing was to be sent"},
		"a step of a journey":  {domain.JournalInfo{Transition: "event", Cause: "event", MessageID: "m3"}, "event|m3|nothing was to be sent"},
		"an order":             {domain.JournalInfo{Transition: "exit", Moved: true, Cause: "close", By: "olga"}, "exit|audience close by olga|nothing was to be sent"},
		"an unknown operator":  {domain.JournalInfo{Transition: "enter", Moved: true, Cause: "baseline"}, "enter|audience baseline|nothing sent: MoEngage has it already"},
		"a repair":             {domain.JournalInfo{Transition: "exit", Cause: "repair"}, "told out|audience verify --repair|nothing was to be sent"},
		"consent":              {domain.JournalInfo{Transition: "exit", Cause: "consent", MessageID: "m4"}, "told out|consent m4|nothing was to be sent"},
		"what was not sent":    {domain.JournalInfo{Transition: "exit", Moved: true, Cause: "event", MessageID: "m5", Told: []domain.JournalTold{{Kind: "event", State: "held", Reason: "mass_exit", Waits: "decide"}, {Kind: "cohort", State: "withheld", Reason: "consent", At: "2026-05-03T11:02:10Z"}}}, "exit|m5|event held (decide); cohort withheld 2026-05-03 11:02:10 (consent)"},
		"a retry of something": {domain.JournalInfo{Transition: "enter", Cause: "retry", By: "olga"}, "told in|outbox retry by olga|nothing was to be sent"},
	} {
		row := UserRow(tc.line)
		if got := strings.Join([]string{row[2], row[3], row[5]}, "|"); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
		if other := AudienceRow(tc.line); len(row) != len(UserTable) || len(other) != len(AudienceTable) || other[3] != row[3] {
			t.Errorf("%s: the audience's line is %q", name, other)
		}
	}
}
