package outbox

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/turn"
	"personasync/store/internal/wire"
)

// MaxAttributes bounds the attributes of one delivery.
const MaxAttributes = 256

// leaser is a Take in progress.
type leaser struct {
	b       *state.Tx
	o       domain.TakeOptions
	Lease   *domain.Lease
	list    []state.LeasedDelivery
	taken   map[string]bool
	users   int // deliveries with attributes so far
	events  int // deliveries with an event so far
	full    bool
	more    bool             // not every lane was looked at to its end
	most    int              // visited may not exceed it in this class
	latest  map[uint32]int64 // by job: the unix second up to which changes are due; -1: closed
	Visited int
	fields  []uint32 // see pack
}

// AheadOfClock is how far ahead of now a receipt is still believed. One beyond it was written before the
// clock was set back, and must not wait for what may take the clock years to show again.
const AheadOfClock = time.Minute

// visits bounds how many users one Take looks at, in each class.
const visits = 8192

// Take gathers the deliveries that are due, in fair turns (see turn.go), and has them remembered as a
// lease. It returns nil when nothing is due. more says that something due was not looked at.
func Take(tx *state.Tx, o domain.TakeOptions) (f *domain.Lease, more bool) {
	d := NewLeaser(tx, o)
	d.Gather()
	if len(d.Lease.Deliveries) == 0 {
		return nil, d.more
	}
	d.Remember()
	return d.Lease, d.more
}

func NewLeaser(tx *state.Tx, o domain.TakeOptions) *leaser {
	d := &leaser{b: tx, o: o, Lease: &domain.Lease{Endpoint: o.Endpoint}, latest: make(map[uint32]int64), taken: make(map[string]bool)}
	d.latest[state.LaneRetry] = o.Now.Unix()
	if o.Force {
		d.latest[state.LaneRetry] = 1<<32 - 1
	}
	return d
}

// Gather visits the lanes, class by class, each in its turn.
func (d *leaser) Gather() {
	d.most = visits
	if d.o.Endpoint == domain.EndpointCohort {
		d.promote()
	}
	waiting := d.turns()
	for _, class := range d.b.State.Shares[d.o.Endpoint-1].Order(&waiting) {
		d.most = d.Visited + visits
		for _, lane := range waiting[class] {
			if d.full || d.o.Endpoint == domain.EndpointCohort && len(d.list) > 0 {
				return // a request speaks of one cohort
			}
			d.collect(class, lane)
		}
	}
}

// until returns the unix second up to which a lane's changes are due.
func (d *leaser) until(lane uint32) int64 {
	job := state.LaneJob(lane)
	if s, known := d.latest[job]; known {
		return s
	}
	s := int64(-1)
	if d.o.Due != nil {
		if t := d.o.Due(d.b.State.Job(lane)); !t.IsZero() {
			s = t.Unix()
		}
	}
	d.latest[job] = s
	return s
}

// beyond returns the unix second behind which a lane's times are not believed, and so are due.
func (d *leaser) beyond(lane uint32) int64 {
	switch {
	case !state.IsRetry(lane) && d.until(lane) >= 0:
		return d.o.Now.Add(AheadOfClock).Unix()
	case state.IsRetry(lane) && d.o.Longest > 0:
		return d.o.Now.Add(d.o.Longest + AheadOfClock).Unix()
	}
	return int64(state.NotYet)
}

func (d *leaser) isDue(lane, due uint32) bool {
	return int64(due) <= d.until(lane) || int64(due) > d.beyond(lane) && due != state.NotYet
}

// collect takes the users due in one lane, until the request is full or has no room for the next of them. A
// lane that gave something, or had nothing to give, has had its turn.
func (d *leaser) collect(c turn.Class, lane uint32) {
	before, stopped := len(d.list), false
	for _, at := range d.due(lane, c) {
		if d.full {
			break
		}
		if d.taken[at.user] {
			continue // from another lane, a moment ago
		}
		if stopped = !d.visit(d.b.User(at.user), lane, at.DuePlace); stopped {
			break
		}
	}
	d.served(c, lane, len(d.list)-before, stopped)
}

