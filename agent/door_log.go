package agent

import (
	"log/slog"
	"sync"
	"time"
)

// doorComplaintEvery is how often the door speaks of the same trouble.
const doorComplaintEvery = time.Minute

// doorComplaints logs what the door does not take without letting whoever knocks fill the disk: of each kind
// the first at once, then one line a minute with the number of those between. The lines name route and
// code, never a secret, a body or a user. There are as many kinds as codes in the source.
type doorComplaints struct {
	log *slog.Logger

	mu   sync.Mutex
	said map[string]doorComplaint // by route and code
}

type doorComplaint struct {
	at     time.Time
	silent int // since then
}

// note logs an answer that is worth it.
//
// The path of a route that is not ours is the sender's to make, so that it is left out.
func (c *doorComplaints) note(route string, known bool, a doorAnswer, now time.Time) {
	if a.code == "" || a.code == "unready" {
		return
	}
	if !known {
		route = routeOther
	}
	silent, ok := c.due(route+" "+a.code, now)
	if !ok {
		return
	}
	attrs := []any{"route", route, "status", a.status, "code", a.code}
	if silent > 0 {
		attrs = append(attrs, "unlogged_before", silent)
	}
	if a.cause != nil {
		c.log.Error("events could not be written; the sender was asked to try again", append(attrs, "error", a.cause)...)
		return
	}
	c.log.Warn("request not taken", append(attrs, "reason", a.message)...)
}

func (c *doorComplaints) due(kind string, now time.Time) (silent int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, known := c.said[kind]
	if known && now.Sub(last.at) < doorComplaintEvery {
		last.silent++
		c.said[kind] = last
		return 0, false
	}
	if c.said == nil {
		c.said = map[string]doorComplaint{}
	}
	c.said[kind] = doorComplaint{at: now}
	return last.silent, true
}
