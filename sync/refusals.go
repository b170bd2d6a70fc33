package syncer

import "time"

// refusals remembers when users were last refused in a request of their own, so that a repeat is no new
// information. An accepted user is removed. It is in memory only, and part of the diagnosis, whose mutex protects
// it.
//
// While the breaker is open because everything that was tried was refused, these users wait for the probe and
// all others may be sent. So a few bad users do not stop the others.
type refusals map[string]refusal

// refusal is when a user was refused. since stays set once something else was accepted after it.
type refusal struct{ since, last time.Time }

const (
	// maxRefusals limits the memory. Beyond it the set is cleared, which is cheaper.
	maxRefusals = 1 << 12
	// proofKept is how long an acceptance proves that a refusal concerns the data. An account blocked later
	// refuses everybody too.
	proofKept = 10 * time.Minute
	// refusalKept is how long a refusal is remembered. A user who keeps failing is refused again once a minute.
	refusalKept = time.Hour
)

// record records a refusal. It reports whether something else was accepted since the user's previous refusal.
func (r refusals) record(user string, accepted, now time.Time) (proven bool) {
	one, known := r[user]
	if known = known && now.Sub(one.last) < refusalKept; !known && len(r) >= maxRefusals {
		clear(r)
	}
	after := known && one.since.Before(accepted)
	if !after {
		one.since = now
	}
	one.last = now
	r[user] = one
	return after && now.Sub(accepted) < proofKept
}

func (r refusals) accept(users []string) {
	for _, u := range users {
		delete(r, u)
	}
}

func (r refusals) has(user string) bool {
	_, known := r[user]
	return known
}
