package torture

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"time"
)

// witness stands before the stand-in for MoEngage and remembers who sent what, and when.
type witness struct {
	box http.Handler

	mu       sync.Mutex // covers what follows
	requests []*sending
	held     map[int]chan struct{} // agents whose answers are held back, until the channel is closed
}

// sending is a request of an agent. What it says takes effect before it is answered.
type sending struct {
	agent        int
	at, answered time.Time // answered is zero before that
	changes      []string  // the change ids in it
}

var changeID = regexp.MustCompile(`"change_id":"([^"]+)"`)

// from is MoEngage as agent knows it.
func (w *witness) from(agent int) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it was not sent whole
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		one := &sending{agent: agent, at: time.Now()}
		for _, found := range changeID.FindAllSubmatch(body, -1) {
			one.changes = append(one.changes, string(found[1]))
		}
		w.mu.Lock()
		w.requests = append(w.requests, one)
		w.mu.Unlock()
		answer := httptest.NewRecorder()
		w.box.ServeHTTP(answer, r)
		w.mu.Lock()
		hold := w.held[agent]
		w.mu.Unlock()
		if hold != nil {
			<-hold
		} else {
			time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
		}
		w.mu.Lock()
		one.answered = time.Now()
		w.mu.Unlock()
		for name, values := range answer.Header() {
			rw.Header()[name] = values
		}
		rw.WriteHeader(answer.Code)
		_, _ = rw.Write(answer.Body.Bytes())
	})
}

// hold holds back what agent is answered from now on, until release is called.
func (w *witness) hold(agent int) (release func()) {
	held := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held[agent] = held
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.held, agent)
		close(held)
	})
}

// open counts the requests of agent, or of all if it is -1, that are not answered yet, and the events in them.
func (w *witness) open(agent int) (requests, events int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.requests {
		if r.answered.IsZero() && (agent < 0 || r.agent == agent) {
			requests, events = requests+1, events+len(r.changes)
		}
	}
	return requests, events
}

// firstAfter returns when anyone but agent sent first after at; zero: nobody did.
func (w *witness) firstAfter(at time.Time, agent int) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.requests {
		if r.at.After(at) && r.agent != agent {
			return r.at
		}
	}
	return time.Time{}
}

// repeat is an event that was sent once more.
type repeat struct {
	change     string
	first, now *sending
}

// repeats lists the events that were sent again, each with the request before.
func (w *witness) repeats() (all []repeat) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := map[string]*sending{}
	for _, r := range w.requests {
		for _, id := range r.changes {
			if before := last[id]; before != nil {
				all = append(all, repeat{id, before, r})
			}
			last[id] = r
		}
	}
	return all
}
