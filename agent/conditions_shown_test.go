package agent

import (
	"testing"

	"personasync/agent/condition"
)

// TestTheDoctorShowsEveryConditionAsItIs: under its name, and as severe as it is.
func TestTheDoctorShowsEveryConditionAsItIs(t *testing.T) {
	for _, k := range condition.Kinds {
		for _, severity := range k.Severities {
			c := condition.Condition{Name: k.Name, Severity: severity, Text: "It is so.", Commands: []string{"personasync status"}}
			var d doctor
			d.findCondition(&c)
			if n := len(d.findings); k.Name != condition.NotRunning && (n != 1 || d.findings[0].Condition != k.Name || d.findings[0].Severity != severity || d.findings[0].Check != k.Check) {
				t.Errorf("of %s, %s, the doctor finds %+v", k.Name, severity, d.findings)
			}
		}
	}
}
