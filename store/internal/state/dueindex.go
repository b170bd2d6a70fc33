package state

import (
	"iter"
	"slices"
	"strconv"
	"strings"

	"personasync/store/domain"
)

// Lanes returns the state of an endpoint's lanes by number, and reads the due index for it on first use.
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

// FirstDue returns the second of the first entry of a lane, NotYet when there is none.
func FirstDue(tx *Tx, endpoint domain.Endpoint, number uint32, l *laneState) uint32 {
	if l.Gone {
		k, _ := tx.Due.Cursor().Seek(DueKey(endpoint, number, l.First, nil))
		l.Note(endpoint, number, k)
	}
	return l.First
}

// NobodyIsDue reports whether the due index is empty. The index is only up to date after Flush. It is not read while a lane
// is known to have an entry: on an engine that is far away its beginning may be full of removed ones.
func NobodyIsDue(tx *Tx) bool {
	for _, lanes := range tx.State.lanes {
		for _, l := range lanes {
			if l.First != NotYet && !l.Gone {
				return false
			}
		}
	}
	k, _ := tx.Due.Cursor().First()
	return k == nil
}

// Indexes yields the pending index of the first users of a lane, at most so many.
func Indexes(tx *Tx, endpoint domain.Endpoint, lane uint32, most int) iter.Seq[*PendingIndex] {
	return func(yield func(*PendingIndex) bool) {
		c := tx.Due.Cursor()
		k, _ := c.Seek(DueKey(endpoint, lane, 0, nil))
		for n := 0; len(k) > 9 && domain.Endpoint(k[0]) == endpoint && n < most; k, _ = c.Next() {
			l, _, user := DueParts(k)
			if n++; l != lane {
				return
			}
			key := RowKey(user, BlockIndex)
			if h, err := DecodeIndex(key, tx.Rows.Get(key)); err == nil && !yield(h) {
				return
			}
		}
	}
}

// LaneOf returns the lane for a change of u about f. It depends on nothing but the record and the user's pending
// index, so that applying a record again gives the same lane.
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

// JobNumber returns the number of a job, or of a lane that cohortLane named. A new name gets the next number.
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

// Job returns the name of the job whose schedule a lane follows. A lane whose job is no longer configured follows
// the default schedule, so that a change of the configuration leaves nothing pending forever.
func (st *State) Job(lane uint32) string {
	n := LaneJob(lane)
	if int64(n) >= int64(len(st.jobs)) {
		return ""
	}
	name := jobOfLane(st.jobs[n])
	known := st.Rules.Defaults.Job == name || slices.ContainsFunc(st.Rules.Sections, func(s domain.Section) bool { return s.Policy.Job == name })
	if !known {
		return ""
	}
	return name
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
