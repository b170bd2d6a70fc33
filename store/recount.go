package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"
)

// How a check counts the state again: everything that stands there twice is held against itself.

// tally tells whether two sets of ids are the same without keeping them: their number, and the sum
// of their hashes.
type tally struct{ n, sum uint64 }

func (t *tally) add(id []byte) {
	h := fnv.New64a()
	h.Write(id)
	t.n++
	t.sum += h.Sum64()
}

// each calls f for every key of a bucket.
func (c *checker) each(bucket []byte, f func(k, v []byte)) error {
	return c.tx.Bucket(bucket).ForEach(func(k, v []byte) error {
		f(k, v)
		return c.step(k, v)
	})
}

func (c *checker) state(tx *bolt.Tx) (err error) {
	c.tx = tx
	if c.st, err = loadState(tx); err != nil {
		c.r.find("frame", "%s: %v", stateFile, err)
		return nil
	}
	for _, part := range []func() error{c.kept, c.closed, c.rows, c.queue, c.locator, c.dueIndex, c.flights, c.rest} {
		if err := part(); err != nil {
			return err
		}
	}
	c.ledger()
	c.fields()
	return nil
}

// keptPlaces are the buckets of changes that are not with their user, by place less placeParked.
var keptPlaces = [2]struct {
	bucket []byte
	state  domain.State
}{{bucketParked, domain.StateParked}, {bucketHeld, domain.StateHeld}}

// kept reads what is parked or held.
func (c *checker) kept() error {
	counts, received := [2]uint64{}, uint64(0)
	for i, p := range keptPlaces {
		err := c.each(p.bucket, func(k, frame []byte) {
			ch, err := decodeChange(frame, c.st.epochs)
			if err != nil {
				c.r.find("frame", "%s %x: %v", p.bucket, k, err)
				return
			}
			if ch.State != p.state || !bytes.Equal(idKey(ch.ID), k) {
				c.r.find("pointer", "change %s is %s and stands among the %s as %x", ch.ID, ch.State, p.state, k)
			}
			if p.state == domain.StateHeld {
				c.held[ch.field]++
			}
			if ch.Kind == domain.KindReceived {
				if received++; ch.User == "" || len(ch.User) > domain.MaxUserID {
					return // nobody's
				}
			} else {
				counts[i]++
				c.located[0].add(k)
			}
			c.there[i].add(k)
		})
		if err != nil {
			return err
		}
	}
	c.r.Parked, c.r.Held = counts[0]+received, counts[1]
	l := &c.st.ledger
	c.equal("changes parked", l.changes.Parked, counts[0])
	c.equal("changes held", l.changes.Held, counts[1])
	c.equal("events parked", l.events.Parked, received)
	return nil
}

func (c *checker) equal(what string, said, counted uint64) {
	if said != counted {
		c.r.find("ledger", "%s: the ledger says %d, there are %d", what, said, counted)
	}
}

func (c *checker) closed() error {
	return c.each(bucketHistory, func(k, frame []byte) {
		c.r.History++
		ch, err := decodeChange(frame, c.st.epochs)
		if err != nil {
			c.r.find("frame", "history %x: %v", k, err)
			return
		}
		c.located[0].add(idKey(ch.ID))
		switch {
		case ch.State == domain.StatePending, ch.State == domain.StateHeld, ch.State == domain.StateParked:
			c.r.find("pointer", "change %s is %s and stands in the history", ch.ID, ch.State)
		case number(k) > c.st.closed:
			c.r.find("pointer", "entry %d of the history lies behind its end at %d", number(k), c.st.closed)
		}
	})
}

// checkedUser is what a user's rows say, to be held against the queue and the head, which comes last.
type checkedUser struct {
	id      string
	key     []byte
	blocks  map[uint16]uint64 // fields with an attribute that waits
	loose   map[uint32]uint32 // by field: attributes that are said to be queued
	waiting map[uint32]uint32 // by lane: changes that wait
	rows    int
	headed  bool
}

