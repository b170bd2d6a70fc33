package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"personasync/store"
)

// unwellFor is how long a failed append keeps the agent unready. After it the agent counts as ready
// until the next one fails: whoever stopped sending because of /readyz must be let back to find out.
const unwellFor = 10 * time.Second

// readiness is whether events are being accepted, and why not. The door reports what came
// of every append, because that is where it shows.
type readiness struct {
	now func() time.Time

	refusal func() error // why the store takes no events, as long as that lasts; may be nil

	missed string // why deliveries may not arrive here, for as long as the process runs, see host.Inheritance

	mu    sync.Mutex
	phase string // starting, stopping; empty in between
	fault string // of the last append
	since time.Time
	lost  string // why nobody can connect to ingest.listen; empty while they can
}

// note remembers how an append went. A sender that hung up or a moment of crowding says nothing
// about the agent's health.
func (r *readiness) note(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, store.ErrBusy) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil || r.refusal != nil && (errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrMoved)) { // the store says that itself
		r.fault = ""
		return
	}
	r.fault, r.since = err.Error(), r.now()
}

// enter begins a phase of the process's life.
func (r *readiness) enter(phase string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phase = phase
}

// miss notes why nobody can connect to ingest.listen; empty when they can.
func (r *readiness) miss(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = why
}

// unready says why events are not being accepted; empty when they are.
func (r *readiness) unready() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != "" {
		return r.phase
	}
	if r.refusal != nil {
		if err := r.refusal(); err != nil {
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
