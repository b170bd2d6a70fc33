package notify

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestATestTellsEveryReceiverAndShowsNoSecret: what it shows of an address is its host.
func TestATestTellsEveryReceiverAndShowsNoSecret(t *testing.T) {
	url, got := stub(t, 200, "ok")
	file := filepath.Join(t.TempDir(), "told")
	c := Config{URL: url, Command: []string{"/bin/sh", "-c", "cat > " + file}, Host: "h", Version: "1.0"}
	list := Test(t.Context(), c)
	if len(list) != 2 || !list[0].OK || !list[1].OK || list[0].Receiver != "url" || list[1].Receiver != "command" || list[1].Target != "/bin/sh" {
		t.Fatalf("%+v", list)
	}
	if strings.Contains(list[0].Target, "SECRETPATH") || !strings.HasPrefix(url, list[0].Target) || !strings.HasPrefix(list[0].Target, "http://127.0.0.1:") {
		t.Errorf("it shows %s", list[0].Target)
	}
	if len(*got) != 1 || !strings.Contains((*got)[0].body["text"].(string), "nothing is wrong") {
		t.Errorf("the receiver got %+v", *got)
	}
	if none := Test(t.Context(), Config{HeartbeatURL: url}); len(none) != 0 || len(*got) != 1 {
		t.Errorf("a heartbeat was tested: %+v", none)
	}
}

// TestATestThatFailsSaysWhatToDo, and goes on with the next receiver.
func TestATestThatFailsSaysWhatToDo(t *testing.T) {
	url, _ := stub(t, 404, "no_service")
	list := Test(t.Context(), Config{URL: url, Command: []string{"/bin/true"}})
	if len(list) != 2 || list[0].OK || list[0].Error == "" || strings.Contains(list[0].Error, "SECRETPATH") || !list[1].OK || list[1].Error != "" {
		t.Errorf("%+v", list)
	}
}

// TestATestOfPagerDutyResolvesItsAlert: nobody is to be woken twice, and no alert stays open.
func TestATestOfPagerDutyResolvesItsAlert(t *testing.T) {
	url, got := stub(t, 202, "{}")
	list := Test(t.Context(), Config{URL: url, Format: "pagerduty", RoutingKey: "R0"})
	if len(list) != 1 || !list[0].OK || len(*got) != 2 {
		t.Fatalf("%+v, %+v", list, *got)
	}
	first, second := (*got)[0].body, (*got)[1].body
	if first["event_action"] != "trigger" || second["event_action"] != "resolve" || first["dedup_key"] == nil || first["dedup_key"] != second["dedup_key"] {
		t.Errorf("it got %v, then %v", first, second)
	}
}

func TestATestEndsWithItsCaller(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	url, got := stub(t, 200, "ok")
	if list := Test(ended, Config{URL: url}); len(list) != 1 || list[0].OK || len(*got) != 0 {
		t.Errorf("%+v, %+v", list, *got)
	}
	if m := testMessage(&Config{Host: "h", Version: "1.0"}, noon.Add(500*time.Millisecond)); m.Host != "h" || m.Version != "1.0" || m.ID == "" || m.Since != m.At || strings.Contains(m.At, ".") || m.Text == "" || m.Severity != "info" {
		t.Errorf("%+v", m)
	}
}
