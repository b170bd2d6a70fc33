package outbox

import (
	"bytes"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// maxAttributes bounds the attributes of one user in a request.
const maxAttributes = 256

// pack reads the due changes of one user: the attributes, and the first event in applied order. On the cohort
// endpoint it is the one change of the lane.
func (d *leaser) pack(u *state.User, lane uint32) (changes domain.UserChanges, leased state.LeasedUser) {
	changes.User, leased.User = u.ID, u.ID
	retry := state.IsRetry(lane)
	packed := make(packedNames)
	ready := func(lane, due uint32, tried bool) bool {
		return tried && retry || d.isDue(lane, due)
	}
	d.fields = u.Index.PendingFields(d.fields[:0])
	for _, number := range d.fields {
		t, f := &d.tx.Entry(u, number).Waiting, d.tx.FieldOf(number)
		if f == nil || !t.Pending() {
			d.tx.Contradiction("the pending index has an attribute that is not pending")
			u.Index.SetPending(number, false)
			u.Dirty = true
			continue
		}
		if f.Endpoint() != d.o.Endpoint || f.Kind() == domain.KindCohort && t.Lane != lane || !ready(t.Lane, t.Due, t.Tried()) {
			continue
		}
		if packed.has(f, t) {
			if at := packed.later(&changes, f, t); at >= 0 {
				changes.Attributes[at], leased.Attributes[at] = d.tx.Pending(u, f, t).Change, state.LeasedChange{Number: number, ID: t.ID}
			}
			continue
		}
		if len(leased.Attributes) < maxAttributes {
			packed.add(f, t, len(leased.Attributes))
			changes.Attributes = append(changes.Attributes, d.tx.Pending(u, f, t).Change)
			leased.Attributes = append(leased.Attributes, state.LeasedChange{Number: number, ID: t.ID})
		}
	}
	s, found := d.firstQueued(u, ready)
	if !found {
		return changes, leased
	}
	ch := d.tx.FetchQueued(state.QueueKey(u.Key, s.Number, s.ID))
	switch {
	case ch == nil:
		d.tx.Contradiction("a pending event cannot be read")
		missQueued(d.tx, u, d.o.Endpoint, s.Number, s.ID)
	case !ch.Loose:
		changes.Event, leased.Queued = &ch.Change, s
	case !packed.names(domain.KindAttribute, ch.Name):
		changes.Attributes = append(changes.Attributes, ch.Change)
		leased.Queued, leased.Loose = s, true
	}
	return changes, leased
}

// packedNames is the content of a user's changes by the names that stand in it, each at most once. If changes of two fields
// have one name, as after a change of the rules, the second waits for the first. MoEngage refuses an element that
// both adds to a list and removes from it, so one waits for the other.
type packedNames map[string]packedName

// packedName is the place of a name in the changes.
type packedName struct {
	at   int               // the change's place
	list domain.Transition // the direction of a list's entries; zero for an attribute
}

// has reports whether the changes have the name of t in a way that t cannot join.
func (s packedNames) has(f *state.Field, t *state.Ticket) bool {
	before, known := s[domain.SentName(f.Kind(), t.Name)]
	return known && (f.Kind() != domain.KindList || before.list != t.Transition)
}

// later returns the place of an attribute that is newer than t and has its name, -1 when there is none. The newer
// one waits, because MoEngage keeps the value that it receives last.
func (s packedNames) later(d *domain.UserChanges, f *state.Field, t *state.Ticket) (at int) {
	before := s[domain.SentName(f.Kind(), t.Name)]
	if f.Kind() == domain.KindList || before.list != 0 || d.Attributes[before.at].ID.Compare(t.ID) < 0 {
		return -1
	}
	return before.at
}

// add enters the name of t at a place.
func (s packedNames) add(f *state.Field, t *state.Ticket, at int) {
	name := packedName{at: at}
	if f.Kind() == domain.KindList {
		name.list = t.Transition
	}
	s[domain.SentName(f.Kind(), t.Name)] = name
}

// names reports whether the changes have a name.
func (s packedNames) names(kind domain.Kind, name string) bool {
	_, known := s[domain.SentName(kind, name)]
	return known
}

// firstQueued returns the earliest due change among the fronts of the queue, one front a lane.
func (d *leaser) firstQueued(u *state.User, ready func(lane, due uint32, tried bool) bool) (first state.LeasedChange, found bool) {
	if !mayQueue(u, d.o.Endpoint) {
		return first, false
	}
	for _, l := range u.Index.Endpoint(d.o.Endpoint).Lanes {
		id, due, tried, ok := queueFront(d.tx, u, l.Number)
		if ok && ready(l.Number, due, tried) && (!found || bytes.Compare(state.IDKey(id), state.IDKey(first.ID)) < 0) {
			first, found = state.LeasedChange{Number: l.Number, ID: id}, true
		}
	}
	return first, found
}
