package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// A check reads everything there is and counts again what the store says it counted: the pages as
// bbolt links them, the checksum of every frame, both laws of the ledger, who points at which change
// and the other way round, the due index against the heads, the members of every computation, and
// that no record is missing. It repairs nothing.

// Finding is one thing that is not as it should be.
type Finding struct {
	Code    string `json:"code"` // pages, frame, ledger, pointer, due, members, inbox
	Message string `json:"message"`
}

// CheckReport is what a check read, and what it found.
type CheckReport struct {
	Pages    bool      `json:"pages"` // bbolt's own links were followed: only while no agent writes
	Bytes    int64     `json:"bytes"`
	Rows     uint64    `json:"rows"`
	Users    uint64    `json:"users"`
	Pending  uint64    `json:"pending"`
	Held     uint64    `json:"held"`
	Parked   uint64    `json:"parked"`
	History  uint64    `json:"history"`
	Queued   uint64    `json:"queued"`
	Due      uint64    `json:"due"`
	Records  uint64    `json:"records"`  // in the inbox
	Damaged  uint64    `json:"damaged"`  // frames set aside earlier
	Faults   uint64    `json:"faults"`   // all of them
	Findings []Finding `json:"findings"` // the first maxFindings
}

// maxFindings bounds the list, not the count: a shredded disk has millions.
const maxFindings = 100

// OK reports whether everything is as it should be.
func (r *CheckReport) OK() bool { return r.Faults == 0 }

func (r *CheckReport) find(code, format string, args ...any) {
	if r.Faults++; len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, Finding{code, fmt.Sprintf(format, args...)})
	}
}

// Check checks the files in dir, which no agent may be using. A damaged page can kill the process that
// reads it: run it where that harms nobody.
func Check(ctx context.Context, dir string, progress func(done, total int64)) (*CheckReport, error) {
	v, err := OpenReadOnly(dir)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return v.check(ctx, true, progress)
}

// Check checks a store that is at work, all but bbolt's page links, at one moment: pages that are
// freed meanwhile are not used again before it ends, so that state.db grows by what is written.
func (s *Store) Check(ctx context.Context, progress func(done, total int64)) (*CheckReport, error) {
	if err := s.beginUpkeep(); err != nil {
		return nil, err
	}
	defer s.upkeep.Unlock()
	ctx, cancel := s.lifelong(ctx)
	defer cancel()
	return s.View.check(ctx, false, progress)
}

func (v *View) check(ctx context.Context, pages bool, progress func(done, total int64)) (*CheckReport, error) {
	c := &checker{
		ctx: ctx, progress: progress, r: &CheckReport{Pages: pages, Findings: []Finding{}},
		members: make(map[uint32]uint64), held: make(map[uint32]uint64),
	}
	segments := v.inbox.list()
	c.total = c.measure(v, segments)
	err := v.look(func(tx *bolt.Tx) error { return c.state(tx, pages) })
	for _, s := range segments {
		if err == nil {
			err = c.segment(s, pages)
		}
	}
	if err != nil {
		return nil, err
	}
	c.tell(c.total - c.done)
	return c.r, nil
}

// list is the chain as it is now.
func (in *inbox) list() []*segment {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return slices.Clone(in.segments)
}

// checker is one check.
type checker struct {
	ctx         context.Context
	progress    func(done, total int64)
	done, total int64
	steps       int
	r           *CheckReport

	tx      *bolt.Tx
	st      *state
	members map[uint32]uint64 // by field, as the rows have them
	held    map[uint32]uint64
	there   [3]tally // changes in outbox, parked and held …
	meant   [3]tally // … and what points at them, by place
	flying  uint64   // users on a flight, by their heads …
	boarded uint64   // … and by the flights
	due     uint64   // due entries that the heads ask for
	user    checkedUser
	next    uint64 // number of the record that should come next in the inbox
}

// tally tells whether two sets of ids are the same without keeping them: their number, and the sum
// of their hashes.
type tally struct{ n, sum uint64 }

func (t *tally) add(id []byte) {
	h := fnv.New64a()
	h.Write(id)
	t.n++
	t.sum += h.Sum64()
}

