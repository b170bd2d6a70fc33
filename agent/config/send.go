package config

import "personasync/store/domain"

// sendsAttribute reports whether a transition may become a custom attribute named after its computation.
func sendsAttribute(set domain.SendMethods) bool {
	return set&(domain.SendAsReceived|domain.SendAttribute) != 0
}

// sendsMembership reports whether only memberships can be sent, and no traits.
func sendsMembership(set domain.SendMethods) bool {
	return set != domain.SendNone && set&^(domain.SendCohort|domain.SendList) == 0
}

// sendsEvent reports whether a transition may become an event.
func sendsEvent(set domain.SendMethods) bool {
	return set&(domain.SendAsReceived|domain.SendEvent) != 0
}
