package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestATraceReachesMoEngageAfterAKill: deliveries name their traces while MoEngage is away, the agent is killed and
// restarted, and each request to MoEngage is part of the trace of its oldest change that has one.
func TestATraceReachesMoEngageAfterAKill(t *testing.T) {
	t.Parallel() // it waits
	const first, second, span = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7"
	w := newWorld(t)
	var mu sync.Mutex
	var named []string // by the requests that MoEngage accepted
	away := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) })
	back := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		named = append(named, r.Header.Get("Traceparent"))
		mu.Unlock()
		w.box.ServeHTTP(rw, r)
	})
	w.front.Store(&away)
	w.start()
	for i, header := range []string{"", "00-" + first + "-" + span + "-01", "00-" + second + "-" + span + "-00", "ff-" + second + "-" + span + "-01"} {
		w.header = http.Header{}
		if header != "" {
			w.header.Set("Traceparent", header)
		}
		w.post(fmt.Appendf(nil, `{"type":"identify","userId":"user-%d","messageId":"m-%d","traits":{"vip":true},"context":{"personas":{"computation_class":"audience","computation_id":"aud_vip","computation_key":"vip","space_id":"spa_1"}}}`, i, i))
		w.until("the delivery to be applied", func() bool { s, ok := w.status(); return ok && s.Unapplied == 0 })
	}
	w.kill()
	w.start()
	w.until("the agent", func() bool { _, ok := w.status(); return ok })
	w.front.Store(&back)
	w.drained()

	mu.Lock()
	defer mu.Unlock()
	if len(named) == 0 {
		t.Fatal("MoEngage got no request")
	}
	of := map[string]bool{}
	for _, header := range named {
		if header == "" {
			continue
		}
		part := strings.Split(header, "-")
		if len(part) != 4 || part[2] == span || part[1] == first && part[3] != "01" || part[1] == second && part[3] != "00" {
			t.Errorf("a request named its trace as %q", header)
			continue
		}
		of[part[1]] = true
	}
	if !of[first] || len(of) > 2 {
		t.Errorf("the requests are of the traces %v", of)
	}
	out, err := w.command("outbox", "list", "--state", "delivered", "--json", "--config", w.config).Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []struct{ User, Trace string }
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"user-0": "", "user-1": first, "user-2": second, "user-3": ""}
	for _, c := range list {
		if c.Trace != want[c.User] {
			t.Errorf("a change of %s is of the trace %q, want %q", c.User, c.Trace, want[c.User])
		}
	}
	if len(list) != 2*len(want) {
		t.Errorf("%d changes were delivered, want %d", len(list), 2*len(want))
	}
}
