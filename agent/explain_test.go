package agent

import (
	"regexp"
	"strings"
	"testing"
)

// contractReasons are the reasons that users filter by, and those for which a change is held: they are never renamed.
const contractReasons = `undetermined anonymous email_only no_identifier bad_user_id id_blocked id_too_long id_too_short missing_key
	missing_name ambiguous_key class_conflict unknown_class unknown_type account_level no_values too_many_values too_many_names
	name_too_long too_deep invalid_utf8 unverified_delete corrupt mass_exit key_conflict consent`

// codesInTheSource are the places where the program gives a reason, so that a new one without an explanation is found.
var codesInTheSource = map[string]*regexp.Regexp{
	"segment/fault.go":                    regexp.MustCompile(`Fault\w+\s*= "(\w+)"`),
	"../store/domain/identity.go":         regexp.MustCompile(`(?m)^\t"(\w+)":`),
	"../store/internal/apply/event.go":    regexp.MustCompile(`park\("(\w+)"`),
	"../store/internal/apply/forget.go":   regexp.MustCompile(`park\("(\w+)"`),
	"../store/internal/apply/record.go":   regexp.MustCompile(`ParkEvent\(.*, "", "(\w+)"`),
	"../sync/check.go":                    regexp.MustCompile(`return "(\w+)"`),
	"../store/internal/outbox/hold.go":    regexp.MustCompile(`[rR]eason\w+ = "(\w+)"`),
	"../store/domain/rollout.go":          regexp.MustCompile(`Reason\w+ = "(\w+)"`),
	"../store/internal/outbox/consent.go": regexp.MustCompile(`[rR]eason\w+ = "(\w+)"`),
	"../store/internal/outbox/settle.go":  regexp.MustCompile(`Reason: "(\w+)"`),
}

// explain-code knew MoEngage's answers and none of our own reasons, which outbox list shows beside them.
func TestEveryReasonIsExplained(t *testing.T) {
	codes := strings.Fields(contractReasons + " failed panic")
	for path, gives := range codesInTheSource {
		found := gives.FindAllStringSubmatch(read(t, path), -1)
		if len(found) == 0 {
			t.Errorf("no reason was found in %s", path)
		}
		for _, m := range found {
			codes = append(codes, m[1])
		}
	}
	for _, code := range codes {
		e, ok := ExplainCode(code)
		if !ok || e.Code != code || e.Means == "" || e.Agent == "" || e.Data == "" || e.Do == "" {
			t.Errorf("%s is explained as %+v", code, e)
		}
	}
}

// The page had a list of its own, which a reason could be missing from.
func TestEveryReasonThatKeepsSomethingIsInTheTroubleshootingPage(t *testing.T) {
	page, kept := read(t, "../docs/troubleshooting.md"), 0
	for _, e := range ExplainCodes() {
		if !strings.Contains(e.Data, "parked") && e.Data != "held" || strings.HasPrefix(e.Code, "http_") {
			continue
		}
		kept++
		if !strings.Contains(page, "`"+e.Code+"`") {
			t.Errorf("docs/troubleshooting.md does not have %s", e.Code)
		}
	}
	if kept < 30 {
		t.Errorf("only %d reasons keep something", kept)
	}
}

// TestEveryCodeOfARefusalIsInTheTroubleshootingPage: status showed codes such as invalid_gzip that no page explained.
func TestEveryCodeOfARefusalIsInTheTroubleshootingPage(t *testing.T) {
	_, rest, _ := strings.Cut(read(t, "../docs/troubleshooting.md"), "## A delivery is refused")
	section, _, _ := strings.Cut(rest, "\n## ")
	code := regexp.MustCompile(`(?:refuse\([^"]*, |unavailable\(|code: |CodeNoCredentials = )"(\w+)"`)
	for _, file := range []string{"answer", "body", "handler", "signature", "tracking", "webhook"} {
		found := code.FindAllStringSubmatch(read(t, "ingest/"+file+".go"), -1)
		if len(found) == 0 {
			t.Errorf("no code was found in %s.go", file)
		}
		for _, m := range found {
			if !strings.Contains(section, "`"+m[1]+"`") {
				t.Errorf("docs/troubleshooting.md does not explain the refusal %s", m[1])
			}
		}
	}
}
