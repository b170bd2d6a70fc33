package page

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"personasync/agent/condition"
	"personasync/scheduler"
	"personasync/store/domain"
)

func TestThePageNeedsNothingFromOutside(t *testing.T) {
	err := fs.WalkDir(pageFiles, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := pageFiles.ReadFile(path)
		for _, address := range regexp.MustCompile(`https?://[^'" ]*`).FindAllString(string(text), -1) {
			if address != "http://www.w3.org/2000/svg" {
				t.Errorf("%s speaks of %s", path, address)
			}
		}
		for _, risky := range []string{"innerHTML =", "insertAdjacentHTML", "document.write", "eval(", "style=", "onclick="} {
			if strings.Contains(string(text), risky) {
				t.Errorf("%s has %s, which the page's policy or caution forbids", path, risky)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMaskedIDs(t *testing.T) {
	for id, want := range map[string]string{"": "•••", "x": "•••", "usr_1": "u•••", "Ægir": "Æ•••", "\xff\xfe": "•••"} {
		if got := maskID(id); got != want {
			t.Errorf("%q is shown as %q, want %q", id, got, want)
		}
	}
}

// TestAnOpenPageFollowsAndHoldsUpNoStop reads the stream, and then stops the agent under it.
var two = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

func TestPlannedJobs(t *testing.T) {
	got := plannedJobs([]scheduler.Planned{{Job: "nightly", Spec: "0 3 * * *", Next: two.Add(time.Hour)}, {Job: "by hand"}})
	want := []PlannedJob{{Job: "nightly", Spec: "0 3 * * *", Next: "2026-03-01T03:00:00Z", Local: "Sun 03:00 UTC"}, {Job: "by hand"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestThePageShowsEveryConditionAsItIs: under its name, as severe as it is, with its section of the runbook, and nothing is
// called good beside it.
func TestThePageShowsEveryConditionAsItIs(t *testing.T) {
	for _, k := range condition.Kinds {
		for _, severity := range k.Severities {
			c := condition.Condition{Name: k.Name, Severity: severity, Text: "It is so.", Commands: []string{"personasync status"}}
			shown := new(Source).verdicts(&condition.Status{Conditions: []condition.Condition{c}})
			if len(shown) != 1 || shown[0].Name != k.Name || shown[0].Level == "ok" || shown[0].Severity != severity || shown[0].Runbook != condition.Runbook(k.Name, severity) {
				t.Errorf("of %s, %s, the page says %+v", k.Name, severity, shown)
			}
		}
	}
	for _, pending := range []uint64{0, 2} {
		if shown := new(Source).verdicts(&condition.Status{Pending: pending}); len(shown) != 1 || shown[0].Level != "ok" {
			t.Errorf("of %d changes on their way the page says %+v", pending, shown)
		}
	}
}

// TestThePageNamesTheAgentThatIsGoneAsTheStatusDoes: a page whose agent was killed has only its script to say so.
func TestThePageNamesTheAgentThatIsGoneAsTheStatusDoes(t *testing.T) {
	script, err := pageFiles.ReadFile("page.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{
		"name: '" + condition.NotRunning + "', level: 'bad', severity: '" + condition.Critical + "'",
		"runbook: '" + condition.Runbook(condition.NotRunning, condition.Critical) + "'",
	} {
		if !strings.Contains(string(script), words) {
			t.Errorf("page.js does not say %s", words)
		}
	}
}

// TestACommandReachesThisAgent: one that is copied finds the agent whose page it stands on.
func TestACommandReachesThisAgent(t *testing.T) {
	s := &Source{Command: "personasync --config /srv/a.toml"}
	shown := s.verdicts(&condition.Status{Conditions: []condition.Condition{{Name: "damage", Severity: condition.Critical, Text: "See `personasync status`.", Lost: "As `personasync status` says.",
		Itself: "Nothing.", Since: "2026-03-01T02:00:00Z", Next: "2026-03-01T03:00:00Z", Commands: []string{"df -h /srv", "personasync status"}}}})[0]
	want := Verdict{Name: "damage", Level: "bad", Severity: "critical", Text: "See `personasync --config /srv/a.toml status`.", Lost: "As `personasync --config /srv/a.toml status` says.", Itself: "Nothing.",
		Since: "2026-03-01T02:00:00Z", Next: "2026-03-01T03:00:00Z", Command: "df -h /srv", Commands: []string{"df -h /srv", "personasync --config /srv/a.toml status"}, Runbook: "docs/operating.md#personasyncdamage"}
	if d := cmp.Diff(want, shown); d != "" {
		t.Error(d)
	}
}

// TestAWaitingDecisionHasTheTimeOfItsOldest: the conditions know none of what is parked.
func TestAWaitingDecisionHasTheTimeOfItsOldest(t *testing.T) {
	causes := []Cause{{State: "held", First: "2026-03-01T01:00:00Z"}, {State: "parked", First: "2026-03-01T03:00:00Z"}, {State: "parked", First: "2026-03-01T02:00:00Z"}, {State: "parked"}}
	got := sinceOldest([]Verdict{{Name: "parked", Severity: "warning"}, {Name: "held", Severity: "warning", Since: "2026-03-01T00:00:00Z"}, {Name: "disk", Severity: "warning"}}, causes)
	if got[0].Since != "2026-03-01T02:00:00Z" || got[1].Since != "2026-03-01T00:00:00Z" || got[2].Since != "" {
		t.Errorf("they hold since %+v", got)
	}
}

func TestAudiencesWithHeldChangesComeFirst(t *testing.T) {
	var keys []string
	for _, c := range byMembers([]domain.ComputationInfo{{Key: "b", Members: 9}, {Key: "", Members: 99}, {Key: "c", Members: 1, Held: 2}, {Key: "d", Members: 3, Held: 1}, {Key: "a", Members: 9}}) {
		keys = append(keys, c.Key)
	}
	if d := cmp.Diff([]string{"d", "c", "a", "b"}, keys); d != "" {
		t.Error(d)
	}
}
