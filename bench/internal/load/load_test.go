//go:build linux

package load

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"personasync/agent/segment"
	"personasync/store/domain"
	syncer "personasync/sync"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEventsAreWhatSegmentSends(t *testing.T) {
	e := NewEvents(10)
	seen := make(map[string]bool)
	for n := range uint64(30) {
		body := []byte(Sample)
		e.Write(body, n)
		got := segment.Read(body, segment.Reading{Received: time.Now(), Verified: true, CheckID: syncer.CheckID})
		if got.Fault != "" || got.Call != domain.CallIdentify || got.Class != domain.ClassAudience || got.Flag != domain.FlagIn {
			t.Fatalf("event %d reads as %+v", n, got)
		}
		if want := UserID(Scatter(n % 10)); got.User.ID != want {
			t.Errorf("event %d is about %s, want %s", n, got.User.ID, want)
		}
		seen[got.User.ID+got.ComputationID] = true
	}
	if len(seen) != 30 {
		t.Errorf("30 events make %d memberships", len(seen))
	}
	if EventBytes < 1050 || EventBytes > 1200 {
		t.Errorf("an event has %d bytes, not about 1.1 KB", EventBytes)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "later", http.StatusServiceUnavailable)
	}))
	defer server.Close()
	l := &Load{Address: server.Listener.Addr().String(), Connections: 2, Batch: 1, Events: NewEvents(0), During: 20 * time.Millisecond}
	got, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Refused == 0 || got.Refused != got.Posts || got.Events != 0 {
		t.Errorf("%d posts, %d refused, %d events", got.Posts, got.Refused, got.Events)
	}
}

func TestParseAnswer(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\nDate: x\r\n\r\ntrue"
	for _, c := range []struct {
		text   string
		status int
		whole  bool
		fails  bool
	}{
		{ok, 200, true, false},
		{ok[:len(ok)-1], 200, false, false},
		{ok[:30], 0, false, false},
		{"", 0, false, false},
		{strings.Replace(ok, "200", "503", 1), 503, true, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, false, true},
		{"SSH-2.0\r\n\r\n", 0, false, true},
	} {
		status, whole, err := ParseAnswer([]byte(c.text))
		if status != c.status || whole != c.whole || (err != nil) != c.fails {
			t.Errorf("parseAnswer(%q) = %d, %v, %v", c.text, status, whole, err)
		}
	}
}
