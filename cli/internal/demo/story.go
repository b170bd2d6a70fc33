package demo

// story is the demo's plot: the events that are posted, and their expected outcome.
type story struct {
	*world
	*narrator
	expected model
	before   map[string]uint64 // MoEngage request that told each user's membership before the outage
	sent     int               // requests at MoEngage that were told of already
}
