package state

import (
	"slices"

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

// LaneOf returns the lane for a change of u about f. It depends on the record and on the user's head alone.
func LaneOf(tx *Tx, u *User, f *Field, job string, t domain.Transition) uint32 {
	n, cohort := JobNumber(tx, job), f.Kind() == domain.KindCohort
	whose := turnOf(tx, f)
	if cohort {
		whose = f.Number
	}
	if n >= LaneJobs || cohort && whose >= laneShared {
		if cohort {
			return JobNumber(tx, cohortLane(job, f, t))
		}
		return n
	}
	number := laneOwn | n<<16 | min(whose, laneShared)
	if tx.Bulk {
		number |= laneBulk
	}
	if cohort && t == domain.TransitionExit {
		number |= laneExits
	}
	if lanes := u.Index.Endpoint(f.Endpoint()).Lanes; !cohort && len(lanes) >= LanesOfUser && !slices.ContainsFunc(lanes, func(l Lane) bool { return l.Number == number }) {
		number |= laneShared
	}
	return number
}

// turnOf returns the number of the computation in whose turn a change of f leaves.
func turnOf(tx *Tx, f *Field) uint32 {
	switch {
	case f.forwarded():
		return laneShared
	case f.Column != "":
		if own := tx.State.Registry.Beside(f, ""); own != nil {
			return own.Number
		}
	}
	return f.Number
}

// jobNumber returns the number of a job by its name (or of a lane by cohortLane), giving it one on first
// sight.
func JobNumber(tx *Tx, name string) uint32 {
	if tx.State.jobNumbers == nil {
		tx.State.jobNumbers = make(map[string]uint32, len(tx.State.jobs))
		for i, known := range slices.Backward(tx.State.jobs) {
			tx.State.jobNumbers[known] = uint32(i)
		}
	}
	n, known := tx.State.jobNumbers[name]
	if !known {
		n = uint32(len(tx.State.jobs))
		tx.State.jobs, tx.State.jobNumbers[name] = append(tx.State.jobs, name), n
		tx.Put(tx.Bucket(BucketJobs), FieldKey(n), []byte(name))
	}
	return n
}

// laneState is what is known of one lane of the due index, so that a Take need not ask every lane. It
// lives in memory, from the first question on.
type laneState struct {
	First  uint32    // no entry is due before this second; notYet: there is none, or none yet
	Last   uint32    // none is due after this one, notYet aside
	Gone   bool      // the entry at first was removed: there may be none there any more
	Served [2]uint64 // number of the turn in which the lane was last served: its fresh changes, all of them
}

// Lanes returns what is known of an endpoint's lanes.
func Lanes(tx *Tx, endpoint domain.Endpoint) map[uint32]*laneState {
	known := &tx.State.lanes[endpoint-1]
	if *known != nil {
		return *known
	}
	*known = make(map[uint32]*laneState)
	c := tx.Due.Cursor()
	for k, _ := c.Seek([]byte{byte(endpoint)}); len(k) > 9 && domain.Endpoint(k[0]) == endpoint; {
		lane, first, _ := DueParts(k)
		l := &laneState{First: first}
		before := c.Prev
		if k, _ := c.Seek(DueKey(endpoint, lane, NotYet, nil)); k == nil {
			before = c.Last
		}
		if k, _ := before(); len(k) > 9 && domain.Endpoint(k[0]) == endpoint {
			if n, last, _ := DueParts(k); n == lane {
				l.Last = last
			}
		}
		(*known)[lane] = l
		if lane == LaneRetry {
			break
		}
		k, _ = c.Seek(DueKey(endpoint, lane+1, 0, nil))
	}
	return *known
}

// dueKey is stand.key in memory that is used again.
func (tx *Tx) dueKey(s DuePlace, user []byte) []byte {
	tx.key = appendDueKey(tx.key[:0], s.Endpoint, s.Lane, s.Second, user)
	return tx.key
}

// putDue and removeDue keep the due index and what is known of its lanes together.
func (tx *Tx) putDue(s DuePlace, user []byte) {
	tx.Put(tx.Due, tx.dueKey(s, user), nil)
	lanes := tx.State.lanes[s.Endpoint-1]
	if lanes == nil {
		return
	}
	l := lanes[s.Lane]
	if l == nil {
		l = &laneState{First: NotYet}
		lanes[s.Lane] = l
	}
	l.First = min(l.First, s.Second)
	if s.Second != NotYet {
		l.Last = max(l.Last, s.Second)
	}
}

func (tx *Tx) RemoveDue(s DuePlace, user []byte) {
	tx.Remove(tx.Due, tx.dueKey(s, user))
	if l := tx.State.lanes[s.Endpoint-1][s.Lane]; l != nil && l.First == s.Second {
		l.Gone = true
	}
}

// FirstDue returns the second of the first entry of a lane, notYet when there is none.
func FirstDue(tx *Tx, endpoint domain.Endpoint, number uint32, l *laneState) uint32 {
	if l.Gone {
		k, _ := tx.Due.Cursor().Seek(DueKey(endpoint, number, l.First, nil))
		l.Note(endpoint, number, k)
	}
	return l.First
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
