package state

import (
	"strconv"
	"strings"

	"personasync/store/domain"
)

// A lane is a line of the due index. Its number says which schedule the changes in it wait for, and with
// whom they take turns.
//
//	bit 31      set; without it the number is a job's, as in older files, or a cohort's (see cohortLane)
//	bit 30      bulk: the changes come of an operator's order, a repair or a retry of what was parked
//	bit 29      a cohort's exits
//	bits 28-16  number of the job
//	bits 15-0   number of the computation's field, or laneShared
//
// So every computation has a lane for its live changes and one for its bulk changes in each job, and no
// lane needs a name on disk. Four numbers at the end stand for no job.
const (
	LaneDefault   uint32 = 0
	LaneRetryBulk uint32 = 0xFFFFFFFC // users who wait for a retry and have nothing but bulk changes
	LaneParked    uint32 = 0xFFFFFFFD
	LaneHeld      uint32 = 0xFFFFFFFE
	LaneRetry     uint32 = 0xFFFFFFFF // the other users who wait for a retry

	laneOwn    uint32 = 1 << 31
	laneBulk   uint32 = 1 << 30
	laneExits  uint32 = 1 << 29
	laneShared uint32 = 1<<16 - 1 // forwarded traits, and changes of users in very many lanes
	LaneJobs   uint32 = 1<<13 - 1 // jobs from this number on have one lane for everything

	// LanesOfUser is how many lanes of the transition endpoint a user gets before new computations share
	// one: the user's head lists them, and is written with every change.
	LanesOfUser = 8
)

func IsRetry(lane uint32) bool { return lane == LaneRetry || lane == LaneRetryBulk }

func IsBulk(lane uint32) bool {
	return lane == LaneRetryBulk || lane < LaneRetryBulk && lane&(laneOwn|laneBulk) == laneOwn|laneBulk
}

// LaneJob returns the number of the job whose schedule a lane waits for; retries have none.
func LaneJob(lane uint32) uint32 {
	switch {
	case IsRetry(lane):
		return LaneRetry
	case lane&laneOwn == 0:
		return lane
	}
	return lane >> 16 & LaneJobs
}

// SameJob returns the lane that stands to another's job as the given one does to its own.
func SameJob(lane, other uint32) uint32 {
	switch {
	case LaneJob(lane) == LaneJob(other):
		return lane
	case lane&other&laneOwn == 0:
		return other
	}
	return lane&^(LaneJobs<<16) | LaneJob(other)<<16
}

// laneGroup is what the lanes of one job and class have in common.
func laneGroup(lane uint32) uint32 {
	if lane&laneOwn == 0 {
		return lane
	}
	return lane &^ laneShared
}

// liveTwin is the lane in which the bulk changes of a lane leave among the live ones.
func liveTwin(lane uint32) uint32 {
	if IsBulk(lane) {
		return lane &^ laneBulk
	}
	return lane
}

// A request speaks of one cohort and either adds or removes. So on the endpoint of cohorts a lane is a job,
// a cohort and a direction: who leaves together stands together in the due index. Older files name such a
// lane like a job; so do very many jobs or fields, for which a lane's number has no room.
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

// laneState is what is known of one lane of the due index, so that a Take need not ask every lane. It
// lives in memory, from the first question on.
type laneState struct {
	First  uint32    // no entry is due before this second; notYet: there is none, or none yet
	Last   uint32    // none is due after this one, notYet aside
	Gone   bool      // the entry at first was removed: there may be none there any more
	Served [2]uint64 // number of the turn in which the lane was last served: its fresh changes, all of them
}

// Note takes in the first key of a lane as it was found; k may be another lane's, or nil.
func (l *laneState) Note(endpoint domain.Endpoint, number uint32, k []byte) {
	l.First, l.Gone = NotYet, false
	if len(k) > 9 && domain.Endpoint(k[0]) == endpoint {
		if lane, second, _ := DueParts(k); lane == number {
			l.First = second
		}
	}
}
