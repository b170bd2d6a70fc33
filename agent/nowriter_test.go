package agent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/store/postgres/pgtest"
)

// TestDoorsTellThatNobodyWrites: three agents took deliveries for hours, nothing was sent, and nobody was told, because
// messages are the writer's. One of them tells, once. The one that was the writer goes on receiving.
func TestDoorsTellThatNobodyWrites(t *testing.T) {
	t.Parallel() // it waits
	pair := pgtest.NewPair(t)
	r := newReceiver(t)
	var agents []*started
	var sites []*site
	for range 3 {
		s := newSite(t)
		sites = append(sites, s)
		agents = append(agents, s.start(pairAgent(s, pair, "PERSONASYNC_ADMIN_LISTEN="+freePort(t), "PERSONASYNC_NOTIFY_URL="+r.url, "PERSONASYNC_NOTIFY_AFTER=1s"), RunOptions{}))
	}
	end := pair.Primary.Hold(t, "select from personasync.holder for update")
	for i, a := range agents {
		eventuallyScraped(t, a, "a metric of each agent that says so", `personasync_condition{name="no_writer",severity="critical"} 1`)
		a.tell("[" + news("ann", i%2 == 0, time.Now()) + "]")
	}
	door, _ := open(t, sites[1].load("PERSONASYNC_STORE_ENGINE=postgres", "PERSONASYNC_STORE_URL="+pair.URL()))
	eventually(t, door, "a door says why", func(st condition.Status) bool {
		return st.Ready && slices.ContainsFunc(st.Conditions, func(c condition.Condition) bool {
			return c.Name == condition.NoWriter && strings.Contains(c.Text, "could not take over: take the term")
		})
	})
	if text := scrape(t, "http://"+agents[1].Admin.String()+"/metrics"); strings.Contains(text, `personasync_condition{name="parked"`) {
		t.Error("a door tells of what is the writer's to tell")
	}
	waitFor(t, "a message that nobody writes", func() bool { return r.told("no_writer") == "no_writer began" })
	if told := r.told("no_writer", "store_unreadable"); told != "no_writer began" {
		t.Errorf("told %s", told)
	}
	end() // a busy host may take longer to change roles than the message of an unreadable store waits
	eventuallyScraped(t, agents[1], "an agent that writes", `personasync_condition{name="no_writer",severity="critical"} 0`)
	if told := r.told("no_writer"); !strings.HasPrefix(told, "no_writer began") || strings.Count(told, "began") > 1 {
		t.Errorf("told %s", told)
	}
}

// TestAnAgentBeginsWithoutTheStandbyThatWasLost: it refused to start after a failover that emptied
// synchronous_standby_names, while one that ran went on in the same state and said nothing.
func TestAnAgentBeginsWithoutTheStandbyThatWasLost(t *testing.T) {
	t.Parallel() // it waits
	pair := pgtest.NewPair(t)
	s := newSite(t)
	c := pairAgent(s, pair)
	s.start(c, RunOptions{}).stop()
	pair.Primary.SQL(t, "alter system set synchronous_standby_names = ''")
	pair.Primary.SQL(t, "select pg_reload_conf()")
	a := s.start(c, RunOptions{})
	a.tell("[" + news("ann", true, time.Now()) + "]")
	i, _ := open(t, c)
	says := func(st condition.Status) bool {
		return slices.ContainsFunc(st.Conditions, func(c condition.Condition) bool { return c.Name == "no_standby" && c.Severity == condition.Critical })
	}
	eventually(t, i, "it says that there is no second copy", says)
	pair.Primary.SQL(t, "alter system set synchronous_standby_names = '*'")
	pair.Primary.SQL(t, "select pg_reload_conf()")
	eventually(t, i, "there is one again", func(st condition.Status) bool { return !says(st) && st.Store.Error == "" })
}
