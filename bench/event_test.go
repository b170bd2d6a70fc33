//go:build linux

package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/agent/ingest"
	"personasync/agent/segment"
	"personasync/store/domain"
	syncer "personasync/sync"
)

func TestEventsAreWhatSegmentSends(t *testing.T) {
	e := newEvents(10)
	seen := make(map[string]bool)
	for n := range uint64(30) {
		body := []byte(sample)
		e.write(body, n)
		got := segment.Read(body, segment.Reading{Received: time.Now(), Verified: true, CheckID: syncer.CheckID})
		if got.Fault != "" || got.Call != domain.CallIdentify || got.Class != domain.ClassAudience || got.Flag != domain.FlagIn {
			t.Fatalf("event %d reads as %+v", n, got)
		}
		if want := userID(scatter(n % 10)); got.User.ID != want {
			t.Errorf("event %d is about %s, want %s", n, got.User.ID, want)
		}
		seen[got.User.ID+got.ComputationID] = true
	}
	if len(seen) != 30 {
		t.Errorf("30 events make %d memberships", len(seen))
	}
	if eventBytes < 1050 || eventBytes > 1200 {
		t.Errorf("an event has %d bytes, not about 1.1 KB", eventBytes)
	}
}

// kept is an inbox in memory.
type kept struct{ events chan *domain.Event }

func (k kept) Append(_ context.Context, events ...*domain.Event) error {
	for _, e := range events {
		k.events <- e
	}
	return nil
}

func (k kept) CountRefusal(domain.Refusal) {}

var _ ingest.Inbox = kept{}

func TestTheDoorTakesWhatTheLoadPosts(t *testing.T) {
	for _, s := range []shape{{"", "", 1, 1}, {"", "", 7, 1}, {"", "", 3, 100}} {
		k := kept{make(chan *domain.Event, 1<<20)}
		server := httptest.NewServer(door(k, slog.New(slog.DiscardHandler)))
		defer server.Close()
		e := newEvents(0)
		e.prepare(50) // later ones are signed during the load
		var got loadResult
		sent := uint64(0)
		for during := 50 * time.Millisecond; got.Events == 0 && during < time.Minute; during *= 4 { // a busy machine may need longer
			l := &load{address: server.Listener.Addr().String(), connections: s.connections, batch: s.batch, events: e, first: sent, during: during}
			var err error
			if got, err = l.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			sent += got.Sent
		}
		if got.Events == 0 || got.Refused != 0 || got.Posts*s.batch != got.Events {
			t.Errorf("%+v: %d posts of %d events, %d refused", s, got.Posts, got.Events, got.Refused)
		}
		if uint64(len(k.events)) != sent {
			t.Errorf("%+v: %d events sent, %d arrived", s, sent, len(k.events))
		}
		users := make(map[string]bool)
		for range len(k.events) {
			users[(<-k.events).User.ID] = true
		}
		if uint64(len(users)) != sent {
			t.Errorf("%+v: %d events of %d users", s, sent, len(users))
		}
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "later", http.StatusServiceUnavailable)
	}))
	defer server.Close()
	l := &load{address: server.Listener.Addr().String(), connections: 2, batch: 1, events: newEvents(0), during: 20 * time.Millisecond}
	got, err := l.run(t.Context())
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
		status, whole, err := parseAnswer([]byte(c.text))
		if status != c.status || whole != c.whole || (err != nil) != c.fails {
			t.Errorf("parseAnswer(%q) = %d, %v, %v", c.text, status, whole, err)
		}
	}
}

func TestSeedsAreInTheOrderOfTheStore(t *testing.T) {
	numbers := sortedUsers(1000)
	sorted := slices.IsSortedFunc(numbers, func(a, b uint64) int {
		x, y := userID(a), userID(b)
		return strings.Compare(string(rune(partition(x)))+x, string(rune(partition(y)))+y)
	})
	if !sorted || len(slices.Compact(numbers)) != 1000 {
		t.Error("users are not in the order of their keys, or not distinct")
	}
}
