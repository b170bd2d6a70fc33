package repair

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/apply"
	"personasync/store/internal/datadir"
	"personasync/store/internal/outbox"
	"personasync/store/internal/query"
	"personasync/store/internal/state"
)

// tally is the size of a set of ids and the sum of their hashes. Two sets can be compared by it without keeping them.
type tally struct{ n, sum uint64 }

func (t *tally) add(id []byte) {
	h := fnv.New64a()
	h.Write(id)
	t.n++
	t.sum += h.Sum64()
}

// each calls f for every key of a bucket.
func (c *recount) each(bucket []byte, f func(k, v []byte)) error {
	return c.tx.Bucket(bucket).ForEach(func(k, v []byte) error {
		f(k, v)
		return c.step(k, v)
	})
}

// recount is a check of the state in one transaction.
type recount struct {
	*checker
	tx      engine.Tx
	backlog domain.Backlog
	members map[uint32]uint64 // by field, as the rows have them
	fieldCounts
	there   [2]tally // changes that are parked and held …
	meant   [2]tally // … and the changes that a row or a queue entry points at
	located [2]tally // changes of users, and those that the locator knows
	queued  uint64   // pending events, as the pending-index rows lead to them
	due     uint64   // due entries that the pending-index rows ask for
	user    checkedUser
}

// state checks the state. A state that cannot be loaded is a finding, and leaves c.st nil.
func (c *checker) state(tx engine.Tx) (err error) {
	if c.st, err = state.LoadState(tx); err != nil {
		c.report.Find("frame", "%s: %v", datadir.StateFile, err)
		return nil
	}
	r := &recount{checker: c, tx: tx, members: make(map[uint32]uint64), fieldCounts: newFieldCounts()}
	return r.run()
}

func (c *recount) run() error {
	for _, part := range []func() error{c.kept, c.closed, c.journal, c.rows, c.queue, c.locator, c.dueIndex, c.leases, c.rest} {
		if err := part(); err != nil {
			return err
		}
	}
	c.ledger()
	c.fields()
	return nil
}

// keptPlaces are the buckets of parked and held changes, by place less state.PlaceParked.
var keptPlaces = [2]struct {
	bucket []byte
	state  domain.State
}{{state.BucketParked, domain.StateParked}, {state.BucketHeld, domain.StateHeld}}

