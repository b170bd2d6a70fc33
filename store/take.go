package store

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// MaxAttributes bounds the attributes of one delivery.
const MaxAttributes = 256

// leaser is a Take in progress.
type leaser struct {
	b       *batch
	o       domain.TakeOptions
	lease   *domain.Lease
	list    []leasedDelivery
	taken   map[string]bool
	users   int // deliveries with attributes so far
	events  int // deliveries with an event so far
	full    bool
	more    bool             // not every lane was looked at to its end
	most    int              // visited may not exceed it in this class
	latest  map[uint32]int64 // by job: the unix second up to which changes are due; -1: closed
	visited int
	fields  []uint32 // see pack
}

// aheadOfClock is how far ahead of now a receipt is still believed. One beyond it was written before the
// clock was set back, and must not wait for what may take the clock years to show again.
const aheadOfClock = time.Minute

// visits bounds how many users one Take looks at, in each class.
const visits = 8192

// take gathers the deliveries that are due, in fair turns (see turn.go), and has them remembered as a
// lease. It returns nil when nothing is due. more says that something due was not looked at.
func (b *batch) take(o domain.TakeOptions) (f *domain.Lease, more bool) {
	d := newLeaser(b, o)
	d.gather()
	if len(d.lease.Deliveries) == 0 {
		return nil, d.more
	}
	d.remember()
	return d.lease, d.more
}

func newLeaser(b *batch, o domain.TakeOptions) *leaser {
	d := &leaser{b: b, o: o, lease: &domain.Lease{Endpoint: o.Endpoint}, latest: make(map[uint32]int64), taken: make(map[string]bool)}
	d.latest[laneRetry] = o.Now.Unix()
	if o.Force {
		d.latest[laneRetry] = 1<<32 - 1
	}
	return d
}