// begin goes over to the next user.
func (c *checker) begin(id string, key []byte) {
	if u := &c.user; !u.headed && len(u.waiting)+len(u.loose) > 0 {
		c.r.find("pointer", "something waits for user %x, who has no head", u.key)
	}
	c.user = checkedUser{
		id: id, key: bytes.Clone(key),
		blocks: make(map[uint16]uint64), loose: make(map[uint32]uint32), waiting: make(map[uint32]uint32),
	}
}

// rows reads every user: the membership rows come first, and the head behind them.
func (c *checker) rows() error {
	err := c.each(bucketRows, func(k, frame []byte) {
		c.r.Rows++
		id, rest, ok := userOf(k)
		if !ok || len(rest) != 2 {
			c.r.find("frame", "rows %x: not the key of a row", k)
			return
		}
		if key := k[:len(k)-2]; !bytes.Equal(key, c.user.key) {
			c.begin(id, key)
		}
		if number := binary.BigEndian.Uint16(rest); number != blockHead {
			c.block(k, number, frame)
			return
		}
		c.head(k, frame)
	})
	c.begin("", nil)
	return err
}

func (c *checker) block(k []byte, number uint16, frame []byte) {
	if c.user.rows++; c.user.rows == 1 {
		c.r.Users++
	}
	row, err := decodeBlock(k, frame, c.st.epochs)
	if err != nil {
		c.r.find("frame", "rows %x: %v", k, err)
		return
	}
	for _, e := range row.entries {
		field := row.field(e)
		if int64(field) >= int64(len(c.st.registry.fields)) {
			c.r.find("members", "rows %x speaks of field %d, which nobody knows", k, field)
			continue
		}
		if c.st.registry.fields[field].class != domain.ClassTrait && e.newest().IsIn() {
			c.members[field]++
		}
		c.ticket(&e.waiting, field)
		c.ticket(&e.inFlight, field)
		if e.waiting.pending() {
			c.user.blocks[number] |= 1 << e.column
		}
		if !e.inFlight.id.IsZero() && !c.st.isInFlight(c.st.registry.fields[field].endpoint(), c.user.id, e.inFlight.id) {
			c.r.find("pointer", "change %s is said to be in a request under way, and is in none", e.inFlight.id)
		}
		if e.loose > 0 {
			c.user.loose[field] = e.loose
		}
	}
}

// ticket counts an attribute change that waits, or follows one that is kept elsewhere.
func (c *checker) ticket(t *ticket, field uint32) {
	switch {
	case t.id.IsZero():
	case t.pending():
		c.r.Pending++
		c.located[0].add(idKey(t.id))
		c.user.waiting[t.lane]++
	default:
		ch := c.follow(t.place, idKey(t.id))
		if ch != nil && (ch.field != field || ch.loose || ch.User != c.user.id) {
			c.r.find("pointer", "a row points at change %s, which is another's", t.id)
		}
	}
}

// follow fetches what is parked or held, and counts that something points at it.
func (c *checker) follow(place byte, id []byte) *stored {
	if place != placeParked && place != placeHeld {
		c.r.find("pointer", "%x is said to be in place %d, which is none", id, place)
		return nil
	}
	p := keptPlaces[place-placeParked]
	frame := c.tx.Bucket(p.bucket).Get(id)
	if frame == nil {
		c.r.find("pointer", "change %s is pointed at and is not among the %s", idFromKey(id, c.st.epochs), p.state)
		return nil
	}
	c.meant[place-placeParked].add(id)
	ch, err := decodeChange(frame, c.st.epochs)
	if err != nil {
		return nil // found where it is
	}
	return ch
}

