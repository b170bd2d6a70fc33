package sandbox

import "strconv"

// inFlight records which users are in a request in progress, by endpoint. A request is in progress from after it
// was read until just before it is answered.
type inFlight map[*endpoint]map[string]holder

// holder is the request that a user is in.
type holder struct {
	call       *call
	attributes bool // the request has a customer element of this user
}

func newInFlight() inFlight {
	f := inFlight{}
	for _, e := range endpoints {
		f[e] = map[string]holder{}
	}
	return f
}

// enter records the users of a request. It reports users who are already in another request, and users whose
// attributes appear twice. It does so whatever the outcome of the request, because the sender is at fault.
func (f inFlight) enter(c *call, report reporter) {
	holders := f[c.endpoint]
	for _, e := range c.elements {
		if e.user == "" {
			continue
		}
		held := holders[e.user]
		isMine := held.call == c
		switch {
		case isMine && held.attributes && e.kind == customer:
			report(UserTwice, e.user, "")
		case !isMine && held.call != nil && held.call.ctx.Err() == nil: // its client is still waiting
			report(ConcurrentUser, e.user, "also in request "+strconv.FormatUint(held.call.Number, 10))
		}
		holders[e.user] = holder{c, e.kind == customer || isMine && held.attributes}
	}
}

// leave removes the users of a request, except those that a later request has replaced.
func (f inFlight) leave(c *call) {
	holders := f[c.endpoint]
	for _, e := range c.elements {
		if holders[e.user].call == c {
			delete(holders, e.user)
		}
	}
}
