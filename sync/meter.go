package syncer

import (
	"math"
	"slices"
	"sync"
	"time"

	"personasync/store/domain"
)

// MoEngage counts users and events in a sliding window of a minute, at some moment between the sending of a
// request and its answer. So a use is held from its reservation until a minute after its answer. Then no window
// at MoEngage exceeds the limit, whenever it counts. (A token bucket with bursts violates a sliding window
// unless it runs at 92 %.)
const (
	windowLength = time.Minute
	// grain merges uses that end close together, so that a window has at most 1,200 entries. Rounding up costs
	// 0.08 % of the limit.
	grain = 50 * time.Millisecond
	// slicesPerWindow is the smallest number of requests in a full window. No request has more than 1/60 of a
	// minute's limit, so a long drain is an even stream and not a burst every minute.
	slicesPerWindow = 60
)

// unlimited is the share of a limit that is not set. The sum of two fits an int.
const unlimited = math.MaxInt32 / 2

// meter enforces the rate limits. Its methods are safe for concurrent use.
type meter struct {
	mu            sync.Mutex
	users, events window // protected by mu
	calls         window // requests, where MoEngage limits those
}

// window is one limit with its reservations and its uses of the last minute.
type window struct {
	limit int // per minute; 0 means none
	open  int // reserved by requests in flight
	past  []use
	spent int       // sum of past
	since time.Time // time of the first use; grains are counted from here

	// pressed means that the limit was reached and part of the backlog is still pending. Requests are then
	// paced: after each one, the time that its share takes at the limit's rate must pass. An unused window is
	// not paced.
	pressed bool
	paced   time.Time
}

// use counts until a moment. Its time has a monotonic reading, so setting the clock neither ends nor extends a
// window.
type use struct {
	until time.Time
	n     int
}

// grant is a reservation: a maximum of users, events and requests.
type grant struct{ users, events, calls int }

func (g grant) empty() bool { return g.users <= 0 && g.events <= 0 }

// limit sets the limits. Past uses still count.
func (m *meter) limit(g grant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users.limit, m.events.limit, m.calls.limit = max(g.users, 0), max(g.events, 0), max(g.calls, 0)
}

// restore counts the requests sent before a restart. Their times are whole seconds; each counts from its end.
func (m *meter) restore(sent []domain.SentSecond, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range sent {
		// A clock that was set back must not block sending for longer than a window.
		end := now.Add(-max(now.Sub(s.At.Add(time.Second)), 0))
		m.users.spend(end, s.Users)
		m.events.spend(end, s.Events)
		m.calls.spend(end, s.Cohorts)
	}
}

// reserve reserves as much as one request may have now. If the grant is empty, again is when to ask next. A
// zero again means that it depends on requests in flight.
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

// keep returns the unused part of a reservation and paces by the used part.
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

// open and close begin and end a reservation. The caller holds mu.
func (m *meter) open(g grant) {
	m.users.open += g.users
	m.events.open += g.events
	m.calls.open += g.calls
}

func (m *meter) close(g grant) {
	m.open(grant{-g.users, -g.events, -g.calls})
}

// admit reserves exactly g, for a request that is a part of a refused one. Otherwise it returns when to ask
// again.
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

// settle ends a reservation. A request that was never sent costs nothing. Any other counts from now, even if it
// was refused, because MoEngage does not document that a refusal is free.
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

// ease ends pacing, once everything due was sent.
func (m *meter) ease() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users.pressed, m.events.pressed, m.calls.pressed = false, false, false
}

// share returns the part of the limit that one request may use.
func (w *window) share() int { return max(w.limit/slicesPerWindow, 1) }

// room returns a whole share if it may be used now, otherwise zero. Less than a share is not worth a request.
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

// opens returns when room will be nonzero. Zero means now, or that it depends on requests in flight.
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

// fits returns when n more are within the limit, at the earliest now. If requests in flight hold the rest, the
// time is unknown and it returns a guess of one second.
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

// pace schedules the next request a share's time after this one. It counts from the planned time of this one,
// so that late wake-ups do not add up.
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

// earliest ignores zero times, which mean never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
