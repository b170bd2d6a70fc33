package agent

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"personasync/agent/condition"
	"personasync/store"
)

// TestAMembershipBesideAValueThatNobodyHoldsIsDelivered: a number such as 1e400 beside the flag parked the whole
// event, and a retry could not help.
func TestAMembershipBesideAValueThatNobodyHoldsIsDelivered(t *testing.T) {
	s := newSite(t)
	log := new(journal)
	c := s.load("PERSONASYNC_DEFAULTS_FORWARD_TRAITS=*")
	a := s.start(c, RunOptions{Log: slog.New(slog.NewTextHandler(log, nil))})
	defer http.DefaultClient.CloseIdleConnections()
	about := `"context":{"personas":{"computation_class":"audience","computation_id":"aud_1","computation_key":"vip","space_id":"spa_1"}}`
	a.tell(`{"type":"identify","userId":"ann","messageId":"m-1","traits":{"score":1e400,"vip":true,"city":"Oulu","deep":[{"a":-1e999}],"half\ud83d":1},` + about + `}`)
	a.tell(`{"type":"track","event":"Audience Entered","userId":"ann","messageId":"m-2","properties":{"vip":true,"score":1e400,"city":"Oulu","half\ud83d":1,"half\ud83e":2},` + about + `}`)
	i, _ := open(t, c)
	eventually(t, i, "all is delivered", func(s condition.Status) bool {
		return s.Received == 2 && s.Unapplied == 0 && s.Pending == 0 && s.Delivered > 0
	})

	ann, _ := s.box.User("ann")
	if string(ann.Attributes["vip"]) != "true" || string(ann.Attributes["city"]) != `"Oulu"` || len(ann.Attributes) != 2 {
		t.Errorf("MoEngage holds %v", ann.Attributes)
	}
	events := s.box.Events("ann")
	if len(events) != 1 {
		t.Fatalf("MoEngage was told of %d events", len(events))
	}
	said := string(events[0].Attributes)
	for _, want := range []string{`"vip":true`, `"city":"Oulu"`, `"half` + "\uFFFD" + `":1`, `"segment_2_half` + "\uFFFD" + `":2`} {
		if !strings.Contains(said, want) {
			t.Errorf("the event lacks %s: %s", want, said)
		}
	}
	if strings.Contains(said, "score") || strings.Contains(said, "1e400") {
		t.Errorf("the event has the value: %s", said)
	}
	for _, name := range []string{"score", "deep", "\"half"} {
		if strings.Count(log.String(), "name="+name) != 1 {
			t.Errorf("%s is not logged once:\n%s", name, log)
		}
	}
	if text := log.String(); strings.Contains(text, "ann") || strings.Contains(text, "1e400") {
		t.Errorf("the log names the user or the value:\n%s", text)
	}
	if text := scrape(t, "http://"+a.Admin.String()+"/metrics"); !strings.Contains(text, "\npersonasync_values_left_out_total 4\n") {
		t.Error("the metric does not count the four values")
	}
	trail, err := i.Activity(t.Context(), store.ActivityFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var leftOut []string
	for _, h := range trail.Items {
		leftOut = append(leftOut, h.LeftOut...)
	}
	slices.Sort(leftOut)
	if !slices.Equal(leftOut, []string{"deep", "half\uFFFD", "score", "score"}) {
		t.Errorf("tail names %q", leftOut)
	}
}

// TestAnExitWithoutAClassIsAnExit: a mapping that drops computation_class had every event parked, although the
// computation was known.
func TestAnExitWithoutAClassIsAnExit(t *testing.T) {
	s := newSite(t)
	c := s.load()
	a := s.start(c, RunOptions{})
	defer http.DefaultClient.CloseIdleConnections()
	const classless = `{"type":"identify","userId":"ann","messageId":"m-%s","traits":{"vip":%s},"context":{"personas":{"computation_key":"vip","space_id":"spa_1"}}}`
	i, _ := open(t, c)
	a.tell(fmt.Sprintf(classless, "0", "true"))
	eventually(t, i, "an event of an unknown computation is parked", func(s condition.Status) bool { return s.Parked == 1 })
	a.tell(`{"type":"identify","userId":"ann","messageId":"m-1","traits":{"vip":true},"context":{"personas":{"computation_class":"audience","computation_id":"aud_1","computation_key":"vip","space_id":"spa_1"}}}`)
	a.tell(fmt.Sprintf(classless, "2", "false"))
	eventually(t, i, "the exit is one", func(s condition.Status) bool { return s.Events.Transitions == 2 && s.Parked == 1 })
}
