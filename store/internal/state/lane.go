package state

import (
	"strconv"
	"strings"

	"personasync/store/domain"
)

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

// cohortLane names a lane of the cohort endpoint for which a number has no room. A request is about one cohort and
// either adds or removes, so such a lane is a job, a cohort and a direction. Files of earlier versions name all
// cohort lanes so; today only very many jobs or fields need it.
func cohortLane(job string, f *Field, t domain.Transition) string {
	direction := "+"
	if t == domain.TransitionExit {
		direction = "-"
	}
	return job + targetMark + strconv.FormatUint(uint64(f.Number), 10) + direction
}

// jobOfLane returns the job in a lane's name.
func jobOfLane(name string) string {
	job, _, _ := strings.Cut(name, targetMark)
	return job
}

// laneState is the knowledge in memory of one lane of the due index, so that Take does not read every lane. It
// exists from the first Take on.
type laneState struct {
	First  uint32    // no entry is due before this second; NotYet: no entry is due
	Last   uint32    // no entry is due after this second, except at NotYet
	Gone   bool      // the entry at First was removed; the next reader looks it up
	Served [2]uint64 // number of the last turn of the lane: for fresh changes, for all
}

// Note takes over the first key of a lane as a reader found it. k may belong to another lane, or be nil.
func (l *laneState) Note(endpoint domain.Endpoint, number uint32, k []byte) {
	l.First, l.Gone = NotYet, false
	if len(k) > 9 && domain.Endpoint(k[0]) == endpoint {
		if lane, second, _ := DueParts(k); lane == number {
			l.First = second
		}
	}
}
