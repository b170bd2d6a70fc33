package sandbox

// flights records which users are in a request in progress, by endpoint. A request is in progress from after it
// was read until just before it is answered.
type flights map[*endpoint]map[string]seat

type seat struct {
	call       *call
	attributes bool // the request has a customer element of this user
}

func newFlights() flights {
	f := flights{}
	for _, e := range endpoints {
		f[e] = map[string]seat{}
	}
	return f
}

// enter records the users of a request. It reports users who are already in another request, and users whose
// attributes appear twice. It does so whatever the outcome of the request, because the sender is at fault.
func (s *Sandbox) enter(c *call) {
	s.total.InFlight++
	s.total.MaxInFlight = max(s.total.MaxInFlight, s.total.InFlight)
	seats := s.flights[c.endpoint]
	for _, e := range c.elements {
		if e.user == "" {
			continue
		}
		taken := seats[e.user]
		isMine := taken.call == c
		switch {
		case isMine && taken.attributes && e.kind == customer:
			s.violate(c, UserTwice, e.user, "")
		case !isMine && taken.call != nil && taken.call.ctx.Err() == nil: // its client is still waiting
			s.violate(c, ConcurrentUser, e.user, "also in request "+itoa(int(taken.call.Number)))
		}
		seats[e.user] = seat{c, e.kind == customer || isMine && taken.attributes}
	}
}

// leave removes the users of a request, except those that a later request has replaced.
func (s *Sandbox) leave(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.InFlight--
	seats := s.flights[c.endpoint]
	for _, e := range c.elements {
		if seats[e.user].call == c {
			delete(seats, e.user)
		}
	}
}
