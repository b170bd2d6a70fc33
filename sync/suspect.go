package syncer

import (
	"slices"
	"time"
)

// suspect is a possible poison message: a user in a request that failed without naming the data, such as a 5xx,
// a broken connection or an unreadable answer. MoEngage may be down, or this user's payload may bring it down.
// The composition of further requests finds out:
//
//   - Suspects share requests only with suspects, so that no other user waits for them.
//   - A suspect who fails again may have at most half as many other users beside them. So one poisoned user
//     among n is alone after at most ceil(log2 n) + 2 failures, counting the first two.
//   - An accepted user is no longer a suspect.
//
// This does not flood MoEngage in an outage: the breaker still allows one request at a time after its pause.
// Once as many requests are uncertain as may be in flight, only suspects are tried, because they are uncertain
// already (see clearance.skip). Each failed request leaves at most two further ones, and all other users leave
// in full requests as soon as MoEngage works.
type suspect struct {
	company int       // most users in a request with this one; 0 means unlimited and not a suspect
	failed  time.Time // time of the last failure
	alone   int       // failures in requests of this user alone; these count as attempts
	guilty  bool      // failed alone although others were accepted since the previous failure
}

// suspects is the set of suspects. Sender.mu protects it. It is in memory only: after a restart the search is
// repeated, which costs the same few requests.
type suspects map[string]*suspect

// mostSuspects limits the memory. An outage makes all users of the requests in flight suspects. Beyond the
// limit the set is cleared, which is cheaper.
const mostSuspects = 1 << 16

// triedAlone is how often every suspect must fail alone before exhausted is true.
const triedAlone = 8

// exhausted reports whether the suspects allow no further conclusion, because each has failed alone repeatedly.
func (ss suspects) exhausted() bool {
	for _, one := range ss {
		if one.company > 0 && one.alone < triedAlone {
			return false
		}
	}
	return true
}

// fail records a failed request of these users. It returns how often its only user has failed alone, or 0 for
// several users. If incriminating is false, MoEngage caused the failure: it is counted, but makes no user a
// suspect.
func (ss suspects) fail(users []string, incriminating bool, now time.Time) (alone int) {
	if !incriminating && len(users) > 1 {
		return 0
	}
	if len(ss)+len(users) > mostSuspects {
		clear(ss)
	}
	for _, u := range users {
		one := ss[u]
		if one == nil {
			one = &suspect{}
			ss[u] = one
		}
		switch {
		case !incriminating:
		case one.company == 0:
			one.company = len(users) // once may be chance
		default:
			one.company = max(len(users)/2, 1)
		}
		one.failed = now
		if len(users) == 1 {
			one.alone++
			alone = one.alone
		}
	}
	return alone
}

// accept removes users from the suspects.
func (ss suspects) accept(users []string) {
	for _, u := range users {
		delete(ss, u)
	}
}

// repeated reports whether all of these users are suspects already.
func (ss suspects) repeated(users []string) bool {
	return !slices.ContainsFunc(users, func(u string) bool { return ss.company(u) == 0 })
}

// own reports whether a failure is caused by these users and not by MoEngage: all of them failed before, and
// something else was accepted since. A guilty user stays guilty while nothing else is sent. Otherwise one
// payload would open the breaker whenever there is little traffic. news means that this was not known.
func (ss suspects) own(users []string, accepted time.Time) (own, news bool) {
	if !ss.repeated(users) {
		return false, false
	}
	for _, u := range users {
		if one := ss[u]; !one.guilty && accepted.Before(one.failed) {
			return false, false
		}
	}
	if len(users) > 1 {
		return true, false
	}
	one := ss[users[0]]
	news = !one.guilty
	one.guilty = true
	return true, news
}

// company is the number of users in a request and its limit.
type company struct {
	most int // 0 means unlimited
	n    int
}

// admits reports whether a user may be added, given the suspects.
func (c company) admits(ss suspects, user string) bool {
	most := ss.company(user)
	switch {
	case c.n == 0:
		return true
	case c.most == 0 || most == 0:
		return c.most == most
	}
	return c.n < min(c.most, most)
}

// join adds a user to a request.
func (c *company) join(ss suspects, user string) {
	most := ss.company(user)
	if c.n == 0 || most < c.most {
		c.most = most
	}
	c.n++
}

func (ss suspects) company(user string) int {
	if one := ss[user]; one != nil {
		return one.company
	}
	return 0
}
