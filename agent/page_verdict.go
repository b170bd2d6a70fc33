package agent

import (
	"fmt"
	"strings"
	"time"

	"personasync/store"
)

// Verdict is one answer to the question that brings people to the status page: is anyone's membership
// wrong in MoEngage, why, and what do I type?
type Verdict struct {
	Name     string   `json:"name"`     // of the condition; empty when all is well
	Level    string   `json:"level"`    // ok | warn | bad
	Severity string   `json:"severity"` // of the condition; empty when all is well
	Text     string   `json:"text"`
	Command  string   `json:"command"`  // the first of them; may be empty
	Commands []string `json:"commands"` // what to type
}

const (
	// slow is how long the oldest change may wait before somebody should know, where changes leave as
	// they come.
	slow = 15 * time.Minute
	// diskSoon is when the end of the disk is worth a warning.
	diskSoon = 48 * time.Hour
	// behind is how many records not applied are more than a busy moment.
	behind = 200_000
)

// verdicts shows the conditions. Only where there is none, all is well.
func verdicts(st *Status) []Verdict {
	var all []Verdict
	for _, c := range st.Conditions {
		v := Verdict{Name: c.Name, Level: "warn", Severity: c.Severity, Text: c.Text, Commands: c.Commands}
		if c.Severity == critical {
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
		return []Verdict{{Level: "ok", Text: fmt.Sprintf("%s on the way to MoEngage. Nothing is stuck.", are(st.Pending, "change")), Commands: []string{}}}
	}
	return []Verdict{{Level: "ok", Text: "MoEngage was told everything. Nothing waits, nothing is parked.", Commands: []string{}}}
}

func sinceText(since string) string {
	at, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return ""
	}
	return " since " + at.UTC().Format("15:04 UTC, 2 January")
}

// ended makes sentences of what may lack its full stop, with a space behind them.
func ended(text string) string {
	if text == "" {
		return ""
	}
	return strings.TrimRight(text, ". ") + ". "
}

// expiryOf says how many parked items will expire: "3 expire".
func expiryOf(e *store.Expiring) string {
	switch {
	case e.More:
		return "more than " + thousands(e.Count) + " expire"
	case e.Count == 1:
		return "1 expires"
	}
	return thousands(e.Count) + " expire"
}

// quantity counts things in words: "1 change", "1,204 changes".
func quantity(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if stem, found := strings.CutSuffix(thing, "y"); found {
		return thousands(n) + " " + stem + "ies"
	}
	return thousands(n) + " " + thing + "s"
}

func are(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing + " is"
	}
	return quantity(n, thing) + " are"
}

func thousands(n uint64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
