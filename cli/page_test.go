package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"personasync/agent/page"
)

// TestThePageOfAKilledAgentEndsAndGoesOnWithTheNext: what it shows ends with its agent, so that the page says that it is
// old, and the next one shows the same figures and the same past.
func TestThePageOfAKilledAgentEndsAndGoesOnWithTheNext(t *testing.T) {
	t.Parallel() // it waits
	m := newHost(t)
	m.admin = freeAddress(t)
	text, err := os.ReadFile(m.config())
	must(t, err)
	must(t, os.WriteFile(m.config(), bytes.Replace(text, []byte(`listen = ""`), []byte(`listen = "`+m.admin+`"`), 1), 0o600))
	m.start()
	must(t, post(http.DefaultClient, "http://"+m.addr+"/segment/webhook", "ann"))
	http.DefaultClient.CloseIdleConnections()
	m.accepted()
	past := m.past()
	next := m.watchPage()
	for first := next(); first.Status.Delivered != 1; first = next() { // that takes max_delay
	}
	m.endBy(syscall.SIGKILL)
	for next() != nil {
	}
	m.start()
	m.accepted()
	again := m.watchPage()()
	if again == nil || again.Status.Events.Accepted != 1 || again.Status.Delivered != 1 || again.Setup != nil {
		t.Errorf("after the kill the page is told %+v", again)
	}
	if now := m.past(); now != past {
		t.Errorf("after the kill the past begins at %d, before at %d", now, past)
	}
	m.stop()
}

// freeAddress is one that nobody listens at.
func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	return l.Addr().String()
}

// page asks for something of the page.
func (m *machine) page(path string) *http.Response {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, "http://"+m.admin+path, nil)
	must(m.t, err)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	must(m.t, err)
	m.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// watchPage returns what an open page is told next; nil once that has ended.
func (m *machine) watchPage() func() *page.Snapshot {
	m.t.Helper()
	lines := bufio.NewScanner(m.page("/api/page/stream").Body)
	lines.Buffer(nil, 1<<20)
	return func() *page.Snapshot {
		for lines.Scan() {
			if data, found := strings.CutPrefix(lines.Text(), "data: "); found {
				s := new(page.Snapshot)
				must(m.t, json.Unmarshal([]byte(data), s))
				return s
			}
		}
		return nil
	}
}

// past waits for a sample that the charts show, and returns its time.
func (m *machine) past() int64 {
	m.t.Helper()
	for {
		var series page.Series
		must(m.t, json.NewDecoder(m.page("/api/page/series?seconds=900").Body).Decode(&series))
		if len(series.At) > 0 {
			return series.At[0]
		}
		time.Sleep(10 * time.Millisecond)
	}
}
