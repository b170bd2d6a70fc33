package sandbox

import "time"

// window is the period of MoEngage's limits.
const window = 60 * time.Second

// meter counts spending in a sliding window. The times given to it must not decrease. It keeps one entry a
// request, so its size is bounded by the requests of a minute.
type meter struct {
	limit int // zero or less means none
	spent []spending
	sum   int
	max   int // largest sum so far
}

type spending struct {
	at time.Time
	n  int
}

// wait returns how long it takes until n more are within the limit, or zero. For an n that can never fit it
// returns a whole window each time.
func (m *meter) wait(now time.Time, n int) time.Duration {
	m.forget(now)
	if m.limit <= 0 || n == 0 || m.sum+n <= m.limit {
		return 0
	}
	excess := m.sum + n - m.limit
	for _, s := range m.spent {
		if excess -= s.n; excess <= 0 {
			return s.at.Add(window).Sub(now)
		}
	}
	return window
}

func (m *meter) spend(now time.Time, n int) {
	m.forget(now)
	if n == 0 {
		return
	}
	m.spent = append(m.spent, spending{now, n})
	m.sum += n
	m.max = max(m.max, m.sum)
}

// left returns the rest of the limit.
func (m *meter) left() int { return max(0, m.limit-m.sum) }

// forget removes spending older than the window.
func (m *meter) forget(now time.Time) {
	old := 0
	for old < len(m.spent) && now.Sub(m.spent[old].at) >= window {
		m.sum -= m.spent[old].n
		old++
	}
	m.spent = m.spent[old:]
}

// charge spends n of the limit, or refuses the request.
func (m *meter) charge(now time.Time, n int, what string) *refusal {
	if m.wait(now, n) > 0 {
		r := overLimit(what)
		return &r
	}
	m.spend(now, n)
	return nil
}

// limits are the limits of a workspace.
type limits struct{ users, events, cohorts, exports, deletions, mergers, devices meter }

// chargeData charges users and events, both or neither.
func (l *limits) chargeData(now time.Time, users, events int) *refusal {
	switch {
	case l.users.wait(now, users) > 0:
		r := overLimit("customers")
		return &r
	case l.events.wait(now, events) > 0:
		r := overLimit("events")
		return &r
	}
	l.users.spend(now, users)
	l.events.spend(now, events)
	return nil
}

// closestOfData returns the limit of users or that of events, whichever is closer to being used up, and how much of
// it a request needs.
func (l *limits) closestOfData(users, events int) (m *meter, need int) {
	if l.events.limit > 0 && (l.users.limit <= 0 || l.events.left()*l.users.limit < l.users.left()*l.events.limit) {
		return &l.events, events
	}
	return &l.users, users
}
