package agent

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// contractReasons are the reasons that the contract with the outside names, under its heading Park reasons, and
// those for which a change is held.
const contractReasons = `undetermined anonymous email_only no_identifier bad_user_id id_blocked id_too_long id_too_short missing_key
	missing_name ambiguous_key class_conflict unknown_class unknown_type account_level no_values too_many_values too_many_names
	name_too_long too_deep invalid_utf8 unverified_delete corrupt mass_exit key_conflict`

// explain-code knew MoEngage's answers and none of our own reasons, which outbox list shows beside them.
func TestEveryReasonIsExplained(t *testing.T) {
	for _, code := range append(strings.Fields(contractReasons+" failed panic"), faultsOfTheDecoder(t)...) {
		e, ok := ExplainCode(code)
		if !ok || e.Code != code || e.Means == "" || e.Agent == "" || e.Data == "" || e.Do == "" {
			t.Errorf("%s is explained as %+v", code, e)
		}
	}
}

// faultsOfTheDecoder reads the codes where they are declared, so that a new one is missed.
func faultsOfTheDecoder(t *testing.T) (codes []string) {
	t.Helper()
	text, err := os.ReadFile("segment/fault.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`Fault\w+\s*= "(\w+)"`).FindAllStringSubmatch(string(text), -1) {
		codes = append(codes, m[1])
	}
	if len(codes) < 15 {
		t.Fatalf("only %d codes were found", len(codes))
	}
	return codes
}

func TestEveryReasonIsInTheTroubleshootingPage(t *testing.T) {
	text, err := os.ReadFile("../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range strings.Fields(contractReasons) {
		if !strings.Contains(string(text), "`"+code+"`") {
			t.Errorf("docs/troubleshooting.md does not have %s", code)
		}
	}
}