// measure is how much there is to read.
func (c *checker) measure(v *View, segments []*segment) (total int64) {
	size, live, err := v.db.fill()
	if err == nil {
		c.r.Bytes, total = size, live
	}
	for _, s := range segments {
		c.r.Bytes += fileSize(s.path)
		total += fileSize(s.path)
	}
	return total
}

// step counts what was read, and listens for the end now and then.
func (c *checker) step(k, v []byte) error {
	c.done += int64(len(k) + len(v))
	if c.steps++; c.steps%1024 != 0 {
		return nil
	}
	c.tell(0)
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return nil
}

func (c *checker) tell(more int64) {
	if c.done += more; c.progress != nil {
		c.progress(min(c.done, c.total), c.total)
	}
}

// each calls f for every key of a bucket.
func (c *checker) each(bucket []byte, f func(k, v []byte)) error {
	return c.tx.Bucket(bucket).ForEach(func(k, v []byte) error {
		f(k, v)
		return c.step(k, v)
	})
}

// links follows the pages as bbolt links them.
func (c *checker) links(tx *bolt.Tx, name string) {
	for err := range tx.Check() {
		c.r.find("pages", "%s: %v", name, err)
	}
}

func (c *checker) state(tx *bolt.Tx, pages bool) (err error) {
	if pages {
		if c.links(tx, stateFile); !c.r.OK() {
			return nil // what follows would stumble over the same pages
		}
	}
	c.tx = tx
	if c.st, err = loadState(tx); err != nil {
		c.r.find("frame", "%s: %v", stateFile, err)
		return nil
	}
	for _, part := range []func() error{c.changes, c.closed, c.rows, c.queue, c.dueIndex, c.flights, c.rest} {
		if err := part(); err != nil {
			return err
		}
	}
	c.ledger()
	c.fields()
	return nil
}

var places = [3]struct {
	place  byte
	bucket []byte
	state  State
}{{placeOutbox, bucketOutbox, StatePending}, {placeParked, bucketParked, StateParked}, {placeHeld, bucketHeld, StateHeld}}

// changes reads what waits, is parked or is held.
func (c *checker) changes() error {
	counts := [3]uint64{}
	received := uint64(0)
	for i, p := range places {
		err := c.each(p.bucket, func(k, frame []byte) {
			ch, err := decodeChange(idFromKey(k, c.st.epoch), frame)
			if err != nil {
				c.r.find("frame", "%s %x: %v", p.bucket, k, err)
				return
			}
			if ch.State != p.state {
				c.r.find("pointer", "change %s is %s and stands among the %s", ch.ID, ch.State, p.state)
			}
			if ch.Kind == KindReceived {
				received++
			} else {
				counts[i]++
			}
			if i == 2 {
				c.held[ch.field]++
			}
			if ch.Kind != KindReceived || ch.User != "" && len(ch.User) <= MaxUserID {
				c.there[i].add(k)
			}
		})
		if err != nil {
			return err
		}
	}
	c.r.Pending, c.r.Parked, c.r.Held = counts[0], counts[1]+received, counts[2]
	l := &c.st.ledger
	c.equal("changes pending", l.changes.Pending, counts[0])
	c.equal("changes parked", l.changes.Parked, counts[1])
	c.equal("changes held", l.changes.Held, counts[2])
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
		ch, err := decodeChange(idFromKey(k, c.st.epoch), frame)
		switch {
		case err != nil:
			c.r.find("frame", "history %x: %v", k, err)
		case place(ch.State) == nil || !bytes.Equal(place(ch.State), bucketHistory):
			c.r.find("pointer", "change %s is %s and stands in the history", ch.ID, ch.State)
		}
	})
}

// checkedUser is what a user's rows and queue say, to be held against the head, which comes last.
type checkedUser struct {
	key     []byte
	blocks  map[uint16]uint64 // fields with an attribute that waits
	waiting map[uint32]uint32 // by lane: changes that wait or fly
	rows    int
}

func (u *checkedUser) begin(key []byte) {
	*u = checkedUser{key: bytes.Clone(key), blocks: make(map[uint16]uint64), waiting: make(map[uint32]uint32)}
}

