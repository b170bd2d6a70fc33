package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"
)

// applyDelete erases a user on Segment's word, once. Segment tells one deletion once for each source, and may
// deliver each again; a replay may come years later. What was acknowledged since must survive that. So a
// deletion of a time up to which the user is erased already erases nothing, for as long as the tombstone is
// kept, which is for ever. The time in Segment's own deletes is all that tells two of them apart. One that
// bears none is known by its message id, or its body, for as long as message ids are remembered: after that
// it counts as a new one, because a person's wish to be erased must not be passed over.
func (b *batch) applyDelete(c *cause, park func(reason, sentence string) domain.Outcome) domain.Outcome {
	e := c.event
	if b.st.rules.OnDelete == "ignore" {
		return domain.OutcomeIgnored
	}
	id := cmp.Or(e.User.ID, e.Anonymous.ID)
	if id == "" || len(id) > domain.MaxUserID {
		return park("no_identifier", "a delete that names nobody cannot be carried out")
	}
	if b.forgotten(id, e.Time, b.believable(c)) {
		return domain.OutcomeStale
	}
	if !b.remember(e, tombstone(b.st.salt, id+"\x00"+e.MessageID)) {
		return domain.OutcomeDuplicate
	}
	b.forget(b.user(id), e.Received)
	return domain.OutcomeIgnored
}

// forget erases everything of a user from the state and leaves a tombstone, so that what Segment
// delivers late does not bring the user back. The bytes stay in free pages until the file is
// compacted.
//
// Beside its time the tombstone keeps the latest that was known of the user and heard of their computations, if
// that is later: a clock that is behind would let in news from before. It is not in its place: that may be
// the word of a clock that was ahead.
func (b *batch) forget(u *user, at time.Time) {
	heard := b.heardUpTo(u)
	b.forgetRows(u)
	b.forgetQueue(u)
	b.forgetHistory(u)
	b.forgetDamaged(u)
	b.markErase(at)
	u.head = new(head)
	u.dirty = true
	key := tombstone(b.st.salt, u.id)
	stones := b.tx.Bucket(bucketTombstones)
	was := stones.Get(key)
	if was == nil {
		b.st.ledger.tombstones++
	}
	b.put(stones, key, setStone(at.UnixNano(), append(stoneTimes(was), heard)))
}

// heardUpTo is the time of the newest word of u, or of the last event of a computation that has one.
func (b *batch) heardUpTo(u *user) (last int64) {
	for _, number := range b.blockNumbers(u) {
		row := b.block(u, number)
		for _, e := range row.entries {
			if s := e.newest(); s != nil {
				last = max(last, s.Time)
			}
			if f := b.fieldOf(row.field(e)); f != nil && !f.lastEvent.IsZero() {
				last = max(last, f.lastEvent.UnixNano())
			}
		}
	}
	return last
}

func (b *batch) forgetRows(u *user) {
	for _, number := range b.blockNumbers(u) {
		row := b.block(u, number)
		for _, e := range row.entries {
			f := b.fieldOf(row.field(e))
			if f != nil && f.class != domain.ClassTrait && e.newest().IsIn() {
				f.leave()
				b.touch(f)
			}
			b.forgetTicket(&e.waiting)
			b.forgetTicket(&e.inFlight)
		}
		row.entries = nil
		row.dirty = true
	}
}

// blockNumbers lists the rows of u in order, those not yet written included.
func (b *batch) blockNumbers(u *user) []uint16 {
	var numbers []uint16
	for _, row := range u.blocks {
		numbers = append(numbers, row.number)
	}
	c := b.rows.Cursor()
	for k, _ := c.Seek(u.key); bytes.HasPrefix(k, u.key); k, _ = c.Next() {
		if number := binary.BigEndian.Uint16(k[len(u.key):]); number != blockHead {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

func (b *batch) forgetQueue(u *user) {
	for _, key := range keysWithPrefix(b.queue, u.key) {
		lane := binary.BigEndian.Uint32(key[len(u.key):])
		id := idFromKey(key[len(u.key)+4:], b.st.epochs)
		switch lane {
		case laneParked:
			b.forgetKept(b.parked, id)
		case laneHeld:
			b.forgetKept(b.held, id)
		default:
			b.forgetPending(id)
		}
		b.remove(b.queue, key)
	}
}

// keysWithPrefix copies the keys first, because deleting moves a cursor.
func keysWithPrefix(bucket *bolt.Bucket, prefix []byte) (keys [][]byte) {
	c := bucket.Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	return keys
}

func (b *batch) forgetTicket(t *ticket) {
	switch {
	case t.id.IsZero():
	case t.place == placeParked:
		b.forgetKept(b.parked, t.id)
	case t.place == placeHeld:
		b.forgetKept(b.held, t.id)
	default:
		b.forgetPending(t.id)
	}
}

func (b *batch) forgetPending(id domain.ID) {
	b.remove(b.locator, idKey(id))
	b.st.ledger.changes.Pending--
	b.st.ledger.changes.Forgotten++
}

// forgetKept erases a change that is parked or held.
func (b *batch) forgetKept(place *bolt.Bucket, id domain.ID) {
	ch := b.fetch(place, idKey(id))
	if ch == nil {
		return
	}
	b.withdraw(ch)
	b.remove(b.locator, idKey(id))
	if ch.Kind == domain.KindReceived {
		b.st.ledger.events.Discarded++
		return
	}
	b.st.ledger.changes.Forgotten++
}

func (b *batch) forgetHistory(u *user) {
	for n := u.head.history; n != 0; {
		ch := b.fetch(b.history, numberKey(n))
		if ch == nil {
			return
		}
		b.remove(b.history, numberKey(n))
		b.remove(b.locator, idKey(ch.ID))
		n = ch.prev
	}
}

// tombstone is what stays of a forgotten user: a salted hash, and the time.
func tombstone(salt []byte, id string) []byte {
	sum := sha256.Sum256(slices.Concat(salt, []byte(id)))
	return sum[:16]
}

// maxStone bounds the times of a tombstone.
const maxStone = 3

// setStone is a tombstone of a time, and of the first and the last of others that are later.
func setStone(at int64, others []int64) []byte {
	others = slices.DeleteFunc(others, func(t int64) bool { return t <= at })
	slices.Sort(others)
	if others = slices.Compact(others); len(others) >= maxStone {
		others = []int64{others[0], others[len(others)-1]}
	}
	stone := numberKey(uint64(at))
	for _, t := range others {
		stone = binary.BigEndian.AppendUint64(stone, uint64(t))
	}
	return stone
}

// isStone reports whether v can be a tombstone.
func isStone(v []byte) bool { return len(v) > 0 && len(v)%8 == 0 && len(v) <= 8*maxStone }

// stoneTimes are the times up to which a tombstone ignores events: one, or a few.
func stoneTimes(v []byte) (times []int64) {
	for ; len(v) >= 8; v = v[8:] {
		times = append(times, int64(binary.BigEndian.Uint64(v)))
	}
	return times
}

// forgotten reports whether an event is from before its user was forgotten. A time from beyond believable was
// written under a clock that was ahead; it ignores nothing.
func (b *batch) forgotten(id string, at time.Time, believable int64) bool {
	if b.st.ledger.tombstones == 0 {
		return false
	}
	return buriedBy(b.tx.Bucket(bucketTombstones).Get(tombstone(b.st.salt, id)), at.UnixNano(), believable)
}

// buriedBy is forgotten by the user's tombstone.
func buriedBy(stone []byte, at, believable int64) bool {
	return slices.ContainsFunc(stoneTimes(stone), func(t int64) bool { return t <= believable && at <= t })
}
