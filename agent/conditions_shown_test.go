package agent

import "testing"

// TestThePageAndTheDoctorShowEveryConditionAsItIs: as severe as it is, and nothing is called good beside it.
func TestThePageAndTheDoctorShowEveryConditionAsItIs(t *testing.T) {
	for _, k := range conditionKinds {
		for _, severity := range k.severities {
			c := Condition{Name: k.name, Severity: severity, Text: "It is so.", Commands: []string{"personasync status"}}
			shown := verdicts(&Status{Conditions: []Condition{c}})
			if len(shown) != 1 || shown[0].Level == "ok" || shown[0].Severity != severity {
				t.Errorf("of %s, %s, the page says %+v", k.name, severity, shown)
			}
			var d doctor
			d.findCondition(&c)
			if n := len(d.findings); k.name != conditionNotRunning && (n != 1 || d.findings[0].Severity != severity || d.findings[0].Check != k.check) {
				t.Errorf("of %s, %s, the doctor finds %+v", k.name, severity, d.findings)
			}
		}
	}
	for _, pending := range []uint64{0, 2} {
		if shown := verdicts(&Status{Pending: pending}); len(shown) != 1 || shown[0].Level != "ok" {
			t.Errorf("of %d changes on their way the page says %+v", pending, shown)
		}
	}
}