// head holds a user's head against the rows before it, the queue, and the due index.
func (c *checker) head(k, frame []byte) {
	u := &c.user
	u.headed = true
	h, err := decodeHead(k, frame)
	if err != nil {
		c.r.find("frame", "rows %x: %v", k, err)
		return
	}
	c.backlog.Move(domain.Backlog{}, h.backlog())
	c.userQueue()
	if len(h.blocks) != len(u.blocks) {
		c.r.find("pointer", "head %x knows of attributes in %d rows, there are some in %d", k, len(h.blocks), len(u.blocks))
	}
	for _, p := range h.blocks {
		if u.blocks[p.number] != p.bits {
			c.r.find("pointer", "head %x: in row %d the attributes %x wait, the head says %x", k, p.number, u.blocks[p.number], p.bits)
		}
	}
	counted := make(map[uint32]uint32)
	for i := range h.endpoints {
		for _, l := range h.endpoints[i].lanes {
			counted[l.number] += l.count
		}
	}
	for lane, n := range u.waiting {
		if counted[lane] != n {
			c.r.find("pointer", "head %x: %d changes wait in lane %d, the head says %d", k, n, lane, counted[lane])
		}
		delete(counted, lane)
	}
	for lane, n := range counted {
		c.r.find("pointer", "head %x says that %d changes wait in lane %d, there are none", k, n, lane)
	}
	for _, s := range h.stands(nil) {
		c.due++
		if c.tx.Bucket(bucketDue).Get(s.key(u.key)) == nil {
			c.r.find("due", "head %x is due and the index does not say so", k)
		}
	}
	if h.history != 0 && c.tx.Bucket(bucketHistory).Get(numberKey(h.history)) == nil {
		c.r.find("pointer", "head %x begins its history with entry %d, which is not there", k, h.history)
	}
}

// userQueue counts what is in the user's queue, and holds the loose attributes in it against the rows.
func (c *checker) userQueue() {
	u := &c.user
	for _, key := range keysWithPrefix(c.tx.Bucket(bucketQueue), u.key) {
		lane := binary.BigEndian.Uint32(key[len(u.key):])
		if lane == laneParked || lane == laneHeld {
			continue
		}
		c.queued++
		u.waiting[lane]++
		_, _, frame := parseQueueValue(c.tx.Bucket(bucketQueue).Get(key))
		if ch, err := decodeChange(frame, c.st.epochs); err == nil && ch.loose {
			if u.loose[ch.field]--; u.loose[ch.field] == 0 {
				delete(u.loose, ch.field)
			}
		}
	}
	for field, n := range u.loose {
		c.r.find("pointer", "user %x: the row of field %d and the queue differ by %d attributes", u.key, field, int32(n))
	}
	clear(u.loose)
}

// queue reads the events that wait, and follows what the queues point at.
func (c *checker) queue() error {
	waiting := uint64(0)
	err := c.each(bucketQueue, func(k, v []byte) {
		c.r.Queued++
		user, rest, ok := userOf(k)
		if !ok || len(rest) != 14 {
			c.r.find("frame", "queue %x: not an entry of a queue", k)
			return
		}
		var ch *stored
		switch lane := binary.BigEndian.Uint32(rest); lane {
		case laneParked:
			ch = c.follow(placeParked, rest[4:])
		case laneHeld:
			ch = c.follow(placeHeld, rest[4:])
		default:
			waiting++
			c.located[0].add(rest[4:])
			due, tried, frame := parseQueueValue(v)
			var err error
			if ch, err = decodeChange(frame, c.st.epochs); err != nil {
				c.r.find("frame", "queue %x: %v", k, err)
				return
			}
			if due != second(ch.Received) && !ch.loose || tried != (ch.Attempts > 0) {
				c.r.find("frame", "queue %x: it is not due when its change says", k)
			}
			if ch.lane != lane || ch.State != domain.StatePending {
				c.r.find("pointer", "change %s is %s in lane %d, and stands in lane %d", ch.ID, ch.State, ch.lane, lane)
			}
		}
		if ch != nil && (ch.User != user || !bytes.Equal(idKey(ch.ID), rest[4:])) {
			c.r.find("pointer", "the queue entry %x leads to change %s, which is another's", k, ch.ID)
		}
	})
	c.r.Pending += waiting
	c.equal("changes pending", c.st.ledger.changes.Pending, c.r.Pending)
	if waiting != c.queued {
		c.r.find("pointer", "%d events are queued, the users' heads lead to %d", waiting, c.queued)
	}
	for i, p := range keptPlaces {
		if c.there[i] != c.meant[i] {
			c.r.find("pointer", "%d changes are %s, %d are pointed at, and they are not the same", c.there[i].n, p.state, c.meant[i].n)
		}
	}
	return err
}

