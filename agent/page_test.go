package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"personasync/agent/page"
	"personasync/store/domain"
)

func getJSON(t *testing.T, url string, into any) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	return resp.StatusCode
}

func TestStatusPageOfARunningAgent(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	a := s.start(s.load(), RunOptions{})
	base := "http://" + a.Admin.String()
	var snap page.Snapshot
	if getJSON(t, base+"/api/page", &snap); snap.Setup == nil || !snap.Setup.Secret || !snap.Setup.Local || !strings.HasSuffix(snap.Setup.URL, "/segment/webhook") || snap.Verdicts[0].Name != "no_event_yet" {
		t.Errorf("before the first event the page shows %+v and %+v", snap.Setup, snap.Verdicts)
	}
	a.tell(news("ann", true, time.Now().Add(-time.Minute)))
	waitFor(t, "the delivery to be shown", func() bool {
		return getJSON(t, base+"/api/page", &snap) == http.StatusOK && snap.Status.Delivered == 1
	})
	if len(snap.Computations) != 1 || snap.Computations[0].Key != "vip" || snap.Verdicts[0].Level != "ok" || snap.ShowUsers || snap.Setup != nil {
		t.Errorf("the page shows %+v", snap)
	}
	var series page.Series
	waitFor(t, "a sample", func() bool {
		return getJSON(t, base+"/api/page/series?seconds=900", &series) == http.StatusOK && len(series.At) > 0
	})
	if len(series.Pending) != len(series.At) || len(series.P95Ms) != len(series.At) {
		t.Errorf("the columns are not of equal length: %+v", series)
	}
	var refused map[string]any
	for _, seconds := range []string{"", "0", "-1", "x", "86401"} {
		if code := getJSON(t, base+"/api/page/series?seconds="+seconds, &refused); code != http.StatusBadRequest {
			t.Errorf("seconds=%s is answered %d", seconds, code)
		}
	}
	resp, err := http.Get(base + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if policy := resp.Header.Get("Content-Security-Policy"); strings.Contains(policy, "unsafe") || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("the page's policy is %q", policy)
	}
	if resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("other origins may read the page")
	}
}

func TestUsersOnThePageAreMasked(t *testing.T) {
	s := newSite(t)
	for _, show := range []bool{false, true} {
		var lines []string
		if show {
			lines = append(lines, "PERSONASYNC_ADMIN_SHOW_USERS=true")
		}
		a := s.start(s.load(lines...), RunOptions{})
		a.tell(news("ann_7@example.com", true, time.Now().Add(-time.Minute)))
		a.tell(strings.NewReplacer(`"vip":false`, `"city":"Bergen"`, `"audience"`, `"trait"`, `"aud_1"`, `"t_1"`, `"computation_key":"vip"`, `"computation_key":"city"`).
			Replace(news("ann_7@example.com", false, time.Now())))
		var u domain.UserInfo
		waitFor(t, "the user to be known", func() bool {
			u = domain.UserInfo{}
			return getJSON(t, "http://"+a.Admin.String()+"/api/page/user?id=ann_7@example.com", &u) == http.StatusOK &&
				len(u.Memberships) == 1 && len(u.Traits) == 1 && len(u.History) == 2
		})
		text, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		for _, personal := range []string{"ann_7", "Bergen"} {
			if strings.Contains(string(text), personal) != show {
				t.Errorf("with show_users = %v the page of the user is %s", show, text)
			}
		}
		var p map[string]any
		if code := getJSON(t, "http://"+a.Admin.String()+"/api/page/user?id=nobody", &p); code != http.StatusNotFound {
			t.Errorf("nobody is answered %d", code)
		}
		a.stop()
	}
}

// TestItemsOfACauseOnThePage: from the event that cannot be used to the line that says so, counted by cause.
func TestItemsOfACauseOnThePage(t *testing.T) {
	t.Parallel() // it waits for a count
	s := newSite(t)
	a := s.start(s.load(), RunOptions{ConfigFile: "/srv/agent.toml"})
	a.tell(strings.Replace(news("ann_7", true, time.Now()), `"vip":true`, `"x":1`, 1)) // undetermined
	base := "http://" + a.Admin.String()
	var snap page.Snapshot
	waitFor(t, "the cause to be counted", func() bool {
		return getJSON(t, base+"/api/page", &snap) == http.StatusOK && len(snap.Causes) == 1
	})
	c := snap.Causes[0]
	if c.State != "parked" || c.Reason != "undetermined" || c.Computation != "vip" || c.Count != 1 || c.First == "" || c.Means == "" || len(c.Commands) != 2 ||
		c.Commands[1] != "personasync --config /srv/agent.toml outbox retry --reason undetermined --computation vip" {
		t.Errorf("the cause is %+v", c)
	}
	var got struct {
		Items []page.Item `json:"items"`
		Next  string      `json:"next"`
	}
	getJSON(t, base+"/api/page/items?state=parked&reason=undetermined&computation=vip", &got)
	if len(got.Items) != 1 || got.Items[0].User != "a•••" || got.Items[0].Kind != "received" || got.Next != "" {
		t.Errorf("its items are %+v", got)
	}
}

func TestAnOpenPageFollowsAndHoldsUpNoStop(t *testing.T) {
	t.Parallel() // it waits for seconds
	s := newSite(t)
	a := s.start(s.load(), RunOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.Admin.String()+"/api/page/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("the stream is %s", kind)
	}
	next := events(t, resp)
	if first := next(); first == nil || first.Status.Delivered != 0 {
		t.Fatalf("the page is told first %+v", first)
	}
	a.tell(news("ann", true, time.Now().Add(-time.Minute)))
	for told := next(); told.Status.Delivered != 1; told = next() {
	}
	a.stop()
	for next() != nil {
	}
}

// events reads a stream of snapshots; nil is its end.
func events(t *testing.T, resp *http.Response) func() *page.Snapshot {
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return func() *page.Snapshot {
		for lines.Scan() {
			data, found := strings.CutPrefix(lines.Text(), "data: ")
			if !found {
				continue
			}
			var s page.Snapshot
			if err := json.Unmarshal([]byte(data), &s); err != nil {
				t.Fatal(err)
			}
			return &s
		}
		if err := lines.Err(); err != nil {
			t.Errorf("the stream was cut off: %v", err)
		}
		return nil
	}
}

func TestHistorySurvivesARestart(t *testing.T) {
	s := newSite(t)
	c := s.load()
	a := s.start(c, RunOptions{})
	a.tell(news("ann", true, time.Now().Add(-time.Minute)))
	var series page.Series
	waitFor(t, "a sample", func() bool {
		getJSON(t, "http://"+a.Admin.String()+"/api/page/series?seconds=900", &series)
		return len(series.At) > 0
	})
	first := series.At[0]
	a.stop()
	a = s.start(c, RunOptions{})
	getJSON(t, "http://"+a.Admin.String()+"/api/page/series?seconds=900", &series)
	if len(series.At) == 0 || series.At[0] != first {
		t.Errorf("after the restart history begins at %v, before it began at %d", series.At, first)
	}
}
