package outbox

import (
	"cmp"
	"slices"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/turn"
)

// freshFor is how long, in seconds, a change counts as fresh: one window of a limit. A cohort change may
// become due only after its user's others were accepted, and introduction.
var freshFor = [2]int64{60, 60 + 2*state.ProfileDelay}

// turnsAtOnce bounds how many lanes of a class one Take looks into.
const turnsAtOnce = 64

// turns finds the lanes in which something may be due.
func (d *leaser) turns() (w turn.DueLanes) {
	lanes := state.Lanes(d.b, d.o.Endpoint)
	for number, l := range lanes {
		if l.First == state.NotYet || int64(l.First) > d.until(number) && int64(l.Last) <= d.beyond(number) {
			continue
		}
		switch fresh := d.from(turn.ClassFresh); {
		case state.IsRetry(number) && d.o.Endpoint == domain.EndpointCohort: // until it is ripe
		case number == state.LaneRetry:
			w[turn.ClassRetry] = append(w[turn.ClassRetry], number)
		case state.IsBulk(number):
			w[turn.ClassBulk] = append(w[turn.ClassBulk], number)
		default:
			if l.Last >= fresh && int64(fresh) <= d.until(number) {
				w[turn.ClassFresh] = append(w[turn.ClassFresh], number)
			}
			if l.First < fresh || int64(l.Last) > d.beyond(number) {
				w[turn.ClassBacklog] = append(w[turn.ClassBacklog], number)
			}
		}
	}
	for c := range w {
		which := turn.Class(c).Turn()
		slices.SortFunc(w[c], func(x, y uint32) int {
			return cmp.Or(cmp.Compare(lanes[x].Served[which], lanes[y].Served[which]), cmp.Compare(x, y))
		})
		if len(w[c]) > turnsAtOnce {
			w[c], d.more = w[c][:turnsAtOnce], true
		}
	}
	return w
}

// from returns the second from which on changes belong to a class.
func (d *leaser) from(c turn.Class) uint32 {
	if c != turn.ClassFresh {
		return 0
	}
	return uint32(max(d.o.Now.Unix()-freshFor[d.o.Endpoint-1], 0))
}

// served notes what a lane's turn brought. One that was stopped before it gave anything keeps its turn.
func (d *leaser) served(c turn.Class, lane uint32, n int, stopped bool) {
	st := d.b.State
	if n == 0 && stopped {
		return
	}
	st.Turns++
	if l := state.Lanes(d.b, d.o.Endpoint)[lane]; l != nil {
		l.Served[c.Turn()] = st.Turns
	}
	if d.o.Endpoint == domain.EndpointCohort {
		n = min(n, 1) // there the limit counts requests
	}
	st.Shares[d.o.Endpoint-1].Charge(c, n)
}
