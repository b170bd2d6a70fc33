package demo

// story is the demo's plot: what is posted, and what must become of it.
type story struct {
	*world
	*narrator
	expected model
	before   map[string]uint64 // MoEngage request that told each user's membership before the outage
	sent     int               // requests at MoEngage that were told of already
}
