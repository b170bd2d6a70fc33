package syncer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"personasync/sync/sandbox"
)

// The tests in this file run the sender against the sandbox over real HTTP. The sandbox implements MoEngage's
// documents only.

// beside starts a sandbox and a sender for it. stop ends both.
func beside(t *testing.T, o *shelf, so sandbox.Options, c Config) (m *sandbox.Sandbox, stop func()) {
	t.Helper()
	so.WorkspaceID, so.APIKey, so.KeepAll = "WS", "s3cret-key", true
	m = sandbox.New(so)
	server := httptest.NewServer(m)
	c.BaseURL, c.WorkspaceID, c.APIKey = server.URL, "WS", "s3cret-key"
	c.MinBackoff, c.MaxBackoff, c.Timeout = time.Millisecond, 20*time.Millisecond, time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(c, o, quiet()).Run(ctx) }()
	return m, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
		m.Heal()
		server.Close()
	}
}

// untilDrained waits, in real time, until the shelf is empty.
func untilDrained(t *testing.T, o *shelf) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !o.drained(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not drained: %+v", o.seen())
		}
	}
}

func unviolated(t *testing.T, m *sandbox.Sandbox) {
	t.Helper()
	for i, v := range m.Violations() {
		if i < 10 {
			t.Errorf("violation: %+v", v)
		}
	}
}

// Through every failure of the connection everything arrives in order. An event arrives twice only if its first
// request may have arrived.
func TestEverythingArrivesThroughEveryFault(t *testing.T) {
	t.Parallel()
	for _, spec := range []string{
		"status=503,count=5", "status=500,count=5", "status=502,when=after,count=5", "status=408,count=3", "reset,count=5", "reset,when=after,count=5",
		"truncate,count=3", "body=html,count=3", "status=200,error=AttributeError,count=3", "status=429,retry_after=1,count=1", "slow=50ms,count=3",
	} {
		t.Run(spec, func(t *testing.T) {
			t.Parallel() // they mostly wait
			fault, err := sandbox.ParseFault(spec)
			if err != nil {
				t.Fatal(err)
			}
			o := newShelf(t)
			const users = 200
			for round := range 2 {
				for i := range users {
					o.put(fmt.Sprint("user-", i), "", round == 0, true)
				}
			}
			m, stop := beside(t, o, sandbox.Options{Faults: []sandbox.Fault{fault}}, Config{MaxRequestBytes: 20_000})
			untilDrained(t, o)
			stop()
			unviolated(t, m)
			tally := o.seen()
			if len(tally.parked) != 0 {
				t.Errorf("parked %v", tally.parked)
			}
			twice := 0
			for i := range users {
				p, known := m.User(fmt.Sprint("user-", i))
				if !known || string(p.Attributes["vip"]) != "true" {
					t.Fatalf("user-%d: %+v", i, p)
				}
				twice += len(p.Events) - 2
				inOrder(t, p)
			}
			if tally.uncertain == 0 && twice != 0 {
				t.Errorf("%d events too many, although every refusal was clear", twice)
			}
		})
	}
}

// inOrder checks that every event of a user arrived, and never an older one after a newer.
func inOrder(t *testing.T, p sandbox.Profile) {
	t.Helper()
	var ids []string
	for _, e := range p.Events {
		var a struct {
			ChangeID string `json:"change_id"`
		}
		if err := json.Unmarshal(e.Attributes, &a); err != nil {
			t.Error(err)
		}
		if len(ids) > 0 && ids[len(ids)-1] == a.ChangeID {
			continue
		}
		ids = append(ids, a.ChangeID)
	}
	if len(ids) != 2 {
		t.Errorf("%s: events %v, want two in order", p.ID, ids)
	}
}

func TestTheStandInsPoisonIsFound(t *testing.T) {
	bad, err := sandbox.ParseFault("user=user-77")
	if err != nil {
		t.Fatal(err)
	}
	o := newShelf(t)
	for i := range 300 {
		o.attribute(fmt.Sprint("user-", i))
	}
	o.attribute("null") // a blocked id, which strict validation refuses or drops
	m, stop := beside(t, o, sandbox.Options{Strict: true, Faults: []sandbox.Fault{bad}}, Config{})
	untilDrained(t, o)
	stop()
	parked := o.seen().parked
	r, found := parked["user-77/attributes"]
	if !found || r.Reason != codeData || !strings.Contains(r.Sentence, "TypeError") || r.Answer.RequestID == "" {
		t.Errorf("parked %+v", parked)
	}
	for i := range 300 {
		if _, known := m.User(fmt.Sprint("user-", i)); known == (i == 77) {
			t.Errorf("user-%d is known: %v", i, known)
		}
	}
}

// Segment's properties in any form become an event that MoEngage accepts completely.
func TestNothingOfAnEventAsReceivedIsDroppedInSilence(t *testing.T) {
	var many strings.Builder
	for i := range 150 {
		fmt.Fprintf(&many, `,"p%d":%d.50`, i, i)
	}
	o := newShelf(t)
	for i, props := range []string{
		`{"high_value":true,"audience_key":"high_value","id":7,"_id":8,"":9,"moe_x":10}`,
		`{"cart":{"items":[{"sku":"a","n":null}]},"tags":["a",null,"b"],"nothing":null,"rows":[{"a":1},{"a":2}]}`,
		`{"first":1` + many.String() + `}`,
		`{"text":"\u0000\ud83d\ude00 \"quoted\" \\ é"}`,
	} {
		who := fmt.Sprint("user-", i)
		o.event(who)
		o.mu.Lock()
		o.byName[who].events[0].Props = json.RawMessage(props)
		o.mu.Unlock()
	}
	m, stop := beside(t, o, sandbox.Options{Strict: true}, Config{})
	untilDrained(t, o)
	stop()
	unviolated(t, m)
	if tally := o.seen(); tally.delivered != 4 {
		t.Errorf("%+v", tally)
	}
	p, _ := m.User("user-2")
	if len(p.Events) != 1 || !strings.Contains(string(p.Events[0].Attributes), `"p10":10.50`) {
		t.Errorf("%+v", p)
	}
}

// The sender's meter and the sandbox agree: a sender within the limit gets no 429.
func TestAKeptLimitProvokesNoRefusal(t *testing.T) {
	o := newShelf(t)
	for i := range 1000 {
		o.put(fmt.Sprint("user-", i), "", true, i%2 == 0)
	}
	m, stop := beside(t, o, sandbox.Options{UsersPerMinute: 600, EventsPerMinute: 600}, Config{UsersPerMinute: 600, EventsPerMinute: 600})
	for deadline := time.Now().Add(30 * time.Second); o.seen().delivered < 900 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	stop()
	unviolated(t, m)
	users := 0
	for _, r := range m.Requests() {
		users += r.Users
		if r.Status != 200 || r.Users > 10 || r.Events > 10 {
			t.Fatalf("%+v", r)
		}
	}
	if users != 600 {
		t.Errorf("%d users in the first minute, want the whole limit", users)
	}
}

var _ Outbox = (*shelf)(nil)