// locator holds the index by id against the changes there are.
func (c *checker) locator() error {
	err := c.each(bucketLocator, func(k, v []byte) {
		c.located[1].add(k)
		if len(v) < 5 || v[0] != locatedInRow && v[0] != locatedInQueue {
			c.r.find("frame", "locator %x: not the place of a change", k)
		}
	})
	if c.located[0] != c.located[1] {
		c.r.find("pointer", "there are %d changes of users, the locator knows %d, and they are not the same", c.located[0].n, c.located[1].n)
	}
	return err
}

func (c *checker) dueIndex() error {
	err := c.each(bucketDue, func(k, _ []byte) { c.r.Due++ })
	if c.r.Due != c.due {
		c.r.find("due", "the due index has %d entries, the users' heads ask for %d", c.r.Due, c.due)
	}
	return err
}

func (c *checker) flights() error {
	return c.each(bucketFlights, func(k, frame []byte) {
		if _, err := decodeLease(number(k), frame, c.st.epochs); err != nil {
			c.r.find("frame", "flight %x: %v", k, err)
		}
	})
}

// rest reads what stands by itself.
func (c *checker) rest() error {
	stones := uint64(0)
	for bucket, f := range map[string]func(k, v []byte){
		string(bucketTombstones): func(k, v []byte) {
			if stones++; len(k) != 16 || !isStone(v) {
				c.r.find("frame", "tombstones %x: not a tombstone", k)
			}
		},
		string(bucketSent): func(k, v []byte) {
			if len(k) != 8 || len(v) != 8 && len(v) != 12 {
				c.r.find("frame", "sent %x: not a second", k)
			}
		},
		string(bucketRuns): func(k, v []byte) {
			if !json.Valid(v) {
				c.r.find("frame", "runs %s: not the record of a run", k)
			}
		},
		string(bucketSamples): func(k, frame []byte) {
			if _, err := decodeSample(frame); err != nil || len(k) != 8 {
				c.r.find("frame", "samples %x: not a sample", k)
			}
		},
		string(bucketVerdicts): func(k, v []byte) {
			if len(k) != 8 || len(v) == 0 || len(v) > verdictsOf {
				c.r.find("frame", "verdicts %x: not those of %d records", k, verdictsOf)
			}
		},
		string(bucketDamaged): func([]byte, []byte) { c.r.Damaged++ },
	} {
		if c.tx.Bucket([]byte(bucket)) == nil {
			continue // of an older version, which had none
		}
		if err := c.each([]byte(bucket), f); err != nil {
			return err
		}
	}
	c.equal("tombstones", c.st.ledger.tombstones, stones)
	days := c.tx.Bucket(bucketMessages)
	return days.ForEachBucket(func(day []byte) error {
		return days.Bucket(day).ForEach(func(k, v []byte) error {
			if len(k) != 16 {
				c.r.find("frame", "messages %x: not a message id", k)
			}
			return c.step(k, v)
		})
	})
}

// ledger adds both laws up.
func (c *checker) ledger() {
	e, h := &c.st.ledger.events, &c.st.ledger.changes
	if !e.Balances() {
		c.r.find("ledger", "%d events were accepted, their terms make %d", e.Accepted, e.Sum())
	}
	if !h.Balances() {
		c.r.find("ledger", "%d changes were created, their terms make %d", h.Created, h.Sum())
	}
	c.equal("users", c.st.ledger.users, c.r.Users)
	if c.st.ledger.uncounted {
		return
	}
	said, counted := c.st.ledger.backlog, c.backlog
	c.equal("users that wait", said.Users, counted.Users)
	c.equal("events that wait", said.Events, counted.Events)
	c.equal("members of cohorts that wait", said.Members, counted.Members)
}

// fields holds the counters of every computation against its rows.
func (c *checker) fields() {
	for _, f := range c.st.registry.fields {
		if f.members != c.members[f.number] {
			c.r.find("members", "%q has %d members by its counter and %d by the rows", f.key, f.members, c.members[f.number])
		}
		if f.held != c.held[f.number] {
			c.r.find("members", "%q has %d held changes by its counter, there are %d", f.key, f.held, c.held[f.number])
		}
	}
}