// rows reads every user: the membership rows come first, and the head behind them.
func (c *checker) rows() error {
	c.user.begin(nil)
	return c.each(bucketRows, func(k, frame []byte) {
		c.r.Rows++
		_, rest, ok := userOf(k)
		if !ok || len(rest) != 2 {
			c.r.find("frame", "rows %x: not the key of a row", k)
			return
		}
		if key := k[:len(k)-2]; !bytes.Equal(key, c.user.key) {
			c.user.begin(key)
		}
		if number := binary.BigEndian.Uint16(rest); number != blockHead {
			c.block(k, number, frame)
			return
		}
		c.head(k, frame)
	})
}

func (c *checker) block(k []byte, number uint16, frame []byte) {
	if c.user.rows++; c.user.rows == 1 {
		c.r.Users++
	}
	row, err := decodeBlock(number, frame, c.st.epoch)
	if err != nil {
		c.r.find("frame", "rows %x: %v", k, err)
		return
	}
	for column, e := range row.entries {
		field := uint32(number)*blockSize + uint32(column)
		if int64(field) >= int64(len(c.st.registry.fields)) {
			c.r.find("members", "rows %x speaks of field %d, which nobody knows", k, field)
			continue
		}
		if c.st.registry.fields[field].class != ClassTrait && e.newest().in() {
			c.members[field]++
		}
		c.ticket(e.waiting, field)
		c.ticket(e.flying, field)
		if e.waiting.pending() {
			c.user.blocks[number] |= 1 << column
		}
	}
}

// ticket follows a row's pointer to a change.
func (c *checker) ticket(t ticket, field uint32) {
	if t.id.IsZero() {
		return
	}
	ch := c.follow(t.place, idKey(t.id))
	if ch == nil {
		return
	}
	if ch.field != field || ch.loose || !bytes.Equal(userKey(ch.User), c.user.key) {
		c.r.find("pointer", "a row points at change %s, which is another's", t.id)
	}
	if t.place == placeOutbox {
		c.user.waiting[t.lane]++
	}
}

// follow fetches what is pointed at, and counts that it was.
func (c *checker) follow(place byte, id []byte) *stored {
	if int(place) >= len(places) {
		c.r.find("pointer", "%x is said to be in place %d, which is none", id, place)
		return nil
	}
	frame := c.tx.Bucket(places[place].bucket).Get(id)
	if frame == nil {
		c.r.find("pointer", "change %s is pointed at and is not among the %s", idFromKey(id, c.st.epoch), places[place].state)
		return nil
	}
	c.meant[place].add(id)
	ch, err := decodeChange(idFromKey(id, c.st.epoch), frame)
	if err != nil {
		return nil // found where it is
	}
	return ch
}

