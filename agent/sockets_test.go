package agent

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"personasync/agent/api"
)

// until polls for a condition that must come true.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (a *started) isReady() bool {
	code, _ := a.readyz()
	return code == http.StatusOK
}

// TestAnAgentWhoseDataWasMovedAwayAcknowledgesNothing: it answered 200, was ready, and lost everything at the
// next start. It takes events again once the data is back.
func TestAnAgentWhoseDataWasMovedAwayAcknowledgesNothing(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	a := s.start(s.load(), RunOptions{})
	data := filepath.Join(s.dir, "data")
	post := func(user string) int { return a.post(http.DefaultClient, "http", news(user, true, time.Now())) }
	if got := post("ann"); got != http.StatusOK {
		t.Fatalf("answered %d", got)
	}
	if err := os.Rename(data, data+".away"); err != nil {
		t.Fatal(err)
	}
	if got := post("bob"); got != http.StatusServiceUnavailable {
		t.Errorf("without its data it answers %d", got)
	}
	if code, why := a.readyz(); code != http.StatusServiceUnavailable || !contains(why, data) {
		t.Errorf("without its data /readyz answers %d, %s", code, why)
	}
	if err := os.Rename(data+".away", data); err != nil {
		t.Fatal(err)
	}
	until(t, "ready again", a.isReady)
	if got := post("cid"); got != http.StatusOK {
		t.Errorf("with its data back it answers %d", got)
	}
}

// TestAnAgentWhoseSocketsWereRemovedMakesThemAgain: it went on listening where neither Segment's events nor a
// command could find it, and was ready.
func TestAnAgentWhoseSocketsWereRemovedMakesThemAgain(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	ingest := filepath.Join(s.dir, "in")
	a := s.start(s.load("PERSONASYNC_INGEST_LISTEN=unix:"+ingest), RunOptions{})
	reached := func(path string) bool {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}
	for _, path := range []string{ingest, a.Socket} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "both sockets", func() bool { return reached(ingest) && reached(a.Socket) })
	if err := os.Remove(ingest); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(ingest, 0o700); err != nil {
		t.Fatal(err)
	}
	until(t, "unready", func() bool { return !a.isReady() })
	if err := os.Remove(ingest); err != nil {
		t.Fatal(err)
	}
	until(t, "ready again", func() bool { return a.isReady() && reached(ingest) })
}

// TestAFileInPlaceOfTheAdminSocketIsACondition: no command reached the agent, which was "starting" by their words, and
// nothing on the page or in the metrics said so. The agent leaves the file alone.
func TestAFileInPlaceOfTheAdminSocketIsACondition(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(path string) error{
		"a file":   func(path string) error { return os.WriteFile(path, []byte("notes"), 0o600) },
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"a link":   func(path string) error { return os.Symlink("/nowhere", path) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits
			s := newSite(t)
			c := s.load()
			a := s.start(c, RunOptions{})
			conditions := func() string { return scrape(t, "http://"+a.Admin.String()+"/metrics") }
			const holds = `personasync_condition{name="socket_lost",severity="warning"} 1`
			if err := os.Rename(a.Socket, a.Socket+".was"); err != nil {
				t.Fatal(err)
			}
			if err := put(a.Socket); err != nil {
				_ = os.RemoveAll(a.Socket) // the agent was quicker
				if err := put(a.Socket); err != nil {
					t.Fatal(err)
				}
			}
			until(t, name+" is a condition", func() bool { return contains(conditions(), holds) })
			if !a.isReady() {
				t.Error("it takes no events")
			}
			for asked, err := range map[string]error{
				"the agent": func() error { _, err := DialAgent(t.Context(), c, "test"); return err }(),
				"anybody":   func() error { _, _, _, err := Open(t.Context(), c, "test"); return err }(),
			} {
				if !errors.Is(err, errNoSocket) || !contains(err.Error(), "is "+name+" now: type mv "+a.Socket) {
					t.Errorf("who asks %s hears: %v", asked, err)
				}
			}
			if err := os.RemoveAll(a.Socket); err != nil {
				t.Fatal(err)
			}
			until(t, "the socket is made again", func() bool {
				client, err := api.Dial(t.Context(), a.Socket, "test")
				return err == nil && client.Close() == nil && !contains(conditions(), holds)
			})
		})
	}
}

// TestAnAgentWithoutItsSocketTakesEventsAndIsUnready: events that find it are taken, and its
// readiness says what is wrong.
func TestAnAgentWithoutItsSocketTakesEventsAndIsUnready(t *testing.T) {
	s := newSite(t)
	c := s.load()
	a := s.start(c, RunOptions{Missed: "personasync.socket did not start"})
	i, _ := open(t, c)
	status, err := i.Status(t.Context())
	if err != nil || status.Ready || status.Unready != "personasync.socket did not start" {
		t.Errorf("status says %+v, %v", status, err)
	}
	a.tell(news("ann", true, time.Now()))
}
