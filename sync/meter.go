package syncer

import (
	"math"
	"slices"
	"sync"
	"time"

	"personasync/store"
)

// MoEngage counts users and events in a sliding window of a minute, at a moment between our sending a
// request and our reading its answer. So a use is held from the moment it is reserved until a minute
// after its answer: then no window of MoEngage's holds more than the limit, wherever in the round trip
// it counts. (A token bucket that allows bursts breaks a sliding window unless it runs at 92 %.)
const (
	windowLength = time.Minute
	// grain joins uses that end close to each other, so that a window has at most 1,200 entries.
	// Rounding up costs 0.08 % of the limit.
	grain = 50 * time.Millisecond
	// slices is into how many requests a full window is cut at least: none carries more than 1/60 of
	// a minute's limit, which makes a long drain an even stream instead of a burst a minute.
	slicesPerWindow = 60
)

// unlimited is the share of a limit that is not set. Two of them still make an int.
const unlimited = math.MaxInt32 / 2

// meter keeps the limits. Its methods may be called concurrently.
type meter struct {
	mu            sync.Mutex
	users, events window // guarded by mu
	calls         window // requests, where these are what is limited
}

// window is one limit: what one request may take of it, what is in flight, and what still counts.
type window struct {
	limit int // a minute; 0: none
	open  int // reserved by requests in flight
	past  []use
	spent int       // sum of past
	since time.Time // when first something was spent: grains are counted from here

	// pressed says that the limit was met and not all of the backlog has left since. What leaves
	// then keeps a distance: one request, then the time that its share takes at the limit's rate.
	// An unspent window, on the other hand, is never waited for.
	pressed bool
	paced   time.Time
}

// use is what counts until a moment, which has a monotonic reading like the time that it was spent at: a
// clock that is set must neither end a window nor make it last.
type use struct {
	until time.Time
	n     int
}

// grant is a reservation: at most so many users, events and requests.
type grant struct{ users, events, calls int }

func (g grant) empty() bool { return g.users <= 0 && g.events <= 0 }

// limit sets the limits; what was spent stays spent.
func (m *meter) limit(g grant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users.limit, m.events.limit, m.calls.limit = max(g.users, 0), max(g.events, 0), max(g.calls, 0)
}

// restore counts what left before a restart. The seconds are whole; each counts from its end.
func (m *meter) restore(sent []store.SentSecond, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range sent {
		// A clock that was set back does not stop the road for longer than a window.
		end := now.Add(-max(now.Sub(s.At.Add(time.Second)), 0))
		m.users.spend(end, s.Users)
		m.events.spend(end, s.Events)
		m.calls.spend(end, s.Cohorts)
	}
}

// reserve takes what one request may carry now. An empty grant comes with the time when it is worth
// asking again, or zero when that depends on requests in flight.
func (m *meter) reserve(now time.Time) (g grant, again time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls.room(now) == 0 {
		return grant{}, m.calls.opens(now)
	}
	g = grant{users: m.users.room(now), events: m.events.room(now), calls: 1}
	m.open(g)
	if g.users > 0 && g.events > 0 {
		return g, time.Time{}
	}
	return g, earliest(m.users.opens(now), m.events.opens(now))
}

// keep gives back what a reservation leaves unused, and sets the pace by what it used.
func (m *meter) keep(g, used grant, now time.Time) grant {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.close(g)
	m.open(used)
	m.users.pace(used.users, now)
	m.events.pace(used.events, now)
	m.calls.pace(used.calls, now)
	return used
}

// open and close begin and end a reservation. mu is held.
func (m *meter) open(g grant) {
	m.users.open += g.users
	m.events.open += g.events
	m.calls.open += g.calls
}

func (m *meter) close(g grant) {
	m.open(grant{-g.users, -g.events, -g.calls})
}

// admit reserves exactly so much, for a smaller request made of one that was refused, or says when to
// ask again.
func (m *meter) admit(g grant, now time.Time) (_ grant, again time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := latest(m.users.fits(g.users, now), m.events.fits(g.events, now))
	if at = latest(at, m.calls.fits(g.calls, now)); at.After(now) {
		return grant{}, at
	}
	m.open(g)
	return g, time.Time{}
}

// settle ends a reservation. What never left costs nothing; everything else is counted from now,
// refused or not, because nobody documents that a refusal is free.
func (m *meter) settle(g grant, left bool, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.close(g)
	if !left {
		return
	}
	m.users.spend(now, g.users)
	m.events.spend(now, g.events)
	m.calls.spend(now, g.calls)
}

// ease forgets the pressure, once everything due has left.
func (m *meter) ease() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users.pressed, m.events.pressed, m.calls.pressed = false, false, false
}

// share is what one request may carry of the limit.
func (w *window) share() int { return max(w.limit/slicesPerWindow, 1) }

// room returns a share if it may leave now, else zero. Less than a share is not worth a request.
func (w *window) room(now time.Time) int {
	if w.limit == 0 {
		return unlimited
	}
	w.expire(now)
	if w.pressed && now.Before(w.paced) {
		return 0
	}
	if w.limit-w.open-w.spent < w.share() {
		w.pressed = true
		return 0
	}
	return w.share()
}

// opens is when room will be more than zero; zero when that depends on requests in flight, or is now.
func (w *window) opens(now time.Time) time.Time {
	if w.limit == 0 {
		return time.Time{}
	}
	at := w.fits(w.share(), now)
	if w.pressed && !at.IsZero() {
		at = latest(at, w.paced)
	}
	if !at.After(now) {
		return time.Time{}
	}
	return at
}

// fits is when n more will not break the limit: now at the earliest. While requests in flight hold
// what is needed, nobody can say when; a second is a guess.
func (w *window) fits(n int, now time.Time) time.Time {
	if w.limit == 0 || n == 0 {
		return now
	}
	w.expire(now)
	lacking := min(n, w.limit) - (w.limit - w.open - w.spent)
	at := now
	for _, u := range w.past {
		if lacking <= 0 {
			return at
		}
		lacking -= u.n
		at = u.until
	}
	if lacking <= 0 {
		return at
	}
	return latest(at, now.Add(time.Second))
}

// pace puts the next request a share's time behind this one. It counts from where this one should
// have been, so that waking a little late each time does not add up.
func (w *window) pace(n int, now time.Time) {
	if w.limit == 0 || n == 0 {
		return
	}
	step := windowLength * time.Duration(n) / time.Duration(w.limit)
	w.paced = latest(w.paced, now.Add(-step)).Add(step)
}

func (w *window) spend(at time.Time, n int) {
	if w.limit == 0 || n == 0 {
		return
	}
	if w.since.IsZero() {
		w.since = at
	}
	until := w.since.Add((at.Sub(w.since) + windowLength).Truncate(grain) + grain) // Time.Truncate drops the monotonic reading
	w.spent += n
	if last := len(w.past) - 1; last >= 0 && !w.past[last].until.Before(until) {
		w.past[last].n += n
		return
	}
	w.past = append(w.past, use{until, n})
}

func (w *window) expire(now time.Time) {
	gone := 0
	for gone < len(w.past) && !now.Before(w.past[gone].until) {
		w.spent -= w.past[gone].n
		gone++
	}
	if gone > 0 {
		w.past = slices.Delete(w.past, 0, gone)
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// earliest ignores zero times, which stand for never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