// kept checks the parked and the held changes.
func (c *recount) kept() error {
	counts, received := [2]uint64{}, uint64(0)
	for i, p := range keptPlaces {
		err := c.each(p.bucket, func(k, frame []byte) {
			ch, err := state.DecodeChange(frame, c.st.Epochs)
			if err != nil {
				c.report.Find("frame", "%s %x: %v", p.bucket, k, err)
				return
			}
			if ch.State != p.state || !bytes.Equal(state.IDKey(ch.ID), k) {
				c.report.Find("pointer", "change %s is %s and stands among the %s as %x", ch.ID, ch.State, p.state, k)
			}
			c.fieldCounts.kept(ch, p.state)
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
	c.report.Parked, c.report.Held = counts[0]+received, counts[1]
	l := &c.st.Ledger
	c.equal("changes parked", l.Changes.Parked, counts[0])
	c.equal("changes held", l.Changes.Held, counts[1])
	c.equal("events parked", l.Events.Parked, received)
	return nil
}

func (c *recount) equal(what string, said, counted uint64) {
	if said != counted {
		c.report.Find("ledger", "%s: the ledger says %d, there are %d", what, said, counted)
	}
}

func (c *recount) closed() error {
	return c.each(state.BucketHistory, func(k, frame []byte) {
		c.report.History++
		ch, err := state.DecodeChange(frame, c.st.Epochs)
		if err != nil {
			c.report.Find("frame", "history %x: %v", k, err)
			return
		}
		c.located[0].add(state.IDKey(ch.ID))
		switch {
		case ch.State == domain.StatePending, ch.State == domain.StateHeld, ch.State == domain.StateParked:
			c.report.Find("pointer", "change %s is %s and stands in the history", ch.ID, ch.State)
		case state.Number(k) > c.st.Closed:
			c.report.Find("pointer", "entry %d of the history lies behind its end at %d", state.Number(k), c.st.Closed)
		}
	})
}

// journal checks the chunks of the journal, and counts them.
func (c *recount) journal() error {
	if c.tx.Bucket(state.BucketJournal) == nil {
		return nil // an older version wrote none
	}
	size, last := uint64(0), uint64(0)
	err := c.each(state.BucketJournal, func(k, frame []byte) {
		size += uint64(len(k) + len(frame))
		entries, err := state.JournalChunk(k, frame)
		if err != nil {
			c.report.Find("frame", "journal %x: %v", k, err)
			return
		}
		for i := range entries {
			if last = entries[i].Number; !entries[i].Erased && !entries[i].Outcome() {
				c.report.Journal++
			}
		}
	})
	c.equal("bytes of the journal", c.st.Journal.Bytes, size)
	if last > c.st.Journal.Last {
		c.report.Find("pointer", "entry %d of the journal lies behind its end at %d", last, c.st.Journal.Last)
	}
	return err
}

// checkedUser is what the rows of a user add up to. It is compared with the queue and the pending-index row, which comes
// last.
type checkedUser struct {
	id      string
	key     []byte
	blocks  map[uint16]uint64 // fields with a pending attribute
	loose   map[uint32]uint32 // by field: attributes that the row says are queued
	waiting map[uint32]uint32 // by lane: pending changes
	rows    int
	indexed bool
}

// begin starts the next user.
func (c *recount) begin(id string, key []byte) {
	if u := &c.user; !u.indexed && len(u.waiting)+len(u.loose) > 0 {
		c.report.Find("pointer", "changes are pending for user %x, who has no pending index", u.key)
	}
	c.user = checkedUser{
		id: id, key: bytes.Clone(key),
		blocks: make(map[uint16]uint64), loose: make(map[uint32]uint32), waiting: make(map[uint32]uint32),
	}
}

// rows checks every user: the membership rows first, and then the pending-index row.
func (c *recount) rows() error {
	err := c.each(state.BucketRows, func(k, frame []byte) {
		c.report.Rows++
		id, rest, ok := state.UserOf(k)
		if !ok || len(rest) != 2 {
			c.report.Find("frame", "rows %x: not the key of a row", k)
			return
		}
		if key := k[:len(k)-2]; !bytes.Equal(key, c.user.key) {
			c.begin(id, key)
		}
		switch number := binary.BigEndian.Uint16(rest); number {
		case state.BlockIndex:
			c.pendingIndex(k, frame)
		case state.BlockConsent:
			if _, err := state.DecodeConsent(k, frame); err != nil {
				c.report.Find("frame", "rows %x: %v", k, err)
			}
		default:
			c.block(k, number, frame)
		}
	})
	c.begin("", nil)
	return err
}

func (c *recount) block(k []byte, number uint16, frame []byte) {
	if c.user.rows++; c.user.rows == 1 {
		c.report.Users++
	}
	row, err := state.DecodeBlock(k, frame, c.st.Epochs)
	if err != nil {
		c.report.Find("frame", "rows %x: %v", k, err)
		return
	}
	for _, e := range row.Entries {
		field := row.Field(e)
		if int64(field) >= int64(len(c.st.Registry.Fields)) {
			c.report.Find("members", "rows %x has field %d, which does not exist", k, field)
			continue
		}
		if c.st.Registry.Fields[field].Class != domain.ClassTrait && e.Newest().IsIn() {
			c.members[field]++
		}
		if e.Withheld {
			c.withheld[field]++
		}
		c.ticket(&e.Waiting, field)
		c.ticket(&e.InFlight, field)
		if e.Waiting.Pending() {
			c.user.blocks[number] |= 1 << e.Column
		}
		if !e.InFlight.ID.IsZero() && !c.st.IsInFlight(c.st.Registry.Fields[field].Endpoint(), c.user.id, e.InFlight.ID) {
			c.report.Find("pointer", "change %s is said to be in a request under way, and is in none", e.InFlight.ID)
		}
		if e.Loose > 0 {
			c.user.loose[field] = e.Loose
		}
	}
}

// ticket counts a pending attribute change, or follows one that is parked or held.
func (c *recount) ticket(t *state.Ticket, field uint32) {
	switch {
	case t.ID.IsZero():
	case t.Pending():
		c.report.Pending++
		c.located[0].add(state.IDKey(t.ID))
		c.user.waiting[t.Lane]++
	default:
		ch := c.follow(t.Place, state.IDKey(t.ID))
		if ch != nil && (ch.Field != field || ch.Loose || ch.User != c.user.id) {
			c.report.Find("pointer", "a row points at change %s, which is another's", t.ID)
		}
	}
}

// follow returns a parked or held change, and counts the pointer to it.
func (c *recount) follow(place byte, id []byte) *state.Stored {
	if place != state.PlaceParked && place != state.PlaceHeld {
		c.report.Find("pointer", "%x is said to be in place %d, which is none", id, place)
		return nil
	}
	p := keptPlaces[place-state.PlaceParked]
	frame := c.tx.Bucket(p.bucket).Get(id)
	if frame == nil {
		c.report.Find("pointer", "change %s is pointed at and is not among the %s", state.IDFromKey(id, c.st.Epochs), p.state)
		return nil
	}
	c.meant[place-state.PlaceParked].add(id)
	ch, err := state.DecodeChange(frame, c.st.Epochs)
	if err != nil {
		return nil // reported where it is
	}
	return ch
}

// pendingIndex compares the pending-index row of a user with the rows before it, the queue and the due index.
func (c *recount) pendingIndex(k, frame []byte) {
	u := &c.user
	u.indexed = true
	h, err := state.DecodeIndex(k, frame)
	if err != nil {
		c.report.Find("frame", "rows %x: %v", k, err)
		return
	}
	c.backlog.Move(domain.Backlog{}, h.Backlog())
	c.userQueue()
	if len(h.Blocks) != len(u.blocks) {
		c.report.Find("pointer", "pending index %x has attributes in %d rows, there are some in %d", k, len(h.Blocks), len(u.blocks))
	}
	for _, p := range h.Blocks {
		if u.blocks[p.Number] != p.Bits {
			c.report.Find("pointer", "pending index %x: in row %d the attributes %x are pending, the index says %x", k, p.Number, u.blocks[p.Number], p.Bits)
		}
	}
	counted := make(map[uint32]uint32)
	for i := range h.Endpoints {
		for _, l := range h.Endpoints[i].Lanes {
			counted[l.Number] += l.Count
		}
	}
	for lane, n := range u.waiting {
		if counted[lane] != n {
			c.report.Find("pointer", "pending index %x: %d changes are pending in lane %d, the index says %d", k, n, lane, counted[lane])
		}
		delete(counted, lane)
	}
	for lane, n := range counted {
		c.report.Find("pointer", "pending index %x says that %d changes are pending in lane %d, there are none", k, n, lane)
	}
	for _, s := range h.DuePlaces(nil) {
		c.due++
		if c.tx.Bucket(state.BucketDue).Get(s.Key(u.key)) == nil {
			c.report.Find("due", "pending index %x is due and the due index does not say so", k)
		}
	}
	if h.History != 0 && c.tx.Bucket(state.BucketHistory).Get(state.NumberKey(h.History)) == nil {
		c.report.Find("pointer", "pending index %x begins its history with entry %d, which is not there", k, h.History)
	}
	if h.Journal > c.st.Journal.Last {
		c.report.Find("pointer", "pending index %x begins its journal with entry %d, behind its end at %d", k, h.Journal, c.st.Journal.Last)
	}
}

// userQueue counts the entries of the user's queue, and compares the loose attributes in it with the rows.
func (c *recount) userQueue() {
	u := &c.user
	for _, key := range state.KeysWithPrefix(c.tx.Bucket(state.BucketQueue), u.key) {
		lane := binary.BigEndian.Uint32(key[len(u.key):])
		if lane == state.LaneParked || lane == state.LaneHeld {
			continue
		}
		c.queued++
		u.waiting[lane]++
		_, _, frame := state.ParseQueueValue(c.tx.Bucket(state.BucketQueue).Get(key))
		if ch, err := state.DecodeChange(frame, c.st.Epochs); err == nil && ch.Loose {
			if u.loose[ch.Field]--; u.loose[ch.Field] == 0 {
				delete(u.loose, ch.Field)
			}
		}
	}
	for field, n := range u.loose {
		c.report.Find("pointer", "user %x: the row of field %d and the queue differ by %d attributes", u.key, field, int32(n))
	}
	clear(u.loose)
}

// queue checks the pending events, and follows the pointers in the queues.
func (c *recount) queue() error {
	waiting := uint64(0)
	err := c.each(state.BucketQueue, func(k, v []byte) {
		c.report.Queued++
		user, rest, ok := state.UserOf(k)
		if !ok || len(rest) != 14 {
			c.report.Find("frame", "queue %x: not an entry of a queue", k)
			return
		}
		var ch *state.Stored
		switch lane := binary.BigEndian.Uint32(rest); lane {
		case state.LaneParked:
			ch = c.follow(state.PlaceParked, rest[4:])
		case state.LaneHeld:
			ch = c.follow(state.PlaceHeld, rest[4:])
		default:
			waiting++
			c.located[0].add(rest[4:])
			due, tried, frame := state.ParseQueueValue(v)
			var err error
			if ch, err = state.DecodeChange(frame, c.st.Epochs); err != nil {
				c.report.Find("frame", "queue %x: %v", k, err)
				return
			}
			if due > outbox.Second(ch.Received) && !ch.Loose || tried != (ch.Attempts > 0) {
				c.report.Find("frame", "queue %x: it is not due when its change says", k)
			}
			if ch.Kind == domain.KindDelete {
				c.deletes.Count(domain.StatePending, 1)
			}
			if ch.Lane != lane || ch.State != domain.StatePending {
				c.report.Find("pointer", "change %s is %s in lane %d, and stands in lane %d", ch.ID, ch.State, ch.Lane, lane)
			}
		}
		if ch != nil && (ch.User != user || !bytes.Equal(state.IDKey(ch.ID), rest[4:])) {
			c.report.Find("pointer", "the queue entry %x leads to change %s, which is another's", k, ch.ID)
		}
	})
	c.report.Pending += waiting
	c.equal("changes pending", c.st.Ledger.Changes.Pending, c.report.Pending)
	if waiting != c.queued {
		c.report.Find("pointer", "%d events are queued, the pending indexes lead to %d", waiting, c.queued)
	}
	for i, p := range keptPlaces {
		if c.there[i] != c.meant[i] {
			c.report.Find("pointer", "%d changes are %s, %d are pointed at, and they are not the same", c.there[i].n, p.state, c.meant[i].n)
		}
	}
	return err
}

// locator compares the index by id with the changes.
func (c *recount) locator() error {
	err := c.each(state.BucketLocator, func(k, v []byte) {
		c.located[1].add(k)
		if len(v) < 5 || v[0] != state.LocatedInRow && v[0] != state.LocatedInQueue {
			c.report.Find("frame", "locator %x: not the place of a change", k)
		}
	})
	if c.located[0] != c.located[1] {
		c.report.Find("pointer", "there are %d changes of users, the locator knows %d, and they are not the same", c.located[0].n, c.located[1].n)
	}
	return err
}

func (c *recount) dueIndex() error {
	err := c.each(state.BucketDue, func(k, _ []byte) { c.report.Due++ })
	if c.report.Due != c.due {
		c.report.Find("due", "the due index has %d entries, the pending indexes ask for %d", c.report.Due, c.due)
	}
	return err
}

func (c *recount) leases() error {
	return c.each(state.BucketLeases, func(k, frame []byte) {
		if _, err := state.DecodeLease(state.Number(k), frame, c.st.Epochs); err != nil {
			c.report.Find("frame", "lease %x: %v", k, err)
		}
	})
}

// rest checks the buckets that no other refers to.
func (c *recount) rest() error {
	stones := uint64(0)
	for bucket, f := range map[string]func(k, v []byte){
		string(state.BucketTombstones): func(k, v []byte) {
			if stones++; len(k) != 16 || !apply.IsStone(v) {
				c.report.Find("frame", "tombstones %x: not a tombstone", k)
			}
		},
		string(state.BucketSent): func(k, v []byte) {
			if len(k) != 8 || len(v) != 8 && len(v) != 12 && len(v) != 16 {
				c.report.Find("frame", "sent %x: not a second", k)
			}
		},
		string(state.BucketRuns): func(k, v []byte) {
			if !json.Valid(v) {
				c.report.Find("frame", "runs %s: not the record of a run", k)
			}
		},
		string(state.BucketSamples): func(k, frame []byte) {
			if _, err := query.DecodeSample(frame); err != nil || len(k) != 8 {
				c.report.Find("frame", "samples %x: not a sample", k)
			}
		},
		string(state.BucketVerdicts): func(k, v []byte) {
			if len(k) != 8 || len(v) == 0 || len(v) > state.VerdictsOf {
				c.report.Find("frame", "verdicts %x: not those of %d records", k, state.VerdictsOf)
			}
		},
		string(state.BucketDeletions): func(k, frame []byte) {
			if _, err := state.DecodeReceipt(k, frame, c.st.Epochs); err != nil {
				c.report.Find("frame", "deletions %x: %v", k, err)
			}
		},
		string(state.BucketLists): func(k, frame []byte) {
			if _, err := state.DecodeList(k, frame); err != nil {
				c.report.Find("frame", "lists %s: %v", k, err)
			}
		},
		string(state.BucketDamaged): func([]byte, []byte) { c.report.Damaged++ },
	} {
		if c.tx.Bucket([]byte(bucket)) == nil {
			continue // an older version wrote none
		}
		if err := c.each([]byte(bucket), f); err != nil {
			return err
		}
	}
	c.equal("tombstones", c.st.Ledger.Tombstones, stones)
	days := c.tx.Bucket(state.BucketMessages)
	return days.ForEach(func(day, _ []byte) error {
		return days.Inner(day).ForEach(func(k, v []byte) error {
			if len(k) != 16 {
				c.report.Find("frame", "messages %x: not a message id", k)
			}
			return c.step(k, v)
		})
	})
}

// ledger checks both laws of the ledger.
func (c *recount) ledger() {
	e, h := &c.st.Ledger.Events, &c.st.Ledger.Changes
	if !e.Balances() {
		c.report.Find("ledger", "%d events were accepted, their terms make %d", e.Accepted, e.Sum())
	}
	if !h.Balances() {
		c.report.Find("ledger", "%d changes were created, their terms make %d", h.Created, h.Sum())
	}
	c.equal("users", c.st.Ledger.Users, c.report.Users)
	c.equal("deletions pending", c.st.Deletes.Pending, c.deletes.Pending)
	c.equal("deletions held", c.st.Deletes.Held, c.deletes.Held)
	c.equal("deletions parked", c.st.Deletes.Parked, c.deletes.Parked)
	if c.st.Ledger.Uncounted {
		return
	}
	said, counted := c.st.Ledger.Backlog, c.backlog
	c.equal("users with pending changes", said.Users, counted.Users)
	c.equal("pending events", said.Events, counted.Events)
	c.equal("pending cohort members", said.Members, counted.Members)
}

// fields compares the counters of every computation with its rows.
func (c *recount) fields() {
	for _, f := range c.st.Registry.Fields {
		for _, x := range [...]struct {
			what  string
			said  uint64
			count map[uint32]uint64
		}{
			{"members", f.Members, c.members}, {"withheld", f.Withheld, c.withheld}, {"changes held by a rollout", f.Rollout, c.rollout},
			{"changes held by a pause", f.Paused, c.paused}, {"held changes", f.Held, c.held},
		} {
			if there := x.count[f.Number]; x.said != there {
				c.report.Find("members", "%q has %d %s by its counter, there are %d", f.Key, x.said, x.what, there)
			}
		}
	}
}
