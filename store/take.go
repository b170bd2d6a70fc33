package store

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"
)

// MaxAttributes bounds the attributes of one delivery.
const MaxAttributes = 256

// departure is a Take in progress.
type departure struct {
	b       *batch
	o       TakeOptions
	flight  *Flight
	users   int // deliveries with attributes so far
	events  int // deliveries with an event so far
	full    bool
	latest  map[uint32]int64 // by lane: the unix second up to which changes are due; -1: closed
	visited int
}

// visits bounds how many users one Take looks at.
const visits = 8192

// take gathers the deliveries that are due, retries first, and has them remembered as a flight. It
// returns nil when nothing is due.
func (b *batch) take(o TakeOptions) *Flight {
	d := &departure{b: b, o: o, flight: &Flight{Road: o.Road}, latest: make(map[uint32]int64)}
	d.latest[laneRetry] = o.Now.Unix()
	if o.Force {
		d.latest[laneRetry] = 1<<32 - 1
	}
	lanes := b.dueLanes(o.Road)
	slices.SortStableFunc(lanes, func(x, y uint32) int { return int(boolByte(y == laneRetry)) - int(boolByte(x == laneRetry)) })
	for _, lane := range lanes {
		d.collect(lane)
	}
	if len(d.flight.Deliveries) == 0 {
		return nil
	}
	b.remember(d.flight, o)
	return d.flight
}

// dueLanes lists the lanes in which somebody waits on a road: one seek each.
func (b *batch) dueLanes(road Road) (lanes []uint32) {
	c := b.due.Cursor()
	for k, _ := c.Seek([]byte{byte(road)}); len(k) > 9 && Road(k[0]) == road; {
		lane, _, _ := dueParts(k)
		lanes = append(lanes, lane)
		if lane == laneRetry {
			return lanes
		}
		k, _ = c.Seek(dueKey(road, lane+1, 0, nil))
	}
	return lanes
}

// until returns the unix second up to which a lane's changes are due.
func (d *departure) until(lane uint32) int64 {
	if s, known := d.latest[lane]; known {
		return s
	}
	s := int64(-1)
	if d.o.Due != nil {
		if t := d.o.Due(d.b.st.job(lane)); !t.IsZero() {
			s = t.Unix()
		}
	}
	d.latest[lane] = s
	return s
}

// collect takes the users due in one lane, until the request is full.
func (d *departure) collect(lane uint32) {
	for _, key := range d.dueKeys(lane) {
		if d.full {
			return
		}
		id, _, ok := userOf(key[9:])
		if !ok {
			d.b.remove(d.b.due, key)
			continue
		}
		d.visit(d.b.user(id), lane == laneRetry, key)
	}
}

// dueKeys copies the index entries worth visiting.
func (d *departure) dueKeys(lane uint32) (keys [][]byte) {
	until := d.until(lane)
	c := d.b.due.Cursor()
	for k, _ := c.Seek(dueKey(d.o.Road, lane, 0, nil)); len(k) > 9; k, _ = c.Next() {
		l, due, _ := dueParts(k)
		if Road(k[0]) != d.o.Road || l != lane || int64(due) > until || len(keys) > d.o.MaxUsers+d.o.MaxEvents || d.visited > visits {
			break
		}
		d.visited++
		keys = append(keys, bytes.Clone(k))
	}
	return keys
}

// visit adds what is due of one user. An index entry that its head knows nothing of, as after damage,
// is removed.
func (d *departure) visit(u *user, retry bool, key []byte) {
	rh := u.head.road(d.o.Road)
	if rh.flight != 0 {
		return // taken from another lane a moment ago
	}
	if !containsKey(u.was, key) {
		d.b.remove(d.b.due, key)
		return
	}
	delivery, fields := d.pack(u, retry)
	if len(delivery.Attributes) == 0 && delivery.Event == nil {
		if retry {
			rh.retry = 0
		}
		d.b.retime(u, d.o.Road)
		return
	}
	if len(delivery.Attributes) > 0 && d.users >= d.o.MaxUsers || delivery.Event != nil && d.events >= d.o.MaxEvents || !d.o.Fit(delivery) {
		d.full = true
		return
	}
	d.add(u, rh, delivery, fields)
}

