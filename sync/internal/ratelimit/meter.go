package ratelimit

import (
	"math"
	"slices"
	"sync"
	"time"

	"personasync/store/domain"
)

// Window is the period of MoEngage's limits. MoEngage counts users and events in a sliding window of a minute, at
// some moment between the sending of a request and its answer. So a use is held from its reservation until a minute after its answer. Then no window
// at MoEngage exceeds the limit, whenever it counts. (A token bucket with bursts violates a sliding window
// unless it runs at 92 %.)
const Window = time.Minute

const (
	// grain merges uses that end close together, so that a window has at most 1,200 entries. Rounding up costs
	// 0.08 % of the limit.
	grain = 50 * time.Millisecond
	// slicesPerWindow is the smallest number of requests in a full window. No request has more than 1/60 of a
	// minute's limit, so a long drain is an even stream and not a burst every minute.
	slicesPerWindow = 60
)

// unlimited is the share of a limit that is not set. The sum of two fits an int.
const unlimited = math.MaxInt32 / 2

// Meter enforces the rate limits. Its methods are safe for concurrent use.
type Meter struct {
	mu            sync.Mutex
	users, events window // protected by mu
	calls         window // requests, where MoEngage limits those
}

// window is one limit with its reservations and its uses of the last minute.
type window struct {
	limit    int // per minute; 0 means none
	reserved int // by requests in flight
	past     []use
	spent    int       // sum of past
	since    time.Time // time of the first use; grains are counted from here

	// pacing means that the limit was reached and part of the backlog is still pending. Requests are then
	// paced: after each one, the time that its share takes at the limit's rate must pass. An unused window is
	// not paced.
	pacing bool
	nextAt time.Time
}

// use counts until a moment. Its time has a monotonic reading, so setting the clock neither ends nor extends a
// window.
type use struct {
	until time.Time
	n     int
}

// Amount counts users, events and requests: a limit per minute, a reservation, or the cost of a request.
type Amount struct{ Users, Events, Calls int }

// Empty reports whether a reservation allows neither a user nor an event.
func (a Amount) Empty() bool { return a.Users <= 0 && a.Events <= 0 }

// AtMost returns a with at most n users and n events.
func (a Amount) AtMost(n int) Amount {
	return Amount{Users: min(a.Users, n), Events: min(a.Events, n), Calls: a.Calls}
}

// Share returns how much of a limit per minute one request may use. No limit is a limit of zero or less.
func Share(limit int) int {
	if limit <= 0 {
		return unlimited
	}
	return (&window{limit: limit}).share()
}

// SetLimits sets the limits. Past uses still count.
func (m *Meter) SetLimits(g Amount) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users.limit, m.events.limit, m.calls.limit = max(g.Users, 0), max(g.Events, 0), max(g.Calls, 0)
}

// Restore counts the requests sent before a restart. Their times are whole seconds; each counts from its end.
func (m *Meter) Restore(sent []domain.SentSecond, now time.Time) {
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

// Reserve reserves as much as one request may have now. If the amount is empty, again is when to ask next. A
// zero again means that it depends on requests in flight.
func (m *Meter) Reserve(now time.Time) (g Amount, again time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls.freeShare(now) == 0 {
		return Amount{}, m.calls.freeAt(now)
	}
	g = Amount{Users: m.users.freeShare(now), Events: m.events.freeShare(now), Calls: 1}
	m.hold(g)
	if g.Users > 0 && g.Events > 0 {
		return g, time.Time{}
	}
	return g, domain.Sooner(m.users.freeAt(now), m.events.freeAt(now))
}

// Keep returns the unused part of a reservation and paces by the used part.
func (m *Meter) Keep(g, used Amount, now time.Time) Amount {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release(g)
	m.hold(used)
	m.users.pace(used.Users, now)
	m.events.pace(used.Events, now)
	m.calls.pace(used.Calls, now)
	return used
}

// hold and release begin and end a reservation. The caller holds mu.
func (m *Meter) hold(g Amount) {
	m.users.reserved += g.Users
	m.events.reserved += g.Events
	m.calls.reserved += g.Calls
}

func (m *Meter) release(g Amount) {
	m.hold(Amount{-g.Users, -g.Events, -g.Calls})
}

// Admit reserves exactly g, for a request that is a part of a refused one. Otherwise it returns when to ask
// again.
func (m *Meter) Admit(g Amount, now time.Time) (_ Amount, again time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := domain.Later(m.users.fitsAt(g.Users, now), m.events.fitsAt(g.Events, now))
	if at = domain.Later(at, m.calls.fitsAt(g.Calls, now)); at.After(now) {
		return Amount{}, at
	}
	m.hold(g)
	return g, time.Time{}
}

// Settle ends a reservation. A request that was never sent costs nothing. Any other counts from now, even if it
// was refused, because MoEngage does not document that a refusal is free.
func (m *Meter) Settle(g Amount, left bool, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release(g)
	if !left {
		return
	}
	m.users.spend(now, g.Users)
	m.events.spend(now, g.Events)
	m.calls.spend(now, g.Calls)
}

// StopPacing ends pacing, once everything due was sent.
func (m *Meter) StopPacing() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users.pacing, m.events.pacing, m.calls.pacing = false, false, false
}

// share returns the part of the limit that one request may use.
func (w *window) share() int { return max(w.limit/slicesPerWindow, 1) }

// freeShare returns a whole share if it may be used now, otherwise zero. Less than a share is not worth a request.
func (w *window) freeShare(now time.Time) int {
	if w.limit == 0 {
		return unlimited
	}
	w.expire(now)
	if w.pacing && now.Before(w.nextAt) {
		return 0
	}
	if w.limit-w.reserved-w.spent < w.share() {
		w.pacing = true
		return 0
	}
	return w.share()
}

// freeAt returns when freeShare will be nonzero. Zero means now, or that it depends on requests in flight.
func (w *window) freeAt(now time.Time) time.Time {
	if w.limit == 0 {
		return time.Time{}
	}
	at := w.fitsAt(w.share(), now)
	if w.pacing && !at.IsZero() {
		at = domain.Later(at, w.nextAt)
	}
	if !at.After(now) {
		return time.Time{}
	}
	return at
}

// fitsAt returns when n more are within the limit, at the earliest now. If requests in flight hold the rest, the
// time is unknown and it returns a guess of one second.
func (w *window) fitsAt(n int, now time.Time) time.Time {
	if w.limit == 0 || n == 0 {
		return now
	}
	w.expire(now)
	lacking := min(n, w.limit) - (w.limit - w.reserved - w.spent)
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
	return domain.Later(at, now.Add(time.Second))
}

// pace schedules the next request a share's time after this one. It counts from the planned time of this one,
// so that late wake-ups do not add up.
func (w *window) pace(n int, now time.Time) {
	if w.limit == 0 || n == 0 {
		return
	}
	step := Window * time.Duration(n) / time.Duration(w.limit)
	w.nextAt = domain.Later(w.nextAt, now.Add(-step)).Add(step)
}

func (w *window) spend(at time.Time, n int) {
	if w.limit == 0 || n == 0 {
		return
	}
	if w.since.IsZero() {
		w.since = at
	}
	until := w.since.Add((at.Sub(w.since) + Window).Truncate(grain) + grain) // Time.Truncate drops the monotonic reading
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
	w.past = slices.Delete(w.past, 0, gone)
}
