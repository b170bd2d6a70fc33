package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
)

// receiver is a webhook that keeps what it gets. It answers 200 and ok until answer says otherwise.
type receiver struct {
	url string

	mu     sync.Mutex
	got    []map[string]any
	gets   int
	status int
	text   string
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{status: 200, text: "ok"}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	text, _ := io.ReadAll(req.Body)
	var body map[string]any
	_ = json.Unmarshal(text, &body)
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.Method == http.MethodGet {
		r.gets++
	} else {
		r.got = append(r.got, body)
	}
	w.WriteHeader(r.status)
	fmt.Fprint(w, r.text)
}

func (r *receiver) answer(status int, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.text = status, text
}

// told lists what was told of the conditions names, as "condition state". Others may hold for a moment on a busy machine.
func (r *receiver) told(names ...string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for _, m := range r.got {
		if name := fmt.Sprint(m["condition"]); slices.Contains(names, name) {
			list = append(list, fmt.Sprint(name, " ", m["state"]))
		}
	}
	return strings.Join(list, ", ")
}

func (r *receiver) beats() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gets
}

// TestAnAgentTellsOfItsConditions: over real HTTP, with a reload to another receiver and a restart.
func TestAnAgentTellsOfItsConditions(t *testing.T) {
	t.Parallel() // it waits for a look
	s, slack := newSite(t), newReceiver(t)
	lines := []string{"PERSONASYNC_NOTIFY_URL=" + slack.url + "/SECRETPATH", "PERSONASYNC_NOTIFY_AFTER=0s", "PERSONASYNC_NOTIFY_HEARTBEAT_URL=" + slack.url + "/beat"}
	c := s.load(lines...)
	a, log, reload := s.reloadable(c)
	i, _ := open(t, c)
	waitFor(t, "the condition of a new agent, and a heartbeat", func() bool { return slack.told("no_event_yet", "parked") == "no_event_yet began" && slack.beats() > 0 })
	eventually(t, i, "the status has it", func(st condition.Status) bool {
		r := st.Notify.Receivers
		return len(r) == 2 && r[0].Told != "" && r[0].State != "" && r[0].Sent > 0 && r[1].Name == "heartbeat" && r[1].ToldAt != ""
	})
	list, _, err := TestNotify(t.Context(), c, nil, "1.0")
	if err != nil || len(list) != 1 || list[0] != (api.NotifyTest{Receiver: "url", Target: slack.url, OK: true, Answer: "200 ok"}) {
		t.Errorf("a test: %+v, %v", list, err)
	}

	slack.answer(404, "no_service")
	a.tell(strings.Replace(news("ann", true, time.Now()), `"vip":true`, `"x":1`, 1)) // undetermined: parked
	eventually(t, i, "the receiver fails", func(st condition.Status) bool {
		r := st.Notify.Receivers[0]
		return r.Failures > 0 && r.Waiting > 0 && strings.Contains(r.LastError, "404 no_service")
	})
	if list, _, err = TestNotify(t.Context(), c, nil, "1.0"); err != nil || list[0].OK || !strings.Contains(list[0].Do, "make a new one there") {
		t.Errorf("a test of one that fails: %+v, %v", list, err)
	}
	other := newReceiver(t)
	reload(s.load("PERSONASYNC_NOTIFY_URL="+other.url, "PERSONASYNC_NOTIFY_AFTER=0s"))
	waitFor(t, "the new receiver is told what the old one did not take", func() bool { return other.told("no_event_yet", "parked") == "parked began" })
	a.stop()

	again := s.start(s.load("PERSONASYNC_NOTIFY_URL="+other.url, "PERSONASYNC_NOTIFY_AFTER=0s", "PERSONASYNC_NOTIFY_HEARTBEAT_URL="+other.url), RunOptions{})
	waitFor(t, "a look of the next agent", func() bool { return other.beats() > 0 })
	again.stop()
	if told := other.told("no_event_yet", "parked"); told != "parked began" {
		t.Errorf("after a restart, told %s", told)
	}
	for _, m := range other.got {
		if text, _ := json.Marshal(m); strings.Contains(string(text), "ann") {
			t.Errorf("a message holds a user id: %s", text)
		}
	}
	if strings.Contains(log.String(), "SECRETPATH") {
		t.Error("the log holds the address")
	}
}

// TestAReceiverThatTakesNothingIsACondition: in the status, for the doctor and on the page.
func TestAReceiverThatTakesNothingIsACondition(t *testing.T) {
	t.Parallel() // it waits for a retry
	s, dead := newSite(t), newReceiver(t)
	dead.answer(200, "invalid_token")
	c := s.load("PERSONASYNC_NOTIFY_URL="+dead.url, "PERSONASYNC_NOTIFY_AFTER=0s")
	a := s.start(c, RunOptions{})
	i, _ := open(t, c)
	eventually(t, i, "it failed twice", func(st condition.Status) bool {
		return slices.ContainsFunc(st.Conditions, func(c condition.Condition) bool { return c.Name == condition.NotifyFailing }) && st.Notify.Receivers[0].Failures >= 2
	})
	found := false
	for _, f := range Diagnose(t.Context(), c, nil, "1.0") {
		found = found || f.Check == "notify" && f.State == "warn" && strings.Contains(f.Message, "invalid_token") && f.Do == "`personasync notify test`"
	}
	if !found {
		t.Error("the doctor does not find it")
	}
	text := scrape(t, "http://"+a.Admin.String()+"/metrics")
	for _, line := range []string{`personasync_condition{name="notify_failing",severity="warning"} 1`, `personasync_notify_failing{receiver="url"} 1`, `personasync_notify_messages_total{receiver="url",result="sent"} 0`} {
		if !strings.Contains(text, line) {
			t.Errorf("no %s among the metrics", line)
		}
	}
}

// TestAHangingReceiverDoesNotDelayAStop: nor the taking of events.
func TestAHangingReceiverDoesNotDelayAStop(t *testing.T) {
	t.Parallel() // it waits
	s, asked := newSite(t), make(chan bool, 1)
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case asked <- true:
		default:
		}
		<-r.Context().Done()
	}))
	defer hangs.Close()
	a := s.start(s.load("PERSONASYNC_NOTIFY_URL="+hangs.URL, "PERSONASYNC_NOTIFY_AFTER=0s"), RunOptions{})
	awaited(t, "a question", asked)
	a.tell(news("ann", true, time.Now()))
	a.stop() // the receiver hangs for ever: without giving it up this would not end
}
