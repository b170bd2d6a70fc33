package agent

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"personasync/agent/condition"
	"personasync/store"
	"personasync/store/domain"
)

// deliver sends a request to the door of a running agent, and returns the status of the answer.
func (a *started) deliver(method, path, body string, header ...string) int {
	a.t.Helper()
	req, err := http.NewRequest(method, "http://"+a.Ingest.String()+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(http.DefaultClient.CloseIdleConnections)
	resp.Body.Close()
	return resp.StatusCode
}

// refusedAs finds the count of one kind of refusal.
func refusedAs(list []domain.Refusal, route string, status int, delivery bool) (n uint64) {
	for _, r := range list {
		if r.Route == route && r.Status == status && r.Delivery == delivery {
			n += r.Count
		}
	}
	return n
}

// TestARefusedDeliveryIsCountedAtOnceByItsCode: the count of refused deliveries was late by a minute, knew no
// codes, and did not know 404 and 405 at all.
func TestARefusedDeliveryIsCountedAtOnceByItsCode(t *testing.T) {
	s := newSite(t)
	c := s.load()
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	for range 11 {
		a.deliver("POST", "/segment/webhook", `{}`, "X-Signature", strings.Repeat("0", 40), "User-Agent", "Segment.io/1.0")
	}
	a.deliver("POST", "/webhook", `{}`, "User-Agent", "Segment (Actions)")
	a.deliver("POST", "/wp-login.php", `{}`, "User-Agent", "zgrab/0.x")
	a.deliver("GET", "/segment/webhook", "")
	a.deliver("DELETE", "/v1/track", "")
	check := func(when string, st condition.Status, err error) {
		t.Helper()
		if err != nil || st.Rejected != 15 {
			t.Errorf("%s: %d requests are counted as refused, not 15 (%v)", when, st.Rejected, err)
		}
		for _, want := range []struct {
			route    string
			status   int
			delivery bool
			count    uint64
		}{{"webhook", 401, true, 11}, {"other", 404, true, 1}, {"other", 404, false, 1}, {"webhook", 405, false, 1}, {"tracking", 405, false, 1}} {
			if got := refusedAs(st.Refusals, want.route, want.status, want.delivery); got != want.count {
				t.Errorf("%s: %d of %+v", when, got, want)
			}
		}
	}
	st, err := i.Status(t.Context())
	check("at once", st, err)
	metrics := scrape(t, "http://"+a.Admin.String()+"/metrics")
	if !strings.Contains(metrics, `personasync_requests_refused_total{route="webhook",status="401",code="invalid_signature",delivery="true"} 11`) {
		t.Errorf("the metrics do not tell of the refusals at once")
	}
	a.stop()
	i, _ = open(t, c)
	st, err = i.Status(t.Context())
	check("from the files", st, err)
	s.start(c, RunOptions{})
	i, _ = open(t, c)
	st, err = i.Status(t.Context())
	check("after a restart", st, err)
}

// TestAMethodThatSegmentWasGivenIsALostDelivery: with the method DELETE or GET set in Segment every delivery was
// answered with 405 and discarded, and no condition held, because only POST, PUT and PATCH counted.
func TestAMethodThatSegmentWasGivenIsALostDelivery(t *testing.T) {
	s := newSite(t)
	a := s.start(s.load(), RunOptions{})
	i, _ := open(t, s.load())
	a.deliver("DELETE", "/segment/webhook", `{}`, "User-Agent", "Segment (Actions)")
	a.deliver("GET", "/segment/webhook", "", "X-Signature", "00")
	a.deliver("GET", "/v1/projects/KEY/settings", "", "User-Agent", "analytics-kotlin/1.0") // loses nothing
	a.deliver("OPTIONS", "/segment/webhook", "", "User-Agent", "Segment (Actions)")
	a.deliver("GET", "/segment/webhook", "", "User-Agent", "Mozilla/5.0")
	st, err := i.Status(t.Context())
	if err != nil || refusedAs(st.Refusals, "webhook", 405, true) != 2 || refusedAs(st.Refusals, "other", 404, true) != 0 {
		t.Errorf("the refusals are %+v, %v", st.Refusals, err)
	}
	if c := st.Conditions; len(c) == 0 || c[0].Name != "intake_refused" || c[0].Severity != condition.Critical || !strings.Contains(c[0].Text, "Set the method in Segment to POST") {
		t.Errorf("the conditions are %+v", c)
	}
}

// TestTailShowsRefusalsAndNoFlood: tail was silent about refused deliveries.
func TestTailShowsRefusalsAndNoFlood(t *testing.T) {
	s := newSite(t)
	c := s.load()
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	first, err := i.Activity(t.Context(), store.ActivityFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		a.deliver("POST", "/segment/webhook", `{}`, "X-Signature", strings.Repeat("0", 40))
	}
	for n := range 300 {
		a.deliver("GET", fmt.Sprintf("/path/%d", n), "")
	}
	seen, err := i.Activity(t.Context(), store.ActivityFilter{Cursor: first.Next})
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]int{}
	for _, h := range seen.Items {
		if h.What != "refused" || h.At == "" || h.User != "" {
			t.Errorf("a line of the trail is %+v", h)
		}
		lines[h.Reason]++
	}
	if lines["401 invalid_signature at webhook"] != 3 {
		t.Errorf("three refused deliveries made the lines %v", lines)
	}
	if n := lines["404 not_found at a path that takes no events, no delivery of Segment's"]; n == 0 || n > 20 {
		t.Errorf("a scanner's 300 requests made %d lines", n)
	}
	if again, err := i.Activity(t.Context(), store.ActivityFilter{User: "ann", Cursor: first.Next}); err != nil || len(again.Items) != 0 {
		t.Errorf("of one user, %+v, %v", again.Items, err)
	}
	newest, err := i.Activity(t.Context(), store.ActivityFilter{})
	if err != nil || len(newest.Items) != 2 || newest.Items[0].Count != 3 || newest.Items[1].Count != 300 {
		t.Errorf("the newest lines are %+v, %v", newest.Items, err)
	}
	a.stop()
	i, _ = open(t, c)
	filed, err := i.Activity(t.Context(), store.ActivityFilter{})
	if d := cmp.Diff(newest.Items, filed.Items, cmpopts.IgnoreUnexported(store.ActivityEntry{})); err != nil || d != "" {
		t.Errorf("from the files other lines than from the agent: %v\n%s", err, d)
	}
}
