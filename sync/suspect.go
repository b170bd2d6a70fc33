package syncer

import (
	"slices"
	"time"
)

// suspect is a user who was in a request that failed without a word about the data: a 5xx, a broken
// connection, an answer that nobody can read. Perhaps the road is down; perhaps this user's payload
// brings MoEngage down on it. Nobody says, so it is found out by who travels with whom:
//
//   - Suspects travel with suspects only, so that nobody fresh waits for them.
//   - A suspect who fails again may have half as much company as in the request that failed. One
//     offender among n is alone after ceil(log2 n) + 2 failures at most, counting the first two.
//   - Whoever is accepted is none any more.
//
// In an outage that makes no storm: the road still lets one request at a time try, after its pause. Once
// as many requests are uncertain as may be in flight, it is the suspects alone who try, because what is
// uncertain already cannot become so (see Sender.skip). Of the requests that failed each leaves at most
// two behind, and who was not tried yet leaves in full ones as soon as the road works.
type suspect struct {
	company int       // most users of a request with this one; 0: any number, and no suspect
	failed  time.Time // last
	alone   int       // failures in requests with nobody else; these are attempts that count
	guilty  bool      // failed alone although others were accepted since the time before
}

// suspects is who is suspected. Sender.mu guards it. It lives in memory alone: after a restart the
// search is made again, which costs the same few requests.
type suspects map[string]*suspect

// mostSuspects bounds the memory. An outage makes as many requests full of them as may be in flight;
// beyond that it is cheaper to begin anew.
const mostSuspects = 1 << 16

// triedAlone is how often every suspect fails alone before one of them may be all that is wrong.
const triedAlone = 8

// exhausted reports whether nothing more is to be found out with the suspects: each has failed alone time
// and again.
func (ss suspects) exhausted() bool {
	for _, one := range ss {
		if one.company > 0 && one.alone < triedAlone {
			return false
		}
	}
	return true
}

// fail notes a failed request of these users, and returns how often the only one of them has failed
// alone; 0 if there were more. Where incriminating is false the failure is the road's: it is counted,
// and nobody is suspected for it.
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

// accept clears users of suspicion.
func (ss suspects) accept(users []string) {
	for _, u := range users {
		delete(ss, u)
	}
}

// repeated reports whether all of these users failed before, in requests that may have been theirs to
// fail.
func (ss suspects) repeated(users []string) bool {
	return !slices.ContainsFunc(users, func(u string) bool { return ss.company(u) == 0 })
}

// own reports whether a failure of these users is theirs and not the road's: all of them failed
// before, and something else was accepted since. Who is guilty stays so while nothing else leaves,
// else one payload would close the road in a quiet night. The second result says that it is news.
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

// company is who may still join a request.
type company struct {
	most int // 0: any number
	n    int
}

// admits reports whether a user may join, given what is suspected.
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