// dueEntry is an entry of the due index.
type dueEntry struct {
	user string
	state.DuePlace
}

// due lists the index entries of a lane worth visiting for a class: those whose time has come, and those
// whose time is not to be believed, at the other end of the lane. The latter are not fresh.
func (d *leaser) due(lane uint32, c turn.Class) []dueEntry {
	list := d.dueFrom(nil, lane, d.from(c))
	if c == turn.ClassFresh {
		return slices.DeleteFunc(list, func(at dueEntry) bool { return int64(at.Second) > d.until(lane) })
	}
	if from := d.beyond(lane) + 1; from < int64(state.NotYet) && from > d.until(lane) {
		list = d.dueFrom(list, lane, uint32(from))
	}
	return list
}

// dueFrom is due without regard to what is beyond. An entry that names no user, as after damage, is removed.
func (d *leaser) dueFrom(list []dueEntry, lane, from uint32) []dueEntry {
	var torn [][]byte
	known, room := state.Lanes(d.b, d.o.Endpoint)[lane], d.o.MaxUsers-d.users+d.o.MaxEvents-d.events
	c := d.b.Due.Cursor()
	k, _ := c.Seek(state.DueKey(d.o.Endpoint, lane, from, nil))
	if known == nil {
		return list // nothing ever stood there
	}
	if from <= known.First {
		known.Note(d.o.Endpoint, lane, k)
	}
	for ; len(k) > 9; k, _ = c.Next() {
		l, second, _ := state.DueParts(k)
		if domain.Endpoint(k[0]) != d.o.Endpoint || l != lane || !d.isDue(lane, second) || len(list) > room {
			break
		}
		if d.Visited++; d.Visited > d.most {
			d.more = true
			break
		}
		switch id, _, ok := state.UserOf(k[9:]); {
		case !ok:
			torn = append(torn, bytes.Clone(k))
		case d.o.Skip != nil && d.o.Skip(id):
		case d.b.State.InFlight[state.LeaseKey{Endpoint: d.o.Endpoint, User: id}] == nil:
			list = append(list, dueEntry{id, state.DuePlace{Endpoint: d.o.Endpoint, Lane: lane, Second: second}})
		}
	}
	for _, k := range torn {
		d.b.Contradiction("somebody is due who has no id")
		d.b.Remove(d.b.Due, k)
		known.Gone = true
	}
	return list
}

// strays removes an index entry that its user's head knows nothing of, as after damage, and reports
// whether it was one.
func (d *leaser) strays(u *state.User, at state.DuePlace) bool {
	if slices.Contains(u.WasDue, at) {
		return false
	}
	d.b.Contradiction("a user is due for whom nothing waits then")
	d.b.RemoveDue(at, u.Key)
	return true
}

// visit adds what is due of one user, and reports whether the lane can go on.
func (d *leaser) visit(u *state.User, lane uint32, at state.DuePlace) (goOn bool) {
	if d.strays(u, at) {
		return true
	}
	rh := u.Index.Endpoint(d.o.Endpoint)
	if !d.b.Dry {
		holdSwept(d.b, u)
	}
	delivery, seats := d.pack(u, lane)
	if len(delivery.Attributes) == 0 && delivery.Event == nil {
		if state.IsRetry(lane) {
			rh.Retry = 0
		}
		Retime(d.b, u, d.o.Endpoint)
		return true
	}
	if d.o.Pass != nil && d.o.Pass(delivery) {
		return true
	}
	if len(delivery.Attributes) > 0 && d.users >= d.o.MaxUsers || delivery.Event != nil && d.events >= d.o.MaxEvents {
		return false // another lane may have what this limit has room for
	}
	if !d.o.Fit(delivery) {
		d.full = true
		return false
	}
	d.add(delivery, seats)
	return true
}

