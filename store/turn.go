package store

import (
	"cmp"
	"math"
	"slices"

	"personasync/store/domain"
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
type class int

const (
	classFresh class = iota
	classBacklog
	classRetry
	classBulk
	classes
)

// freshFor is how long, in seconds, a change counts as fresh: one window of a limit. A cohort change may
// become due only after its user's others were accepted, and introduction.
var freshFor = [2]int64{60, 60 + 2*introduction}

// turnsAtOnce bounds how many lanes of a class one Take looks into.
const turnsAtOnce = 64

// dueLanes is the lanes in which something may be due, by class, in the order of their turns.
type dueLanes [classes][]uint32

// turns finds the lanes in which something may be due.
func (d *leaser) turns() (w dueLanes) {
	lanes := d.b.lanes(d.o.Endpoint)
	for number, l := range lanes {
		if l.first == notYet || int64(l.first) > d.until(number) && int64(l.last) <= d.beyond(number) {
			continue
		}
		switch fresh := d.from(classFresh); {
		case isRetry(number) && d.o.Endpoint == domain.EndpointCohort: // until it is ripe
		case number == laneRetry:
			w[classRetry] = append(w[classRetry], number)
		case isBulk(number):
			w[classBulk] = append(w[classBulk], number)
		default:
			if l.last >= fresh && int64(fresh) <= d.until(number) {
				w[classFresh] = append(w[classFresh], number)
			}
			if l.first < fresh || int64(l.last) > d.beyond(number) {
				w[classBacklog] = append(w[classBacklog], number)
			}
		}
	}
	for c := range w {
		which := class(c).turn()
		slices.SortFunc(w[c], func(x, y uint32) int {
			return cmp.Or(cmp.Compare(lanes[x].served[which], lanes[y].served[which]), cmp.Compare(x, y))
		})
		if len(w[c]) > turnsAtOnce {
			w[c], d.more = w[c][:turnsAtOnce], true
		}
	}
	return w
}

// turn is which of a lane's turns a class goes by: fresh changes of a computation must not cost its backlog
// the turn.
func (c class) turn() int {
	if c == classFresh {
		return 0
	}
	return 1
}

// from returns the second from which on changes belong to a class.
func (d *leaser) from(c class) uint32 {
	if c != classFresh {
		return 0
	}
	return uint32(max(d.o.Now.Unix()-freshFor[d.o.Endpoint-1], 0))
}

// served notes what a lane's turn brought. One that was stopped before it gave anything keeps its turn.
func (d *leaser) served(c class, lane uint32, n int, stopped bool) {
	st := d.b.st
	if n == 0 && stopped {
		return
	}
	st.turns++
	if l := d.b.lanes(d.o.Endpoint)[lane]; l != nil {
		l.served[c.turn()] = st.turns
	}
	if d.o.Endpoint == domain.EndpointCohort {
		n = min(n, 1) // there the limit counts requests
	}
	st.shares[d.o.Endpoint-1].charge(c, n)
}

// shares is how much each class has had of the budget, for as long as it waits.
type shares struct {
	halves [2]share // live, bulk
	live   [classBulk]share
}

type share struct {
	had    uint64
	waited bool // at the last Take
}

func (s *shares) charge(c class, n int) {
	if c == classBulk {
		s.halves[1].had += uint64(n)
		return
	}
	s.halves[0].had += uint64(n)
	s.live[c].had += uint64(n)
}

// order returns the classes in the order in which they are served now.
func (s *shares) order(w *dueLanes) [classes]class {
	live := false
	for c := range s.live {
		live = live || len(w[c]) > 0
	}
	level(s.live[:], func(c int) bool { return len(w[c]) > 0 })
	level(s.halves[:], func(half int) bool { return half == 0 && live || half == 1 && len(w[classBulk]) > 0 })
	list := [classes]class{classFresh, classBacklog, classRetry, classBulk}
	slices.SortStableFunc(list[:classBulk], func(x, y class) int { return cmp.Compare(s.live[x].had, s.live[y].had) })
	if s.halves[1].had < s.halves[0].had {
		return [classes]class{classBulk, list[0], list[1], list[2]}
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
