package journal

import (
	"cmp"
	"strings"

	"personasync/cli/internal/term"
	"personasync/store/domain"
)

// UserTable has the columns of one user's enters and exits, and UserRow a line of it.
var UserTable = []term.Column{{Title: "RECEIVED"}, {Title: "COMPUTATION"}, {Title: "CHANGE"}, {Title: "CAUSE"}, {Title: "EVENT TIME"}, {Title: "AT MOENGAGE", Flexible: true}}

// UserRow returns a line of UserTable.
func UserRow(i domain.JournalInfo) []string {
	return []string{term.Second(i.ReceivedAt), i.Computation, change(&i), cause(&i), term.Second(i.EventTime), outcome(&i)}
}

// AudienceTable has the columns of the enters and exits of one audience.
var AudienceTable = []term.Column{{Title: "RECEIVED"}, {Title: "USER"}, {Title: "CHANGE"}, {Title: "CAUSE"}, {Title: "EVENT TIME"}}

// AudienceRow returns a line of AudienceTable.
func AudienceRow(i domain.JournalInfo) []string {
	return []string{term.Second(i.ReceivedAt), i.User, change(&i), cause(&i), term.Second(i.EventTime)}
}

// change is the word of a transition. Without a change of the membership it says what MoEngage was to be told.
func change(i *domain.JournalInfo) string {
	switch {
	case i.Moved || i.Transition == "event":
		return i.Transition
	case i.Transition == "enter":
		return "told in"
	}
	return "told out"
}

// cause is the event's message id, or the order and its operator.
func cause(i *domain.JournalInfo) string {
	words := map[string]string{"event": "", "consent": "consent", "repair": "audience verify --repair", "retry": "outbox retry"}
	word, known := words[i.Cause]
	if !known {
		word = "audience " + i.Cause
	}
	if i.By != "" {
		word += " by " + i.By
	}
	return strings.TrimSpace(word + " " + cmp.Or(i.MessageID, map[bool]string{true: "an event without a message id"}[word == ""]))
}

// outcome says what became of each change.
func outcome(i *domain.JournalInfo) string {
	if len(i.Told) == 0 {
		if i.Cause == "baseline" {
			return "nothing sent: MoEngage has it already"
		}
		return "nothing was to be sent"
	}
	parts := make([]string, len(i.Told))
	for n, t := range i.Told {
		parts[n] = t.Kind + " " + t.State
		if t.At != "" {
			parts[n] += " " + term.Second(t.At)
		}
		if t.State != domain.StateDelivered.String() {
			if why := cmp.Or(t.Waits, t.Reason); why != "" {
				parts[n] += " (" + why + ")"
			}
		}
	}
	return strings.Join(parts, "; ")
}