func (d *leaser) add(delivery domain.Delivery, seats state.LeasedDelivery) {
	if len(delivery.Attributes) > 0 {
		d.users++
	}
	if delivery.Event != nil {
		d.events++
	}
	d.Lease.Deliveries = append(d.Lease.Deliveries, delivery)
	d.list = append(d.list, seats)
	d.taken[delivery.User] = true
	d.full = d.users >= d.o.MaxUsers && d.events >= d.o.MaxEvents
}

// pack reads what is due of one user: the attributes, and the first event in applied order; or on the
// endpoint of cohorts, the one change of the lane.
func (d *leaser) pack(u *state.User, lane uint32) (delivery domain.Delivery, seats state.LeasedDelivery) {
	delivery.User, seats.User = u.ID, u.ID
	retry := state.IsRetry(lane)
	said := make(sayings)
	ready := func(lane, due uint32, tried bool) bool {
		return tried && retry || d.isDue(lane, due)
	}
	d.fields = u.Index.PendingFields(d.fields[:0])
	for _, number := range d.fields {
		t, f := &d.b.Entry(u, number).Waiting, d.b.FieldOf(number)
		if f == nil || !t.Pending() {
			d.b.Contradiction("an attribute is said to wait that does not")
			u.Index.SetPending(number, false)
			u.Dirty = true
			continue
		}
		if f.Endpoint() != d.o.Endpoint || f.Kind() == domain.KindCohort && t.Lane != lane || !ready(t.Lane, t.Due, t.Tried()) {
			continue
		}
		if said.has(f, t) {
			if at := said.later(&delivery, f, t); at >= 0 {
				delivery.Attributes[at], seats.Attributes[at] = d.b.Pending(u, f, t).Change, state.LeasedChange{Number: number, ID: t.ID}
			}
			continue
		}
		if len(seats.Attributes) < MaxAttributes {
			said.add(f, t, len(seats.Attributes))
			delivery.Attributes = append(delivery.Attributes, d.b.Pending(u, f, t).Change)
			seats.Attributes = append(seats.Attributes, state.LeasedChange{Number: number, ID: t.ID})
		}
	}
	s, found := d.firstQueued(u, ready)
	if !found {
		return delivery, seats
	}
	ch := d.b.FetchQueued(state.QueueKey(u.Key, s.Number, s.ID))
	switch {
	case ch == nil:
		d.b.Contradiction("an event that waits cannot be read")
		missQueued(d.b, u, d.o.Endpoint, s.Number, s.ID)
	case !ch.Loose:
		delivery.Event, seats.Queued = &ch.Change, s
	case !said.names(domain.KindAttribute, ch.Name):
		delivery.Attributes = append(delivery.Attributes, ch.Change)
		seats.Queued, seats.Loose = s, true
	}
	return delivery, seats
}

// sayings is what an element says, by the name that stands in it. A name stands there once: where two
// changes of two fields bear one name, as after a change of the rules, the second waits for the first. And
// MoEngage refuses an element that both adds to a list and removes from it, so the one waits for the other.
type sayings map[string]saying

type saying struct {
	at   int               // the change's place in the delivery
	list domain.Transition // the direction of a list's entries; zero for an attribute
}

// has reports whether the element says something under the name of t that t cannot stand beside.
func (s sayings) has(f *state.Field, t *state.Ticket) bool {
	before, known := s[domain.SentName(f.Kind(), t.Name)]
	return known && (f.Kind() != domain.KindList || before.list != t.Transition)
}

// later returns the place of an attribute that is newer than t and bears its name, -1 when there is none. It
// gives way, because what is sent last is what MoEngage keeps.
func (s sayings) later(d *domain.Delivery, f *state.Field, t *state.Ticket) (at int) {
	before := s[domain.SentName(f.Kind(), t.Name)]
	if f.Kind() == domain.KindList || before.list != 0 || d.Attributes[before.at].ID.Compare(t.ID) < 0 {
		return -1
	}
	return before.at
}

func (s sayings) add(f *state.Field, t *state.Ticket, at int) {
	said := saying{at: at}
	if f.Kind() == domain.KindList {
		said.list = t.Transition
	}
	s[domain.SentName(f.Kind(), t.Name)] = said
}

