package turn

import (
	"cmp"
	"math"
	"slices"
)

// Class is a kind of due change. A rate limit is used up by requests, so each Take decides which class is next, and
// within a class which lane (a computation's, see package state):
//
//	live   fresh    live changes received within the last window, so that they do not wait for a backlog
//	       backlog  live changes, the oldest first
//	       retry    users with live changes of whom an attempt failed
//	bulk            changes of orders and repairs, and retries of users who have nothing else
//
// Live and bulk get half each while both wait, and so do the three live classes among themselves. What one does not
// need goes to the others. Of those with equal use the first in this list is next, so a fresh change waits for one
// bulk request at most. Within a class the lane that was served longest ago is next, for one request.
type Class int

// The classes, in the order in which ties are broken.
const (
	ClassFresh Class = iota
	ClassBacklog
	ClassRetry
	ClassBulk
	classes
)

// DueLanes is the lanes in which something may be due, by class, in the order of their turns.
type DueLanes [classes][]uint32

// Turn returns which of a lane's two turns a class uses up, 0 for fresh changes and 1 for all others: fresh changes
// of a computation must not cost its backlog the turn.
func (c Class) Turn() int {
	if c == ClassFresh {
		return 0
	}
	return 1
}

// Shares is how much of the limit each class has had while it was waiting. The zero value is ready to use.
type Shares struct {
	halves [2]share // live, bulk
	live   [ClassBulk]share
}

// share is the use of one class.
type share struct {
	had    uint64
	waited bool // at the last Take
}

// Charge adds n used changes to a class, and to its half.
func (s *Shares) Charge(c Class, n int) {
	if c == ClassBulk {
		s.halves[1].had += uint64(n)
		return
	}
	s.halves[0].had += uint64(n)
	s.live[c].had += uint64(n)
}

// Order returns the classes in the order in which they are served now. It also notes which of them wait.
func (s *Shares) Order(w *DueLanes) [classes]Class {
	live := false
	for c := range s.live {
		live = live || len(w[c]) > 0
	}
	level(s.live[:], func(c int) bool { return len(w[c]) > 0 })
	level(s.halves[:], func(half int) bool { return half == 0 && live || half == 1 && len(w[ClassBulk]) > 0 })
	list := [classes]Class{ClassFresh, ClassBacklog, ClassRetry, ClassBulk}
	slices.SortStableFunc(list[:ClassBulk], func(x, y Class) int { return cmp.Compare(s.live[x].had, s.live[y].had) })
	if s.halves[1].had < s.halves[0].had {
		return [classes]Class{ClassBulk, list[0], list[1], list[2]}
	}
	return list
}

// level starts each share that begins to wait at the least of those that waited before. So a class gets no credit
// for a time without need, and no debt for its use then.
func level(all []share, waits func(int) bool) {
	least := uint64(math.MaxUint64)
	for i, s := range all {
		if s.waited && waits(i) {
			least = min(least, s.had)
		}
	}
	if least == math.MaxUint64 {
		least = 0
	}
	for i := range all {
		s := &all[i]
		if waits(i) && !s.waited {
			s.had = least
		}
		s.waited = waits(i)
	}
}