func (d *departure) add(u *user, rh *roadHead, delivery Delivery, fields []uint32) {
	if len(delivery.Attributes) > 0 {
		d.users++
	}
	if delivery.Event != nil {
		d.events++
	}
	for _, number := range fields {
		e := d.b.entry(u, number)
		e.flying, e.waiting = e.waiting, ticket{}
		u.head.setPending(number, false)
		d.b.write(u, number)
	}
	rh.flight = d.b.st.flight + 1
	u.dirty = true
	d.flight.Deliveries = append(d.flight.Deliveries, delivery)
}

// pack reads what is due of one user: the attributes, and the first event in applied order.
func (d *departure) pack(u *user, retry bool) (delivery Delivery, fields []uint32) {
	delivery.User = u.id
	ready := func(lane, due uint32, tried bool) bool {
		return tried && retry || int64(due) <= d.until(lane)
	}
	for _, number := range u.head.pendingFields() {
		t := d.b.entry(u, number).waiting
		if !t.pending() || !ready(t.lane, t.due, t.tried) || len(fields) == MaxAttributes {
			continue
		}
		ch := d.b.fetch(d.b.outbox, t.id)
		if ch == nil {
			d.b.lose(u, number)
			continue
		}
		delivery.Attributes = append(delivery.Attributes, ch.Change)
		fields = append(fields, number)
	}
	lane, id, found := d.firstQueued(u, ready)
	if !found {
		return delivery, fields
	}
	ch := d.b.fetch(d.b.outbox, id)
	switch {
	case ch == nil: // only damage brings this about
		d.b.leaveQueue(u, d.o.Road, lane, id)
	case ch.loose:
		if !slices.ContainsFunc(delivery.Attributes, func(a Change) bool { return a.Name == ch.Name }) {
			delivery.Attributes = append(delivery.Attributes, ch.Change)
		}
	default:
		delivery.Event = &ch.Change
	}
	return delivery, fields
}

// firstQueued returns the earliest of the queue's heads that are due, one head a lane.
func (d *departure) firstQueued(u *user, ready func(lane, due uint32, tried bool) bool) (lane uint32, first ID, found bool) {
	for _, l := range u.head.road(d.o.Road).lanes {
		id, due, tried, ok := d.b.queueHead(u, l.number)
		if ok && ready(l.number, due, tried) && (!found || bytes.Compare(idKey(id), idKey(first)) < 0) {
			lane, first, found = l.number, id, true
		}
	}
	return lane, first, found
}

// leaveQueue takes an event out of its user's queue.
func (b *batch) leaveQueue(u *user, road Road, lane uint32, id ID) {
	b.remove(b.queue, queueKey(u.key, lane, id))
	u.head.road(road).remove(lane)
	u.dirty = true
}

func (b *batch) queueHead(u *user, lane uint32) (id ID, due uint32, tried, ok bool) {
	prefix := binary.BigEndian.AppendUint32(slices.Clone(u.key), lane)
	k, v := b.queue.Cursor().Seek(prefix)
	if !bytes.HasPrefix(k, prefix) {
		return ID{}, 0, false, false
	}
	due, tried = parseQueueValue(v)
	return idFromKey(k[len(prefix):], b.st.epoch), due, tried, true
}

// lose drops a ticket whose change is gone, which only damage brings about.
func (b *batch) lose(u *user, number uint32) {
	e := b.entry(u, number)
	u.head.road(RoadTransition).remove(e.waiting.lane)
	e.waiting = ticket{}
	u.head.setPending(number, false)
	u.dirty = true
	b.write(u, number)
}