// names reports whether the element says anything under a name.
func (s sayings) names(kind domain.Kind, name string) bool {
	_, known := s[domain.SentName(kind, name)]
	return known
}

// firstQueued returns the earliest of the queue's heads that are due, one head a lane.
func (d *leaser) firstQueued(u *state.User, ready func(lane, due uint32, tried bool) bool) (first state.LeasedChange, found bool) {
	if d.o.Endpoint == domain.EndpointCohort || u.Index.Backlog().Events == 0 {
		return first, false // nothing is queued
	}
	for _, l := range u.Index.Endpoint(d.o.Endpoint).Lanes {
		id, due, tried, ok := queueFront(d.b, u, l.Number)
		if ok && ready(l.Number, due, tried) && (!found || bytes.Compare(state.IDKey(id), state.IDKey(first.ID)) < 0) {
			first, found = state.LeasedChange{Number: l.Number, ID: id}, true
		}
	}
	return first, found
}

// Dequeue takes an event out of its user's queue.
func Dequeue(tx *state.Tx, u *state.User, endpoint domain.Endpoint, lane uint32, id domain.ID) {
	tx.Remove(tx.Queue, state.QueueKey(u.Key, lane, id))
	u.Index.Endpoint(endpoint).Remove(lane)
	u.Dirty = true
}

// missQueued sets an event aside that is damaged, and not just gone, so that what stands behind it can go.
// The ledger still counts it: what became of it is for the next start to find out.
func missQueued(tx *state.Tx, u *state.User, endpoint domain.Endpoint, lane uint32, id domain.ID) {
	key := state.QueueKey(u.Key, lane, id)
	frame := tx.Queue.Get(key)
	if frame == nil || tx.Err != nil {
		return
	}
	tx.Quarantine(state.BucketQueue, key, frame, wire.ErrDamaged)
	Dequeue(tx, u, endpoint, lane, id)
}

func queueFront(tx *state.Tx, u *state.User, lane uint32) (id domain.ID, due uint32, tried, ok bool) {
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.Key), lane)
	k, v := tx.Queue.Cursor().Seek(prefix)
	if !bytes.HasPrefix(k, prefix) {
		return domain.ID{}, 0, false, false
	}
	due, tried, _ = state.ParseQueueValue(v)
	return state.IDFromKey(k[len(prefix):], tx.State.Epochs), due, tried, true
}

// Retime sets each lane's time to the earliest of what still waits in it. A lane in which nothing does goes.
func Retime(tx *state.Tx, u *state.User, endpoint domain.Endpoint) {
	rh := u.Index.Endpoint(endpoint)
	earliest := make(map[uint32]uint32, len(rh.Lanes))
	note := func(lane, due uint32) {
		if e, known := earliest[lane]; !known || due < e {
			earliest[lane] = due
		}
	}
	for _, number := range u.Index.PendingFields(nil) {
		f := tx.FieldOf(number)
		if t := tx.Entry(u, number).Waiting; f != nil && f.Endpoint() == endpoint && t.Pending() {
			note(t.Lane, t.Due)
		}
	}
	for _, l := range rh.Lanes {
		if _, due, _, ok := queueFront(tx, u, l.Number); ok {
			note(l.Number, due)
		}
	}
	aboard := tx.State.InFlight[state.LeaseKey{Endpoint: endpoint, User: u.ID}] != nil // what was overtaken in a request is still counted
	rh.Lanes = slices.DeleteFunc(rh.Lanes, func(l state.Lane) bool {
		if _, known := earliest[l.Number]; known || aboard {
			return false
		}
		tx.Contradiction("a change is said to wait that does not")
		return true
	})
	for i := range rh.Lanes {
		if due, known := earliest[rh.Lanes[i].Number]; known {
			rh.Lanes[i].Due = due
		}
	}
	u.Dirty = true
}

