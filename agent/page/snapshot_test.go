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

// TestThePageShowsEveryConditionAsItIs: as severe as it is, and nothing is called good beside it.
func TestThePageShowsEveryConditionAsItIs(t *testing.T) {
	for _, k := range condition.Kinds {
		for _, severity := range k.Severities {
			c := condition.Condition{Name: k.Name, Severity: severity, Text: "It is so.", Commands: []string{"personasync status"}}
			shown := verdicts(&condition.Status{Conditions: []condition.Condition{c}})
			if len(shown) != 1 || shown[0].Level == "ok" || shown[0].Severity != severity {
				t.Errorf("of %s, %s, the page says %+v", k.Name, severity, shown)
			}
		}
	}
	for _, pending := range []uint64{0, 2} {
		if shown := verdicts(&condition.Status{Pending: pending}); len(shown) != 1 || shown[0].Level != "ok" {
			t.Errorf("of %d changes on their way the page says %+v", pending, shown)
		}
	}
}