// retime sets each lane's time to the earliest of what still waits in it.
func (b *batch) retime(u *user, road Road) {
	rh := u.head.road(road)
	earliest := make(map[uint32]uint32, len(rh.lanes))
	note := func(lane, due uint32) {
		if e, known := earliest[lane]; !known || due < e {
			earliest[lane] = due
		}
	}
	if road == RoadTransition {
		for _, number := range u.head.pendingFields() {
			if t := b.entry(u, number).waiting; t.pending() {
				note(t.lane, t.due)
			}
		}
	}
	for _, l := range rh.lanes {
		if _, due, _, ok := b.queueHead(u, l.number); ok {
			note(l.number, due)
		}
	}
	for i := range rh.lanes {
		if due, known := earliest[rh.lanes[i].number]; known {
			rh.lanes[i].due = due
		}
	}
	u.dirty = true
}

// remember writes the flight, and counts it for the meters.
func (b *batch) remember(f *Flight, o TakeOptions) {
	b.st.flight++
	f.ID = b.st.flight
	b.put(b.tx.Bucket(bucketMeta), metaFlight, numberKey(f.ID))
	b.put(b.tx.Bucket(bucketFlights), numberKey(f.ID), encodeFlight(f))
	users, events := 0, 0
	for i := range f.Deliveries {
		users += int(boolByte(len(f.Deliveries[i].Attributes) > 0))
		events += int(boolByte(f.Deliveries[i].Event != nil))
	}
	b.countSent(o.Now, users, events)
}

// countSent adds to what left in this second, and forgets what left two minutes ago.
func (b *batch) countSent(now time.Time, users, events int) {
	sent := b.tx.Bucket(bucketSent)
	key := numberKey(uint64(now.Unix()))
	if v := sent.Get(key); len(v) == 8 {
		users += int(binary.BigEndian.Uint32(v))
		events += int(binary.BigEndian.Uint32(v[4:]))
	}
	b.put(sent, key, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(users)), uint32(events)))
	c := sent.Cursor()
	var old [][]byte
	for k, _ := c.First(); k != nil && number(k) < uint64(now.Unix())-120; k, _ = c.Next() {
		old = append(old, bytes.Clone(k))
	}
	for _, k := range old {
		b.remove(sent, k)
	}
}

const flightVersion byte = 1

// encodeFlight keeps who is on the flight and with which changes.
func encodeFlight(f *Flight) []byte {
	buf := []byte{flightVersion, byte(f.Road)}
	buf = putUint(buf, uint64(len(f.Deliveries)))
	for i := range f.Deliveries {
		d := &f.Deliveries[i]
		buf = putString(buf, d.User)
		buf = putUint(buf, uint64(len(d.Attributes)))
		for j := range d.Attributes {
			buf = putID(buf, d.Attributes[j].ID)
		}
		event := ID{}
		if d.Event != nil {
			event = d.Event.ID
		}
		buf = putID(buf, event)
	}
	return seal(buf, 0)
}

// boarding is one delivery of a flight as it is kept.
type boarding struct {
	user       string
	attributes []ID
	event      ID
}

func decodeFlight(frame []byte, epoch uint32) (road Road, list []boarding, err error) {
	r, err := unseal(frame, flightVersion)
	if err != nil {
		return 0, nil, err
	}
	road = Road(r.byte())
	for n := r.uint(); n > 0 && !r.bad; n-- {
		p := boarding{user: r.string()}
		for m := r.uint(); m > 0 && !r.bad; m-- {
			p.attributes = append(p.attributes, r.id(epoch))
		}
		p.event = r.id(epoch)
		list = append(list, p)
	}
	return road, list, r.done()
}

// next says what waits after a Take.
func (b *batch) next(road Road) Next {
	n := Next{Jobs: make(map[string]time.Time)}
	for _, lane := range b.dueLanes(road) {
		k, _ := b.due.Cursor().Seek(dueKey(road, lane, 0, nil))
		_, due, _ := dueParts(k)
		at := time.Unix(int64(due), 0)
		if lane == laneRetry {
			n.Retry = at
			continue
		}
		job := b.st.job(lane)
		if earlier, known := n.Jobs[job]; !known || at.Before(earlier) {
			n.Jobs[job] = at
		}
	}
	return n
}
