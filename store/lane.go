package store

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
	laneDefault   uint32 = 0
	laneRetryBulk uint32 = 0xFFFFFFFC // users who wait for a retry and have nothing but bulk changes
	laneParked    uint32 = 0xFFFFFFFD
	laneHeld      uint32 = 0xFFFFFFFE
	laneRetry     uint32 = 0xFFFFFFFF // the other users who wait for a retry

	laneOwn    uint32 = 1 << 31
	laneBulk   uint32 = 1 << 30
	laneExits  uint32 = 1 << 29
	laneShared uint32 = 1<<16 - 1 // forwarded traits, and changes of users in very many lanes
	laneJobs   uint32 = 1<<13 - 1 // jobs from this number on have one lane for everything

	// lanesOfUser is how many lanes of the transition endpoint a user gets before new computations share
	// one: the user's head lists them, and is written with every change.
	lanesOfUser = 8
)

func isRetry(lane uint32) bool { return lane == laneRetry || lane == laneRetryBulk }

func isBulk(lane uint32) bool {
	return lane == laneRetryBulk || lane < laneRetryBulk && lane&(laneOwn|laneBulk) == laneOwn|laneBulk
}

// laneJob returns the number of the job whose schedule a lane waits for; retries have none.
func laneJob(lane uint32) uint32 {
	switch {
	case isRetry(lane):
		return laneRetry
	case lane&laneOwn == 0:
		return lane
	}
	return lane >> 16 & laneJobs
}

// sameJob returns the lane that stands to another's job as the given one does to its own.
func sameJob(lane, other uint32) uint32 {
	switch {
	case laneJob(lane) == laneJob(other):
		return lane
	case lane&other&laneOwn == 0:
		return other
	}
	return lane&^(laneJobs<<16) | laneJob(other)<<16
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
	if isBulk(lane) {
		return lane &^ laneBulk
	}
	return lane
}

// laneOf returns the lane for a change of u about f. It depends on the record and on the user's head alone.
func (b *batch) laneOf(u *user, f *field, job string, t domain.Transition) uint32 {
	n, cohort := b.jobNumber(job), f.kind() == domain.KindCohort
	whose := b.turnOf(f)
	if cohort {
		whose = f.number
	}
	if n >= laneJobs || cohort && whose >= laneShared {
		if cohort {
			return b.jobNumber(cohortLane(job, f, t))
		}
		return n
	}
	number := laneOwn | n<<16 | min(whose, laneShared)
	if b.bulk {
		number |= laneBulk
	}
	if cohort && t == domain.TransitionExit {
		number |= laneExits
	}
	if lanes := u.head.endpoint(f.endpoint()).lanes; !cohort && len(lanes) >= lanesOfUser && !slices.ContainsFunc(lanes, func(l lane) bool { return l.number == number }) {
		number |= laneShared
	}
	return number
}

// turnOf returns the number of the computation in whose turn a change of f leaves.
func (b *batch) turnOf(f *field) uint32 {
	switch {
	case f.forwarded():
		return laneShared
	case f.column != "":
		if own := b.st.registry.beside(f, ""); own != nil {
			return own.number
		}
	}
	return f.number
}

// jobNumber returns the number of a job by its name (or of a lane by cohortLane), giving it one on first
// sight.
func (b *batch) jobNumber(name string) uint32 {
	if b.st.jobNumbers == nil {
		b.st.jobNumbers = make(map[string]uint32, len(b.st.jobs))
		for i, known := range slices.Backward(b.st.jobs) {
			b.st.jobNumbers[known] = uint32(i)
		}
	}
	n, known := b.st.jobNumbers[name]
	if !known {
		n = uint32(len(b.st.jobs))
		b.st.jobs, b.st.jobNumbers[name] = append(b.st.jobs, name), n
		b.put(b.tx.Bucket(bucketJobs), fieldKey(n), []byte(name))
	}
	return n
}

// laneState is what is known of one lane of the due index, so that a Take need not ask every lane. It
// lives in memory, from the first question on.
type laneState struct {
	first  uint32    // no entry is due before this second; notYet: there is none, or none yet
	last   uint32    // none is due after this one, notYet aside
	gone   bool      // the entry at first was removed: there may be none there any more
	served [2]uint64 // number of the turn in which the lane was last served: its fresh changes, all of them
}

// lanes returns what is known of an endpoint's lanes.
func (b *batch) lanes(endpoint domain.Endpoint) map[uint32]*laneState {
	known := &b.st.lanes[endpoint-1]
	if *known != nil {
		return *known
	}
	*known = make(map[uint32]*laneState)
	c := b.due.Cursor()
	for k, _ := c.Seek([]byte{byte(endpoint)}); len(k) > 9 && domain.Endpoint(k[0]) == endpoint; {
		lane, first, _ := dueParts(k)
		l := &laneState{first: first}
		before := c.Prev
		if k, _ := c.Seek(dueKey(endpoint, lane, notYet, nil)); k == nil {
			before = c.Last
		}
		if k, _ := before(); len(k) > 9 && domain.Endpoint(k[0]) == endpoint {
			if n, last, _ := dueParts(k); n == lane {
				l.last = last
			}
		}
		(*known)[lane] = l
		if lane == laneRetry {
			break
		}
		k, _ = c.Seek(dueKey(endpoint, lane+1, 0, nil))
	}
	return *known
}

// dueKey is stand.key in memory that is used again.
func (b *batch) dueKey(s stand, user []byte) []byte {
	b.key = appendDueKey(b.key[:0], s.endpoint, s.lane, s.second, user)
	return b.key
}

// putDue and removeDue keep the due index and what is known of its lanes together.
func (b *batch) putDue(s stand, user []byte) {
	b.put(b.due, b.dueKey(s, user), nil)
	lanes := b.st.lanes[s.endpoint-1]
	if lanes == nil {
		return
	}
	l := lanes[s.lane]
	if l == nil {
		l = &laneState{first: notYet}
		lanes[s.lane] = l
	}
	l.first = min(l.first, s.second)
	if s.second != notYet {
		l.last = max(l.last, s.second)
	}
}

func (b *batch) removeDue(s stand, user []byte) {
	b.remove(b.due, b.dueKey(s, user))
	if l := b.st.lanes[s.endpoint-1][s.lane]; l != nil && l.first == s.second {
		l.gone = true
	}
}

// firstDue returns the second of the first entry of a lane, notYet when there is none.
func (b *batch) firstDue(endpoint domain.Endpoint, number uint32, l *laneState) uint32 {
	if l.gone {
		k, _ := b.due.Cursor().Seek(dueKey(endpoint, number, l.first, nil))
		l.note(endpoint, number, k)
	}
	return l.first
}

// note takes in the first key of a lane as it was found; k may be another lane's, or nil.
func (l *laneState) note(endpoint domain.Endpoint, number uint32, k []byte) {
	l.first, l.gone = notYet, false
	if len(k) > 9 && domain.Endpoint(k[0]) == endpoint {
		if lane, second, _ := dueParts(k); lane == number {
			l.first = second
		}
	}
}
