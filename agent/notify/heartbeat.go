package notify

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"personasync/agent/condition"
	"personasync/store/domain"
)

// staleAfter is how old a look at the agent may be to count as a sign of life.
const staleAfter = time.Minute

// heartbeat makes a request every so often while all is well: a dead man's switch, as healthchecks.io, Better Stack and
// Cronitor take it by a GET of an address of their own. They raise the alarm when it stays away.
type heartbeat struct {
	log  *slog.Logger
	wake chan struct{} // holds one

	mu       sync.Mutex
	config   Config
	seen     time.Time // the last look; zero: none
	why      string    // why that one is no sign of life; "": it is one
	next     time.Time
	health   health
	last     time.Time // the last request that was answered well
	withheld string    // why the last one was not made; "": it was
}

func (h *heartbeat) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *heartbeat) configure(c Config) {
	h.mu.Lock()
	if c.HeartbeatURL != h.config.HeartbeatURL || c.HeartbeatEvery != h.config.HeartbeatEvery {
		h.next, h.health.inARow, h.health.since = time.Time{}, 0, time.Time{}
	}
	h.config = c
	h.mu.Unlock()
	h.nudge()
}

// observe takes a look at the agent.
func (h *heartbeat) observe(s *condition.Status, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen, h.why = now, lifeless(s, err, h.config.HeartbeatLag, now)
	h.nudge()
}

// lifeless says why a status is no sign of life; "": it is one.
func lifeless(s *condition.Status, err error, lag time.Duration, now time.Time) string {
	switch {
	case err != nil:
		return "the store gives no answer"
	case !s.Ready:
		return "events are not being accepted: " + s.Unready
	case s.OldestDue != nil && now.Sub(*s.OldestDue) >= lag:
		return fmt.Sprintf("a change is overdue by %s, and notify.heartbeat_lag is %s", condition.ForPeople(now.Sub(*s.OldestDue)), condition.ForPeople(lag))
	}
	return ""
}

func (h *heartbeat) run(ctx context.Context) {
	for ctx.Err() == nil {
		config, wait := h.due(time.Now())
		if config != nil {
			h.beat(ctx, config)
			continue
		}
		var later <-chan time.Time
		if wait > 0 {
			later = time.After(wait)
		}
		select {
		case <-ctx.Done():
		case <-h.wake:
		case <-later:
		}
	}
}

// due returns the configuration if a request is to be made now, or else how long to wait; 0: until something changes.
func (h *heartbeat) due(now time.Time) (*Config, time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.config.HeartbeatURL == "" || h.seen.IsZero() {
		return nil, 0
	}
	if wait := h.next.Sub(now); wait > 0 {
		return nil, wait
	}
	was := h.withheld
	h.withheld = h.why
	if now.Sub(h.seen) > staleAfter {
		h.withheld = "the agent could not look at itself for a minute"
	}
	if was == "" && h.withheld != "" {
		h.log.Warn("the heartbeat is withheld", "why", h.withheld)
	}
	h.next = now.Add(h.config.HeartbeatEvery)
	if h.withheld != "" {
		return nil, h.config.HeartbeatEvery
	}
	config := h.config
	return &config, 0
}

// beat makes one request. One that fails is not repeated: the next comes soon.
func (h *heartbeat) beat(ctx context.Context, c *Config) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.HeartbeatURL, nil)
	if err == nil {
		_, err = ask(req, "notify.heartbeat_url", c.secrets())
	}
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.health.succeeded()
		h.last = now
		return
	}
	h.health.broke(failed(err, ""), now)
	if h.health.inARow == 1 {
		h.log.Warn("a heartbeat failed; the next follows", "error", err)
	}
}

// state is how the heartbeat is, for people; nil without one.
func (h *heartbeat) state() *condition.Receiver {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.config.HeartbeatURL == "" {
		return nil
	}
	r := h.health.receiver("heartbeat")
	r.ToldAt, r.Withheld = domain.Timestamp(h.last.Truncate(time.Second)), h.withheld
	return r
}
