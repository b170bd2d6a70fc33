package agent

import (
	"testing"

	"personasync/agent/condition"
)

// TestThePageAndTheDoctorShowEveryConditionAsItIs: as severe as it is, and nothing is called good beside it.
func TestThePageAndTheDoctorShowEveryConditionAsItIs(t *testing.T) {
	for _, k := range condition.Kinds {
		for _, severity := range k.Severities {
			c := condition.Condition{Name: k.Name, Severity: severity, Text: "It is so.", Commands: []string{"personasync status"}}
			shown := verdicts(&condition.Status{Conditions: []condition.Condition{c}})
			if len(shown) != 1 || shown[0].Level == "ok" || shown[0].Severity != severity {
				t.Errorf("of %s, %s, the page says %+v", k.Name, severity, shown)
			}
			var d doctor
			d.findCondition(&c)
			if n := len(d.findings); k.Name != condition.NotRunning && (n != 1 || d.findings[0].Severity != severity || d.findings[0].Check != k.Check) {
				t.Errorf("of %s, %s, the doctor finds %+v", k.Name, severity, d.findings)
			}
		}
	}
	for _, pending := range []uint64{0, 2} {
		if shown := verdicts(&condition.Status{Pending: pending}); len(shown) != 1 || shown[0].Level != "ok" {
			t.Errorf("of %d changes on their way the page says %+v", pending, shown)
		}
	}
}
