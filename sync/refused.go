package syncer

import "time"

// refused remembers when users were last refused in a request of their own, so that a repeat is no new
// information. It is in memory only. Sender.mu protects it. An accepted user is removed.
//
// While the breaker is open because everything that was tried was refused, these users wait for the probe and
// all others may be sent. So a few bad users do not stop the others.
type refused map[string]refusal

// refusal is when a user was refused. since stays set once something else was accepted after it.
type refusal struct{ since, last time.Time }

const (
	// mostRefused limits the memory. Beyond it the set is cleared, which is cheaper.
	mostRefused = 1 << 12
	// proofKept is how long an acceptance proves that a refusal concerns the data. An account blocked later
	// refuses everybody too.
	proofKept = 10 * time.Minute
	// refusalKept is how long a refusal is remembered. A user who keeps failing is refused again once a minute.
	refusalKept = time.Hour
)

// note records a refusal. It reports whether something else was accepted since the user's previous refusal.
func (r refused) note(user string, accepted, now time.Time) (proven bool) {
	one, known := r[user]
	if known = known && now.Sub(one.last) < refusalKept; !known && len(r) >= mostRefused {
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

func (r refused) accept(users []string) {
	for _, u := range users {
		delete(r, u)
	}
}

func (r refused) has(user string) bool {
	_, known := r[user]
	return known
}
