package page

import (
	"fmt"

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
}

// verdicts are the conditions. Only without one is the level ok.
func verdicts(st *condition.Status) []Verdict {
	var all []Verdict
	for _, c := range st.Conditions {
		v := Verdict{Name: c.Name, Level: "warn", Severity: c.Severity, Text: c.Text, Commands: c.Commands}
		if c.Severity == condition.Critical {
			v.Level = "bad"
		}
		if len(c.Commands) > 0 {
			v.Command = c.Commands[0]
		}
		all = append(all, v)
	}
	switch {
	case len(all) > 0:
		return all
	case st.Pending > 0:
		return []Verdict{{Level: "ok", Text: fmt.Sprintf("%s on the way to MoEngage. Nothing is stuck.", condition.Are(st.Pending, "change")), Commands: []string{}}}
	}
	return []Verdict{{Level: "ok", Text: "MoEngage was told everything. Nothing waits, nothing is parked.", Commands: []string{}}}
}
