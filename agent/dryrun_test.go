package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
)

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