// head holds a user's head against the rows before it, the queue, and the due index.
func (c *checker) head(k, frame []byte) {
	h, err := decodeHead(frame, c.st.epoch)
	if err != nil {
		c.r.find("frame", "rows %x: %v", k, err)
		return
	}
	u := &c.user
	for _, key := range keysWithPrefix(c.tx.Bucket(bucketQueue), u.key) {
		if lane := binary.BigEndian.Uint32(key[len(u.key):]); lane != laneParked && lane != laneHeld {
			u.waiting[lane]++
		}
	}
	if len(h.blocks) != len(u.blocks) {
		c.r.find("pointer", "head %x knows of attributes in %d rows, there are some in %d", k, len(h.blocks), len(u.blocks))
	}
	for number, bits := range h.blocks {
		if u.blocks[number] != bits {
			c.r.find("pointer", "head %x: row %d has the attributes %x waiting, the head says %x", k, number, u.blocks[number], bits)
		}
	}
	counted := make(map[uint32]uint32)
	for i := range h.roads {
		if h.roads[i].flight != 0 {
			c.flying++
		}
		for _, l := range h.roads[i].lanes {
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
	for _, key := range h.dueKeys(u.key) {
		c.due++
		if c.tx.Bucket(bucketDue).Get(key) == nil {
			c.r.find("due", "head %x is due and the index does not say so", k)
		}
	}
	if !h.history.IsZero() && c.tx.Bucket(bucketHistory).Get(idKey(h.history)) == nil {
		c.r.find("pointer", "head %x begins its history with %s, which is not there", k, h.history)
	}
}

// queue follows what the queues point at.
func (c *checker) queue() error {
	err := c.each(bucketQueue, func(k, v []byte) {
		c.r.Queued++
		user, rest, ok := userOf(k)
		if !ok || len(rest) != 14 || len(v) != 5 {
			c.r.find("frame", "queue %x: not an entry of a queue", k)
			return
		}
		lane, at := binary.BigEndian.Uint32(rest), placeOutbox
		switch lane {
		case laneParked:
			at = placeParked
		case laneHeld:
			at = placeHeld
		}
		if ch := c.follow(at, rest[4:]); ch != nil && (ch.User != user || at == placeOutbox && ch.lane != lane) {
			c.r.find("pointer", "a queue points at change %s, which is another's", ch.ID)
		}
	})
	for i, p := range places {
		if c.there[i] != c.meant[i] {
			c.r.find("pointer", "%d changes are among the %s, %d are pointed at, and they are not the same", c.there[i].n, p.state, c.meant[i].n)
		}
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
	err := c.each(bucketFlights, func(k, frame []byte) {
		road, list, err := decodeFlight(bytes.Clone(frame), c.st.epoch)
		if err != nil {
			c.r.find("frame", "flight %x: %v", k, err)
			return
		}
		for _, p := range list { // a user who was forgotten meanwhile has left
			head, err := decodeHead(c.tx.Bucket(bucketRows).Get(rowKey(userKey(p.user), blockHead)), c.st.epoch)
			if err == nil && head.road(road).flight == number(k) {
				c.boarded++
			}
		}
	})
	if c.flying != c.boarded {
		c.r.find("pointer", "%d users are said to be on a flight, the flights know of %d", c.flying, c.boarded)
	}
	return err
}

// rest reads what stands by itself.
func (c *checker) rest() error {
	stones := uint64(0)
	for bucket, f := range map[string]func(k, v []byte){
		string(bucketTombstones): func(k, v []byte) {
			if stones++; len(k) != 16 || len(v) != 8 {
				c.r.find("frame", "tombstones %x: not a tombstone", k)
			}
		},
		string(bucketSent): func(k, v []byte) {
			if len(k) != 8 || len(v) != 8 {
				c.r.find("frame", "sent %x: not a second", k)
			}
		},
		string(bucketRuns): func(k, v []byte) {
			if !json.Valid(v) {
				c.r.find("frame", "runs %s: not the record of a run", k)
			}
		},
		string(bucketDamaged): func([]byte, []byte) { c.r.Damaged++ },
	} {
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
	if sum := e.Transitions + e.Unchanged + e.Duplicate + e.Stale + e.Ignored + e.Parked + e.Discarded; sum != e.Accepted {
		c.r.find("ledger", "%d events were accepted, their terms make %d", e.Accepted, sum)
	}
	if sum := h.Delivered + h.Superseded + h.Cancelled + h.Dropped + h.Expired + h.Forgotten + h.Pending + h.Held + h.Parked; sum != h.Created {
		c.r.find("ledger", "%d changes were created, their terms make %d", h.Created, sum)
	}
	c.equal("users", c.st.ledger.users, c.r.Users)
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

// segment reads one file of the inbox: every record, and that none is missing up to what is there.
func (c *checker) segment(s *segment, pages bool) error {
	name := filepath.Base(s.path)
	return s.db.View(func(tx *bolt.Tx) error {
		if pages {
			before := c.r.Faults
			if c.links(tx, name); c.r.Faults > before {
				return nil
			}
		}
		return tx.Bucket(bucketRecords).ForEach(func(k, chunk []byte) error {
			first := number(k)
			switch {
			case len(k) != 8:
				c.r.find("inbox", "%s: %x is not the number of a record", name, k)
				return nil
			case c.next == 0 && c.st != nil && first > c.st.applied+1:
				c.r.find("inbox", "%s begins with record %d, the state ends with %d: the records between are missing", name, first, c.st.applied)
			case c.next != 0 && first != c.next:
				c.r.find("inbox", "%s: record %d follows record %d", name, first, c.next-1)
			}
			c.next = first
			for f := (frames{rest: chunk}); ; c.next++ {
				if !f.next() {
					if f.err != nil {
						c.r.find("inbox", "%s: the chunk of record %d is cut short", name, first)
					}
					break
				}
				c.r.Records++
				if _, err := decodeRecord(c.next, f.frame); err != nil {
					c.r.find("inbox", "%s: record %d: %v", name, c.next, err)
				}
			}
			return c.step(k, chunk)
		})
	})
}
