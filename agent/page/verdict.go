package page

import (
	"fmt"
	"strings"

	"personasync/agent/condition"
)

// Verdict is a condition as the page shows it, or one line that says that there is none.
type Verdict struct {
	Name     string   `json:"name"`     // of the condition; empty when all is well
	Level    string   `json:"level"`    // ok | warn | bad
	Severity string   `json:"severity"` // of the condition; empty when all is well
	Text     string   `json:"text"`
	Command  string   `json:"command"`  // the first of them; may be empty
	Commands []string `json:"commands"` // commands to run

	Lost    string `json:"lost"`
	Since   string `json:"since"` // RFC 3339; "" if unknown
	Itself  string `json:"by_itself"`
	Next    string `json:"next"`    // when that happens next, RFC 3339; "" if unknown
	Runbook string `json:"runbook"` // the section about it
}

// verdicts are the conditions. Only without one is the level ok.
func (s *Source) verdicts(st *condition.Status) []Verdict {
	var all []Verdict
	for _, c := range st.Conditions {
		v := Verdict{Name: c.Name, Level: "warn", Severity: c.Severity, Text: s.typed(c.Text), Commands: s.commands(c.Commands),
			Lost: s.typed(c.Lost), Since: c.Since, Itself: c.Itself, Next: c.Next, Runbook: condition.Runbook(c.Name, c.Severity)}
		if c.Severity == condition.Critical {
			v.Level = "bad"
		}
		if len(v.Commands) > 0 {
			v.Command = v.Commands[0]
		}
		all = append(all, v)
	}
	switch {
	case len(all) > 0:
		return all
	case st.Pending > 0:
		return []Verdict{{Level: "ok", Text: fmt.Sprintf("%s on the way to MoEngage. Nothing is stuck, and nothing is lost.", condition.Are(st.Pending, "change")), Commands: []string{}}}
	}
	return []Verdict{{Level: "ok", Text: "MoEngage was told everything. Nothing is parked or held, and nothing is lost.", Commands: []string{}}}
}

// unreadable is the verdict on a store that gives no answer, which judges nothing itself.
func (s *Source) unreadable(err error) Verdict {
	return s.verdicts(&condition.Status{Conditions: []condition.Condition{condition.UnreadableStore(err, s.Store.Role().Shared)}})[0]
}

const program = "personasync "

// commands adds --config to the commands of this program, if they need it to find this agent.
func (s *Source) commands(list []string) []string {
	whole := []string{}
	for _, c := range list {
		if rest, ours := strings.CutPrefix(c, program); ours {
			c = s.Command + " " + rest
		}
		whole = append(whole, c)
	}
	return whole
}

// typed does the same to the commands in a text.
func (s *Source) typed(text string) string {
	return strings.ReplaceAll(text, "`"+program, "`"+s.Command+" ")
}
