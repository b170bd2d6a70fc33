package state

// A lane is a line of the due index. Its number says which schedule its changes follow, and in whose turn they
// leave.
//
//	bit 31      set; without it the number is that of a job, as in older files, or of a cohort's lane (see cohortLane)
//	bit 30      bulk: the changes come from an operator's order, a repair or a retry of parked changes
//	bit 29      the exits of a cohort
//	bits 28-16  number of the job
//	bits 15-0   number of the computation's field, or laneShared
//
// So every computation has one lane for its live changes and one for its bulk changes in each job, and no lane needs
// a name on disk. Five numbers at the end belong to no job.
const (
	LaneDefault   uint32 = 0
	LaneBarred    uint32 = 0xFFFFFFFB // users whom MoEngage is to delete, or may delete still
	LaneRetryBulk uint32 = 0xFFFFFFFC // users who wait for a retry and have bulk changes only
	LaneParked    uint32 = 0xFFFFFFFD
	LaneHeld      uint32 = 0xFFFFFFFE
	LaneRetry     uint32 = 0xFFFFFFFF // the other users who wait for a retry

	laneOwn   uint32 = 1 << 31
	laneBulk  uint32 = 1 << 30
	laneExits uint32 = 1 << 29
	// LaneDelete has the deletes, which leave at once. No cohort has its number: see LaneOf.
	LaneDelete = laneOwn | laneExits | laneShared

	laneShared uint32 = 1<<16 - 1 // forwarded traits, and changes of users in very many lanes
	LaneJobs   uint32 = 1<<13 - 1 // jobs from this number on have one lane for everything

	// LanesOfUser is how many lanes of the transition endpoint a user gets before new computations share
	// one: the pending index lists them, and is written with every change.
	LanesOfUser = 8
)

// IsRetry reports whether a lane has the users who wait for a retry.
func IsRetry(lane uint32) bool { return lane == LaneRetry || lane == LaneRetryBulk }

// IsBulk reports whether a lane has bulk changes only.
func IsBulk(lane uint32) bool {
	return lane == LaneRetryBulk || lane < LaneBarred && lane&(laneOwn|laneBulk) == laneOwn|laneBulk
}

// LaneJob returns the number of the job whose schedule a lane follows, LaneRetry for the lanes of retries.
func LaneJob(lane uint32) uint32 {
	switch {
	case IsRetry(lane):
		return LaneRetry
	case lane&laneOwn == 0:
		return lane
	}
	return lane >> 16 & LaneJobs
}

// LaneComputation returns the number of the field in whose turn the changes of a lane leave: a computation's, or on the
// endpoint of cohorts its target's. one is false for a lane that several share.
func LaneComputation(lane uint32) (number uint32, one bool) {
	number = lane & laneShared
	return number, lane < LaneRetryBulk && lane&laneOwn != 0 && number != laneShared
}

// SameJob returns lane, moved to the job of other.
func SameJob(lane, other uint32) uint32 {
	switch {
	case LaneJob(lane) == LaneJob(other):
		return lane
	case lane&other&laneOwn == 0:
		return other
	}
	return lane&^(LaneJobs<<16) | LaneJob(other)<<16
}

// laneGroup returns the part of a lane's number that the lanes of one job and class share.
func laneGroup(lane uint32) uint32 {
	if lane&laneOwn == 0 {
		return lane
	}
	return lane &^ laneShared
}

// liveTwin returns the lane in which the changes of a bulk lane leave among the live ones.
func liveTwin(lane uint32) uint32 {
	if IsBulk(lane) {
		return lane &^ laneBulk
	}
	return lane
}