// gather visits the lanes, class by class, each in its turn.
func (d *leaser) gather() {
	d.most = visits
	if d.o.Endpoint == domain.EndpointCohort {
		d.ripen()
	}
	waiting := d.turns()
	for _, class := range d.b.st.shares[d.o.Endpoint-1].order(&waiting) {
		d.most = d.visited + visits
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
	job := laneJob(lane)
	if s, known := d.latest[job]; known {
		return s
	}
	s := int64(-1)
	if d.o.Due != nil {
		if t := d.o.Due(d.b.st.job(lane)); !t.IsZero() {
			s = t.Unix()
		}
	}
	d.latest[job] = s
	return s
}

// beyond returns the unix second behind which a lane's times are not believed, and so are due.
func (d *leaser) beyond(lane uint32) int64 {
	switch {
	case !isRetry(lane) && d.until(lane) >= 0:
		return d.o.Now.Add(aheadOfClock).Unix()
	case isRetry(lane) && d.o.Longest > 0:
		return d.o.Now.Add(d.o.Longest + aheadOfClock).Unix()
	}
	return int64(notYet)
}

func (d *leaser) isDue(lane, due uint32) bool {
	return int64(due) <= d.until(lane) || int64(due) > d.beyond(lane) && due != notYet
}

// collect takes the users due in one lane, until the request is full or has no room for the next of them. A
// lane that gave something, or had nothing to give, has had its turn.
func (d *leaser) collect(c class, lane uint32) {
	before, stopped := len(d.list), false
	for _, at := range d.due(lane, c) {
		if d.full {
			break
		}
		if d.taken[at.user] {
			continue // from another lane, a moment ago
		}
		if stopped = !d.visit(d.b.user(at.user), lane, at.stand); stopped {
			break
		}
	}
	d.served(c, lane, len(d.list)-before, stopped)
}

// dueEntry is an entry of the due index.
type dueEntry struct {
	user string
	stand
}

// due lists the index entries of a lane worth visiting for a class: those whose time has come, and those
// whose time is not to be believed, at the other end of the lane. The latter are not fresh.
func (d *leaser) due(lane uint32, c class) []dueEntry {
	list := d.dueFrom(nil, lane, d.from(c))
	if c == classFresh {
		return slices.DeleteFunc(list, func(at dueEntry) bool { return int64(at.second) > d.until(lane) })
	}
	if from := d.beyond(lane) + 1; from < int64(notYet) && from > d.until(lane) {
		list = d.dueFrom(list, lane, uint32(from))
	}
	return list
}

// dueFrom is due without regard to what is beyond. An entry that names no user, as after damage, is removed.
func (d *leaser) dueFrom(list []dueEntry, lane, from uint32) []dueEntry {
	var torn [][]byte
	known, room := d.b.lanes(d.o.Endpoint)[lane], d.o.MaxUsers-d.users+d.o.MaxEvents-d.events
	c := d.b.due.Cursor()
	k, _ := c.Seek(dueKey(d.o.Endpoint, lane, from, nil))
	if known == nil {
		return list // nothing ever stood there
	}
	if from <= known.first {
		known.note(d.o.Endpoint, lane, k)
	}
	for ; len(k) > 9; k, _ = c.Next() {
		l, second, _ := dueParts(k)
		if domain.Endpoint(k[0]) != d.o.Endpoint || l != lane || !d.isDue(lane, second) || len(list) > room {
			break
		}
		if d.visited++; d.visited > d.most {
			d.more = true
			break
		}
		switch id, _, ok := userOf(k[9:]); {
		case !ok:
			torn = append(torn, bytes.Clone(k))
		case d.o.Skip != nil && d.o.Skip(id):
		case d.b.st.inFlight[leaseKey{d.o.Endpoint, id}] == nil:
			list = append(list, dueEntry{id, stand{d.o.Endpoint, lane, second}})
		}
	}
	for _, k := range torn {
		d.b.contradiction("somebody is due who has no id")
		d.b.remove(d.b.due, k)
		known.gone = true
	}
	return list
}

// strays removes an index entry that its user's head knows nothing of, as after damage, and reports
// whether it was one.
func (d *leaser) strays(u *user, at stand) bool {
	if slices.Contains(u.was, at) {
		return false
	}
	d.b.contradiction("a user is due for whom nothing waits then")
	d.b.removeDue(at, u.key)
	return true
}

// visit adds what is due of one user, and reports whether the lane can go on.
func (d *leaser) visit(u *user, lane uint32, at stand) (goOn bool) {
	if d.strays(u, at) {
		return true
	}
	rh := u.head.endpoint(d.o.Endpoint)
	if !d.b.dry {
		d.b.holdSwept(u)
	}
	delivery, seats := d.pack(u, lane)
	if len(delivery.Attributes) == 0 && delivery.Event == nil {
		if isRetry(lane) {
			rh.retry = 0
		}
		d.b.retime(u, d.o.Endpoint)
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

func (d *leaser) add(delivery domain.Delivery, seats leasedDelivery) {
	if len(delivery.Attributes) > 0 {
		d.users++
	}
	if delivery.Event != nil {
		d.events++
	}
	d.lease.Deliveries = append(d.lease.Deliveries, delivery)
	d.list = append(d.list, seats)
	d.taken[delivery.User] = true
	d.full = d.users >= d.o.MaxUsers && d.events >= d.o.MaxEvents
}

// pack reads what is due of one user: the attributes, and the first event in applied order; or on the
// endpoint of cohorts, the one change of the lane.
func (d *leaser) pack(u *user, lane uint32) (delivery domain.Delivery, seats leasedDelivery) {
	delivery.User, seats.user = u.id, u.id
	retry := isRetry(lane)
	said := make(sayings)
	ready := func(lane, due uint32, tried bool) bool {
		return tried && retry || d.isDue(lane, due)
	}
	d.fields = u.head.pendingFields(d.fields[:0])
	for _, number := range d.fields {
		t, f := &d.b.entry(u, number).waiting, d.b.fieldOf(number)
		if f == nil || !t.pending() {
			d.b.contradiction("an attribute is said to wait that does not")
			u.head.setPending(number, false)
			u.dirty = true
			continue
		}
		if f.endpoint() != d.o.Endpoint || f.kind() == domain.KindCohort && t.lane != lane || !ready(t.lane, t.due, t.tried()) {
			continue
		}
		if said.has(f, t) {
			if at := said.later(&delivery, f, t); at >= 0 {
				delivery.Attributes[at], seats.attributes[at] = d.b.made(u, f, t).Change, leasedChange{number, t.id}
			}
			continue
		}
		if len(seats.attributes) < MaxAttributes {
			said.add(f, t, len(seats.attributes))
			delivery.Attributes = append(delivery.Attributes, d.b.made(u, f, t).Change)
			seats.attributes = append(seats.attributes, leasedChange{number, t.id})
		}
	}
	s, found := d.firstQueued(u, ready)
	if !found {
		return delivery, seats
	}
	ch := d.b.fetchQueued(queueKey(u.key, s.number, s.id))
	switch {
	case ch == nil:
		d.b.contradiction("an event that waits cannot be read")
		d.b.missQueued(u, d.o.Endpoint, s.number, s.id)
	case !ch.loose:
		delivery.Event, seats.queued = &ch.Change, s
	case !said.names(domain.KindAttribute, ch.Name):
		delivery.Attributes = append(delivery.Attributes, ch.Change)
		seats.queued, seats.loose = s, true
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
func (s sayings) has(f *field, t *ticket) bool {
	before, known := s[domain.SentName(f.kind(), t.name)]
	return known && (f.kind() != domain.KindList || before.list != t.transition)
}

// later returns the place of an attribute that is newer than t and bears its name, -1 when there is none. It
// gives way, because what is sent last is what MoEngage keeps.
func (s sayings) later(d *domain.Delivery, f *field, t *ticket) (at int) {
	before := s[domain.SentName(f.kind(), t.name)]
	if f.kind() == domain.KindList || before.list != 0 || d.Attributes[before.at].ID.Compare(t.id) < 0 {
		return -1
	}
	return before.at
}

func (s sayings) add(f *field, t *ticket, at int) {
	said := saying{at: at}
	if f.kind() == domain.KindList {
		said.list = t.transition
	}
	s[domain.SentName(f.kind(), t.name)] = said
}

// names reports whether the element says anything under a name.
func (s sayings) names(kind domain.Kind, name string) bool {
	_, known := s[domain.SentName(kind, name)]
	return known
}

// firstQueued returns the earliest of the queue's heads that are due, one head a lane.
func (d *leaser) firstQueued(u *user, ready func(lane, due uint32, tried bool) bool) (first leasedChange, found bool) {
	if d.o.Endpoint == domain.EndpointCohort || u.head.backlog().Events == 0 {
		return first, false // nothing is queued
	}
	for _, l := range u.head.endpoint(d.o.Endpoint).lanes {
		id, due, tried, ok := d.b.queueHead(u, l.number)
		if ok && ready(l.number, due, tried) && (!found || bytes.Compare(idKey(id), idKey(first.id)) < 0) {
			first, found = leasedChange{l.number, id}, true
		}
	}
	return first, found
}

// leaveQueue takes an event out of its user's queue.
func (b *batch) leaveQueue(u *user, endpoint domain.Endpoint, lane uint32, id domain.ID) {
	b.remove(b.queue, queueKey(u.key, lane, id))
	u.head.endpoint(endpoint).remove(lane)
	u.dirty = true
}

// missQueued sets an event aside that is damaged, and not just gone, so that what stands behind it can go.
// The ledger still counts it: what became of it is for the next start to find out.
func (b *batch) missQueued(u *user, endpoint domain.Endpoint, lane uint32, id domain.ID) {
	key := queueKey(u.key, lane, id)
	frame := b.queue.Get(key)
	if frame == nil || b.err != nil {
		return
	}
	b.quarantine(bucketQueue, key, frame, wire.ErrDamaged)
	b.leaveQueue(u, endpoint, lane, id)
}

func (b *batch) queueHead(u *user, lane uint32) (id domain.ID, due uint32, tried, ok bool) {
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.key), lane)
	k, v := b.queue.Cursor().Seek(prefix)
	if !bytes.HasPrefix(k, prefix) {
		return domain.ID{}, 0, false, false
	}
	due, tried, _ = parseQueueValue(v)
	return idFromKey(k[len(prefix):], b.st.epochs), due, tried, true
}

// retime sets each lane's time to the earliest of what still waits in it. A lane in which nothing does goes.
func (b *batch) retime(u *user, endpoint domain.Endpoint) {
	rh := u.head.endpoint(endpoint)
	earliest := make(map[uint32]uint32, len(rh.lanes))
	note := func(lane, due uint32) {
		if e, known := earliest[lane]; !known || due < e {
			earliest[lane] = due
		}
	}
	for _, number := range u.head.pendingFields(nil) {
		f := b.fieldOf(number)
		if t := b.entry(u, number).waiting; f != nil && f.endpoint() == endpoint && t.pending() {
			note(t.lane, t.due)
		}
	}
	for _, l := range rh.lanes {
		if _, due, _, ok := b.queueHead(u, l.number); ok {
			note(l.number, due)
		}
	}
	aboard := b.st.inFlight[leaseKey{endpoint, u.id}] != nil // what was overtaken in a request is still counted
	rh.lanes = slices.DeleteFunc(rh.lanes, func(l lane) bool {
		if _, known := earliest[l.number]; known || aboard {
			return false
		}
		b.contradiction("a change is said to wait that does not")
		return true
	})
	for i := range rh.lanes {
		if due, known := earliest[rh.lanes[i].number]; known {
			rh.lanes[i].due = due
		}
	}
	u.dirty = true
}

// remember writes the lease, and counts it for the meters.
func (d *leaser) remember() {
	st := d.b.st
	st.lastLease++
	d.lease.ID = st.lastLease
	f := &lease{number: st.lastLease, endpoint: d.o.Endpoint, second: uint64(d.o.Now.Unix()), list: d.list}
	st.addLease(f)
	d.b.put(d.b.tx.Bucket(bucketMeta), metaFlight, numberKey(f.number))
	d.b.put(d.b.tx.Bucket(bucketFlights), numberKey(f.number), f.encode())
	d.b.countSent(f.second, f.counts())
}

// countSent adds to what left in a second, or takes away what did not leave after all, and forgets
// what left two minutes ago, or so far ahead of a clock that was set back since.
func (b *batch) countSent(second uint64, more domain.SentSecond) {
	sent := b.tx.Bucket(bucketSent)
	key := numberKey(second)
	total := sentIn(sent.Get(key))
	var v []byte
	for _, n := range [...]int{total.Users + more.Users, total.Events + more.Events, total.Cohorts + more.Cohorts} {
		v = binary.BigEndian.AppendUint32(v, uint32(max(n, 0)))
	}
	b.put(sent, key, v)
	c := sent.Cursor()
	var old [][]byte
	for k, _ := c.First(); k != nil && number(k)+120 < second; k, _ = c.Next() {
		old = append(old, bytes.Clone(k))
	}
	for k, _ := c.Last(); k != nil && number(k) > second+120; k, _ = c.Prev() {
		old = append(old, bytes.Clone(k))
	}
	for _, k := range old {
		b.remove(sent, k)
	}
}

// sentIn reads what left in a second; cohort requests were not counted once.
func sentIn(v []byte) (s domain.SentSecond) {
	if len(v) >= 8 {
		s.Users, s.Events = int(binary.BigEndian.Uint32(v)), int(binary.BigEndian.Uint32(v[4:]))
	}
	if len(v) >= 12 {
		s.Cohorts = int(binary.BigEndian.Uint32(v[8:]))
	}
	return s
}

// next says what waits after a Take.
func (b *batch) next(endpoint domain.Endpoint) domain.Next {
	n := domain.Next{Jobs: make(map[string]time.Time)}
	first := make(map[uint32]uint32) // by job, because a job may have thousands of lanes
	for number, l := range b.lanes(endpoint) {
		second := b.firstDue(endpoint, number, l)
		if second == notYet {
			continue
		}
		if known, some := first[laneJob(number)]; !some || second < known {
			first[laneJob(number)] = second
		}
	}
	for job, second := range first {
		if job == laneRetry {
			n.Retry = time.Unix(int64(second), 0)
			n.RetryJobs = b.retryJobs(endpoint)
			continue
		}
		earliest(n.Jobs, b.st.job(job), second)
	}
	return n
}

func earliest(jobs map[string]time.Time, job string, due uint32) {
	at := time.Unix(int64(due), 0)
	if known, ok := jobs[job]; !ok || at.Before(known) {
		jobs[job] = at
	}
}

// retryJobsScan bounds how many users in retry are asked whose jobs they wait for: no more than a Take takes.
const retryJobsScan = 1000

// retryJobs says, by job, the earliest receipt of what waits for a retry; nil when that are too many
// users to ask.
func (b *batch) retryJobs(endpoint domain.Endpoint) map[string]time.Time {
	jobs := make(map[string]time.Time)
	n := 0
	for _, lane := range [...]uint32{laneRetry, laneRetryBulk} {
		for h := range b.heads(endpoint, lane, retryJobsScan+1) {
			if n++; n > retryJobsScan {
				return nil
			}
			for _, l := range h.endpoint(endpoint).lanes {
				earliest(jobs, b.st.job(l.number), l.due)
			}
		}
	}
	return jobs
}
