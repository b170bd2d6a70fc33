package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"personasync/store"
)

// unwellFor is how long a failed append keeps the agent unready. After it the agent counts as ready until the next append
// fails. Otherwise a load balancer that stopped sending because of /readyz would never send the delivery that shows
// recovery.
const unwellFor = 10 * time.Second

// readiness is whether events are accepted, and why not. ingest reports the result of every append.
type readiness struct {
	now func() time.Time

	refusal func() error // why the store takes no events now; nil func: it always does
	away    func() error // why the database of the store cannot be used now; nil func: the store has none

	missed string // why deliveries may not arrive in this process at all, see host.Inheritance

	mu    sync.Mutex
	phase string // starting, stopping; empty in between
	fault string // of the last append
	since time.Time
	lost  string    // why nobody can connect to ingest.listen; empty while they can
	began time.Time // since when unready gives a reason, be it another by now; zero while it gives none
}

// note records the result of an append. A sender that hung up, or a full queue, says nothing about the agent's health.
func (r *readiness) note(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, store.ErrBusy) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || r.refusal != nil && (errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrMoved)) && r.refusal() != nil { // for as long as it lasts
		r.fault = ""
		return
	}
	r.fault, r.since = err.Error(), r.now()
}

// enter begins a phase of the process: starting, stopping, or "" in between.
func (r *readiness) enter(phase string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phase = phase
}

// miss records why nobody can connect to ingest.listen; "" when they can.
func (r *readiness) miss(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = why
}

// unready says why events are not accepted; "" when they are. Each call notes since when: the recorder's are 5 s apart.
func (r *readiness) unready() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	why := r.reason()
	switch {
	case why == "":
		r.began = time.Time{}
	case r.began.IsZero():
		r.began = r.now()
	}
	return why
}

// unreadySince is since when no events are accepted; the zero time when they are.
func (r *readiness) unreadySince() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.began
}

// reason is unready's. mu is held.
func (r *readiness) reason() string {
	if r.phase != "" {
		return r.phase
	}
	if r.refusal != nil {
		if err := r.refusal(); err != nil {
			return err.Error()
		}
	}
	if r.away != nil {
		if err := r.away(); err != nil {
			return err.Error()
		}
	}
	if r.fault != "" && r.now().Sub(r.since) < unwellFor {
		return r.fault
	}
	if r.lost != "" {
		return "no delivery reaches ingest.listen: " + r.lost
	}
	return r.missed
}
