package sandbox

import "time"

// window is what MoEngage counts its limits over.
const window = 60 * time.Second

// meter counts what was spent in the sliding window before now. Times given to it must not go back.
// It remembers one entry a request, so it is bounded by the requests of a minute.
type meter struct {
	limit int // zero or less: none
	spent []spending
	sum   int
	max   int // the largest sum there ever was
}

type spending struct {
	at time.Time
	n  int
}

// wait returns how long it takes until n more are within the limit, zero if they are now.
// A request that can never fit waits for a whole window, and then again.
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

// left is how much the limit still allows.
func (m *meter) left() int { return max(0, m.limit-m.sum) }

// forget drops what left the window.
func (m *meter) forget(now time.Time) {
	old := 0
	for old < len(m.spent) && now.Sub(m.spent[old].at) >= window {
		m.sum -= m.spent[old].n
		old++
	}
	m.spent = m.spent[old:]
}
