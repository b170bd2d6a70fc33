package notify

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"personasync/agent/condition"
)

func newHeartbeat(url string) *heartbeat {
	h := &heartbeat{log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1)}
	h.configure(Config{HeartbeatURL: url, HeartbeatEvery: time.Minute, HeartbeatLag: 15 * time.Minute})
	return h
}

func TestAHeartbeatIsASignThatAllIsWell(t *testing.T) {
	ago := func(d time.Duration) *time.Time { at := noon.Add(-d); return &at }
	for _, c := range []struct {
		name     string
		status   condition.Status
		err      error
		withheld string
	}{
		{"all is well", condition.Status{Ready: true}, nil, ""},
		{"a change waits", condition.Status{Ready: true, OldestDue: ago(14 * time.Minute)}, nil, ""},
		{"a change waits for too long", condition.Status{Ready: true, OldestDue: ago(15 * time.Minute)}, nil, "a change is overdue by 15 min, and notify.heartbeat_lag is 15 min"},
		{"it is unready", condition.Status{Unready: "the disk is full"}, nil, "events are not being accepted: the disk is full"},
		{"the store gives no answer", condition.Status{}, errors.New("damaged"), "the store gives no answer"},
	} {
		h := newHeartbeat("http://127.0.0.1:1")
		if config, wait := h.due(noon); config != nil || wait != 0 {
			t.Errorf("%s: due before the first look", c.name)
		}
		<-h.wake // the new configuration
		if h.observe(&c.status, c.err, noon); len(h.wake) != 1 {
			t.Errorf("%s: nobody looks whether one is due", c.name)
		}
		config, _ := h.due(noon)
		if (config != nil) != (c.withheld == "") || h.state().Withheld != c.withheld {
			t.Errorf("%s: due is %v, withheld for %q", c.name, config, h.state().Withheld)
		}
		if config, wait := h.due(noon.Add(time.Second)); config != nil || wait != 59*time.Second {
			t.Errorf("%s: again after a second: %v, in %v", c.name, config, wait)
		}
	}
	h := newHeartbeat("http://127.0.0.1:1")
	h.observe(&condition.Status{Ready: true}, nil, noon)
	if config, _ := h.due(noon.Add(2 * time.Minute)); config != nil || !strings.Contains(h.state().Withheld, "could not look at itself") {
		t.Errorf("an old look is a sign of life: %+v", h.state())
	}
}

func TestAHeartbeatIsAGET(t *testing.T) {
	url, got := stub(t, 200, "OK")
	h := newHeartbeat(url)
	h.beat(t.Context(), &h.config)
	if s := h.state(); len(*got) != 1 || s.Sent != 1 || s.ToldAt == "" || s.Failures != 0 {
		t.Errorf("%d requests, %+v", len(*got), s)
	}
	gone, _ := stub(t, 404, "(not found)")
	h.configure(Config{HeartbeatURL: gone, HeartbeatEvery: time.Minute})
	h.beat(t.Context(), &h.config)
	h.beat(t.Context(), &h.config)
	if s := h.state(); s.Failures != 2 || !strings.Contains(s.LastError, "404 (not found): the webhook does not exist or was removed: make a new one there, and set notify.heartbeat_url") {
		t.Errorf("%+v", s)
	}
	h.configure(Config{})
	if h.state() != nil {
		t.Error("it has a state when it is off")
	}
}