// Remember writes the lease, and counts it for the meters.
func (d *leaser) Remember() {
	st := d.b.State
	st.LastLease++
	d.Lease.ID = st.LastLease
	f := &state.Lease{Number: st.LastLease, Endpoint: d.o.Endpoint, Second: uint64(d.o.Now.Unix()), List: d.list}
	st.AddLease(f)
	d.b.Put(d.b.Bucket(state.BucketMeta), state.MetaFlight, state.NumberKey(f.Number))
	d.b.Put(d.b.Bucket(state.BucketFlights), state.NumberKey(f.Number), f.Encode())
	countSent(d.b, f.Second, f.Counts())
}

// countSent adds to what left in a second, or takes away what did not leave after all, and forgets
// what left two minutes ago, or so far ahead of a clock that was set back since.
func countSent(tx *state.Tx, second uint64, more domain.SentSecond) {
	sent := tx.Bucket(state.BucketSent)
	key := state.NumberKey(second)
	total := SentIn(sent.Get(key))
	var v []byte
	for _, n := range [...]int{total.Users + more.Users, total.Events + more.Events, total.Cohorts + more.Cohorts} {
		v = binary.BigEndian.AppendUint32(v, uint32(max(n, 0)))
	}
	tx.Put(sent, key, v)
	c := sent.Cursor()
	var old [][]byte
	for k, _ := c.First(); k != nil && state.Number(k)+120 < second; k, _ = c.Next() {
		old = append(old, bytes.Clone(k))
	}
	for k, _ := c.Last(); k != nil && state.Number(k) > second+120; k, _ = c.Prev() {
		old = append(old, bytes.Clone(k))
	}
	for _, k := range old {
		tx.Remove(sent, k)
	}
}

// SentIn reads what left in a second; cohort requests were not counted once.
func SentIn(v []byte) (s domain.SentSecond) {
	if len(v) >= 8 {
		s.Users, s.Events = int(binary.BigEndian.Uint32(v)), int(binary.BigEndian.Uint32(v[4:]))
	}
	if len(v) >= 12 {
		s.Cohorts = int(binary.BigEndian.Uint32(v[8:]))
	}
	return s
}

// Next says what waits after a Take.
func Next(tx *state.Tx, endpoint domain.Endpoint) domain.Next {
	n := domain.Next{Jobs: make(map[string]time.Time)}
	first := make(map[uint32]uint32) // by job, because a job may have thousands of lanes
	for number, l := range state.Lanes(tx, endpoint) {
		second := state.FirstDue(tx, endpoint, number, l)
		if second == state.NotYet {
			continue
		}
		if known, some := first[state.LaneJob(number)]; !some || second < known {
			first[state.LaneJob(number)] = second
		}
	}
	for job, second := range first {
		if job == state.LaneRetry {
			n.Retry = time.Unix(int64(second), 0)
			n.RetryJobs = retryJobs(tx, endpoint)
			continue
		}
		Earliest(n.Jobs, tx.State.Job(job), second)
	}
	return n
}

func Earliest(jobs map[string]time.Time, job string, due uint32) {
	at := time.Unix(int64(due), 0)
	if known, ok := jobs[job]; !ok || at.Before(known) {
		jobs[job] = at
	}
}

// retryJobsScan bounds how many users in retry are asked whose jobs they wait for: no more than a Take takes.
const retryJobsScan = 1000

// retryJobs says, by job, the earliest receipt of what waits for a retry; nil when that are too many
// users to ask.
func retryJobs(tx *state.Tx, endpoint domain.Endpoint) map[string]time.Time {
	jobs := make(map[string]time.Time)
	n := 0
	for _, lane := range [...]uint32{state.LaneRetry, state.LaneRetryBulk} {
		for h := range state.Indexes(tx, endpoint, lane, retryJobsScan+1) {
			if n++; n > retryJobsScan {
				return nil
			}
			for _, l := range h.Endpoint(endpoint).Lanes {
				Earliest(jobs, tx.State.Job(l.Number), l.Due)
			}
		}
	}
	return jobs
}
