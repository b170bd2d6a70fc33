package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
)

func TestPrintableEvents(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"JSON loses its blanks and nothing else", "{ \"n\": 1.0, \"s\": \"<\u00e9>\" }", "{\"n\":1.0,\"s\":\"<\u00e9>\"}"},
		{"what is no JSON becomes a string", `{"cut`, `"{\"cut"`},
		{"brackets in a string are no depth", `"` + strings.Repeat("[", 1000) + `"`, `"` + strings.Repeat("[", 1000) + `"`},
		{"a quote behind a backslash ends no string", `"\"` + strings.Repeat("[", 1000) + `"`, `"\"` + strings.Repeat("[", 1000) + `"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(printable([]byte(c.raw))); got != c.want {
				t.Errorf("shown as %s, want %s", got, c.want)
			}
		})
	}
	if got := string(printable(nil)); got != "null" {
		t.Errorf("an event that is gone is shown as %s", got)
	}
	deep := printable([]byte(strings.Repeat("[", 5000) + strings.Repeat("]", 5000)))
	if deep[0] != '"' || !json.Valid(deep) {
		t.Errorf("5,000 nested arrays would be indented: %.20s", deep)
	}
}

func TestWhichJobAFlushMeans(t *testing.T) {
	seen := []domain.ComputationInfo{{Key: "a", ID: "aud_1"}, {Key: "twin", ID: "aud_2"}, {Key: "twin", ID: "aud_3"}, {Key: "b", ID: "aud_4"}, {Key: "b", ID: "aud_5"}}
	rules := domain.Rules{Sections: []domain.Section{
		{ID: "aud_2", Policy: domain.Policy{Job: "nightly"}},
		{Key: "unseen", Policy: domain.Policy{Job: "weekly"}},
	}}
	for _, c := range []struct {
		computation, job string
		err              error
	}{
		{"a", "", nil},
		{"aud_2", "nightly", nil},
		{"aud_3", "", nil},
		{"b", "", nil}, // two of that key, but one schedule
		{"unseen", "weekly", nil},
		{"nobody", "", store.ErrNotFound},
	} {
		job, err := pickJob(seen, rules, c.computation)
		if !errors.Is(err, c.err) || err == nil && *job != c.job {
			t.Errorf("%s: %v, %v", c.computation, job, err)
		}
	}
	var ambiguous *store.AmbiguousError
	if _, err := pickJob(seen, rules, "twin"); !errors.As(err, &ambiguous) || len(ambiguous.IDs) != 2 {
		t.Errorf("a key on two schedules: %v", err)
	}
}

// TestDryRunIsBoundedAlikeUpAndDown: more than a page was cut by the agent and not in its files.
func TestDryRunIsBoundedAlikeUpAndDown(t *testing.T) {
	s := newSite(t)
	c := s.load("PERSONASYNC_SCHEDULE_MODE=cron", "PERSONASYNC_SCHEDULE_CRON=0 0 1 1 *")
	a := s.start(c, RunOptions{})
	up, _ := open(t, c)
	var all []string
	for n := range api.MaxDryRun + 100 {
		all = append(all, news(fmt.Sprintf("user-%04d", n), true, time.Now()))
	}
	a.tell("[" + strings.Join(all, ",") + "]")
	eventually(t, up, "they wait", func(s condition.Status) bool { return s.Pending == api.MaxDryRun+100 })
	users := func(i api.Inspector) (n int) {
		r, err := i.DryRun(t.Context(), "", api.MaxDryRun+50)
		if err != nil {
			t.Fatal(err)
		}
		for _, request := range r.Requests {
			n += request.Users
		}
		return n
	}
	whileUp := users(up)
	a.stop()
	down, _ := open(t, c)
	if whileDown := users(down); whileUp != api.MaxDryRun || whileDown != api.MaxDryRun {
		t.Errorf("%d users up and %d down", whileUp, whileDown)
	}
}
