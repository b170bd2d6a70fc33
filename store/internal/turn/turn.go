package turn

import (
	"cmp"
	"math"
	"slices"
)

// Turns. A limit is shared out by the requests that use it up, so each Take decides who is next. It does so
// by class, and within a class by lane, which is a computation's (see lane.go):
//
//	live   fresh   live changes received within the last window, so that news do not wait for a backlog
//	       backlog live changes, the oldest first
//	       retry   users with live changes of whom an attempt failed
//	bulk           changes of orders and repairs, and retries of users who have nothing else
//
// Live and bulk get half each while both wait, and so do the three among the live; what one does not need is
// the others'. Of those that had equally much the first goes first: a fresh change waits for one request of
// the bulk at most. Within a class the lane goes first that was served the longest ago, for one request at
// most, so that a computation with a million changes waits for one with two.
//
// All this is memory of the process. It decides what leaves first, and never what leaves.
type Class int

const (
	ClassFresh Class = iota
	ClassBacklog
	ClassRetry
	ClassBulk
	classes
)

// DueLanes is the lanes in which something may be due, by class, in the order of their turns.
type DueLanes [classes][]uint32

// Turn is which of a lane's turns a class goes by: fresh changes of a computation must not cost its backlog
// the turn.
func (c Class) Turn() int {
	if c == ClassFresh {
		return 0
	}
	return 1
}

// Shares is how much each class has had of the budget, for as long as it waits.
type Shares struct {
	halves [2]share // live, bulk
	live   [ClassBulk]share
}

type share struct {
	had    uint64
	waited bool // at the last Take
}

func (s *Shares) Charge(c Class, n int) {
	if c == ClassBulk {
		s.halves[1].had += uint64(n)
		return
	}
	s.halves[0].had += uint64(n)
	s.live[c].had += uint64(n)
}

// Order returns the classes in the order in which they are served now.
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

// level has what begins to wait begin with as much as the least had of what waited before: neither a time
// without need nor what was had in it counts.
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
