package syncer

import "time"

// refused remembers when the data of users was last refused with nobody else's beside it: what MoEngage
// says of them is no news. It lives in memory alone, and Sender.mu guards it. A user leaves it by being
// accepted.
//
// While a road is stopped because everything that was tried was refused, these users wait for the probe,
// and everybody else may try: a few bad users stop nobody else.
type refused map[string]refusal

// refusal is when a user was refused. since is kept once something else was accepted after it.
type refusal struct{ since, last time.Time }

const (
	// mostRefused bounds the memory; beyond that it is cheaper to begin anew.
	mostRefused = 1 << 12
	// proofKept is how long an acceptance proves that a refusal is about the data: an account that is
	// blocked later refuses everybody, too.
	proofKept = 10 * time.Minute
	// refusalKept is how long a refusal is remembered. A user who waits is refused again once a minute.
	refusalKept = time.Hour
)

// note remembers a refusal, and reports whether something else was accepted since the user was refused
// before.
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
