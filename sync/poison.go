package syncer

import (
	"slices"
	"time"
)

// poisonTracker finds poison messages: users whose payload makes MoEngage fail without naming the data, as by a
// 5xx, a broken connection or an unreadable answer. MoEngage may also be down. The composition of further
// requests finds out:
//
//   - Tracked users share requests only with tracked users, so that no other user waits for them.
//   - A tracked user whose request fails again may be with at most half as many users. So one poisoned user
//     among n is alone after at most ceil(log2 n) + 2 failures, counting the first two.
//   - An accepted user is no longer tracked.
//
// This does not flood MoEngage in an outage: the breaker still allows one request at a time after its pause.
// Once as many requests are uncertain as may be in flight, only tracked users are tried, because they are
// uncertain already (see sendMode.onlyUncertain). Each failed request leaves at most two further ones, and all
// other users leave in full requests as soon as MoEngage works.
//
// It is in memory only: after a restart the search is repeated, which costs the same few requests. It is part of
// the diagnosis, whose mutex protects it.
type poisonTracker map[string]*trackedUser

// trackedUser is a user whose last request failed.
type trackedUser struct {
	batchLimit  int       // most users in a request with this one; 0 means unlimited and not suspected
	failedAt    time.Time // time of the last failure
	failedAlone int       // failures in requests of this user alone; these count as attempts
	poisoned    bool      // failed alone although others were accepted since the previous failure
}

// maxTracked limits the memory. An outage makes all users of the requests in flight tracked ones. Beyond the
// limit the set is cleared, which is cheaper.
const maxTracked = 1 << 16

// aloneUntilExhausted is how often every tracked user must fail alone before allFailedAlone is true.
const aloneUntilExhausted = 8

// allFailedAlone reports whether the tracked users allow no further conclusion, because each has failed alone
// repeatedly.
func (p poisonTracker) allFailedAlone() bool {
	for _, u := range p {
		if u.batchLimit > 0 && u.failedAlone < aloneUntilExhausted {
			return false
		}
	}
	return true
}

// fail records a failed request of these users. It returns how often its only user has failed alone, or 0 for
// several users. If byPayload is false, MoEngage caused the failure: it is counted, but limits no batch.
func (p poisonTracker) fail(users []string, byPayload bool, now time.Time) (failedAlone int) {
	if !byPayload && len(users) > 1 {
		return 0
	}
	if len(p)+len(users) > maxTracked {
		clear(p)
	}
	for _, name := range users {
		u := p[name]
		if u == nil {
			u = &trackedUser{}
			p[name] = u
		}
		switch {
		case !byPayload:
		case u.batchLimit == 0:
			u.batchLimit = len(users) // once may be chance
		default:
			u.batchLimit = max(len(users)/2, 1)
		}
		u.failedAt = now
		if len(users) == 1 {
			u.failedAlone++
			failedAlone = u.failedAlone
		}
	}
	return failedAlone
}

// accept stops tracking users.
func (p poisonTracker) accept(users []string) {
	for _, u := range users {
		delete(p, u)
	}
}

// allTracked reports whether every one of these users has a batch limit already.
func (p poisonTracker) allTracked(users []string) bool {
	return !slices.ContainsFunc(users, func(u string) bool { return p.batchLimit(u) == 0 })
}

// causedBy reports whether a failure is caused by these users and not by MoEngage: all of them failed before, and
// something else was accepted since. A poisoned user stays poisoned while nothing else is sent. Otherwise one
// payload would open the breaker whenever there is little traffic. news means that this was not known.
func (p poisonTracker) causedBy(users []string, accepted time.Time) (caused, news bool) {
	if !p.allTracked(users) {
		return false, false
	}
	for _, name := range users {
		if u := p[name]; !u.poisoned && accepted.Before(u.failedAt) {
			return false, false
		}
	}
	if len(users) > 1 {
		return true, false
	}
	u := p[users[0]]
	news = !u.poisoned
	u.poisoned = true
	return true, news
}

// batchLimit returns the most users in a request with this one. Zero means unlimited.
func (p poisonTracker) batchLimit(user string) int {
	if u := p[user]; u != nil {
		return u.batchLimit
	}
	return 0
}

// batchLimits returns a copy of the batch limits, without the users that have none.
func (p poisonTracker) batchLimits() map[string]int {
	var limits map[string]int
	for name, u := range p {
		if u.batchLimit > 0 {
			if limits == nil {
				limits = make(map[string]int, len(p))
			}
			limits[name] = u.batchLimit
		}
	}
	return limits
}

// batch counts the users of a request that is being filled, and has the least of their limits.
type batch struct {
	limit int // 0 means unlimited
	n     int
}

// admits reports whether a user with this batch limit may be added.
func (b batch) admits(limit int) bool {
	switch {
	case b.n == 0:
		return true
	case b.limit == 0 || limit == 0:
		return b.limit == limit
	}
	return b.n < min(b.limit, limit)
}

// add counts a user with this batch limit.
func (b *batch) add(limit int) {
	if b.n == 0 || limit < b.limit {
		b.limit = limit
	}
	b.n++
}
