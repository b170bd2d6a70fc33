package demo

// story is the course of the demo: the events that are posted, and their expected outcome.
type story struct {
	*world
	*narrator
	expected model
	before   map[string]uint64 // the request that sent each user's membership before the outage
	sent     int               // requests at MoEngage that were printed already
}
