package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/boltfile"
	"personasync/store/internal/wire"
)

// A batch is one transaction on state.db. Decisions are made in inbox order on users held in memory;
// flush writes the users back, sorted by key, together with the ledger and the position they belong
// to. In a read-only transaction a batch can decide and is thrown away.
type batch struct {
	tx    *bolt.Tx
	st    *state
	log   *slog.Logger
	users map[string]*user
	order []*user         // the same, as they were first met
	moved map[*field]bool // fields to write back
	key   []byte          // see rowKey
	arena []byte          // see frame

	rows, queue, due, locator, parked, held, history *bolt.Bucket
	row                                              *bolt.Cursor // of rows, see get

	outcomes     []byte // verdicts on the records from firstOutcome on: see activity.go
	firstOutcome uint64
	parkings     []*stored // parked in this transaction, the first parkingsKept
	parkedAll    uint64    // how many that were

	now  time.Time // receipt of the record being applied
	bulk bool      // it is no event: its changes leave behind the live ones
	dry  bool      // decide, and write nothing
	woke [2]bool   // something became due that was not, by Endpoint - 1
	err  error     // the first write that failed; the transaction is lost

	aside     bool  // a damaged row or change was met
	outsiders int64 // records applied in this transaction that are no events

	tracing bool // a compaction wants to know what is written: see dirtyset.go
	touched []dirtyKey
	buckets map[*bolt.Bucket]dirtyKey // where the buckets met so far are
}

func newBatch(tx *bolt.Tx, st *state, log *slog.Logger) *batch {
	rows := tx.Bucket(bucketRows)
	return &batch{
		dry: !tx.Writable(),
		tx:  tx, st: st, log: log,
		users: make(map[string]*user), moved: make(map[*field]bool),
		rows: rows, row: rows.Cursor(), queue: tx.Bucket(bucketQueue), due: tx.Bucket(bucketDue),
		locator: tx.Bucket(bucketLocator), parked: tx.Bucket(bucketParked), held: tx.Bucket(bucketHeld), history: tx.Bucket(bucketHistory),
	}
}

// get is Bucket.Get by a cursor that is used again: bbolt makes one for every call, in four pieces, and
// a drain asks for two rows a user.
func get(c *bolt.Cursor, key []byte) []byte {
	if k, v := c.Seek(key); bytes.Equal(k, key) {
		return v
	}
	return nil
}

// user is one user within a batch: decoded once, changed in memory, written once.
type user struct {
	id     string
	key    []byte
	head   *head
	was    []stand        // where the user stood in the due index when loaded
	owed   domain.Backlog // what the user added to the backlog then
	blocks []*block       // as they were first wanted
	dirty  bool           // the head, and so perhaps the due index

	unread []rawRow // rows seen on the way to the head and not wanted yet
	whole  bool     // every row there is was seen
	rows   int      // membership rows on disk, if whole

	stood   [standsAtOnce]stand // memory of was and unread, for nearly everybody
	passing [rowsAtOnce]rawRow
}

// rawRow is a membership row as it is on disk.
type rawRow struct {
	number uint16
	frame  []byte // memory of the transaction
}

// changed reports whether anything of u is to be written back.
func (u *user) changed() bool {
	return u.dirty || slices.ContainsFunc(u.blocks, func(row *block) bool { return row.dirty })
}

func (b *batch) user(id string) *user {
	if u := b.users[id]; u != nil {
		return u
	}
	u := &user{id: id, key: userKey(id)}
	b.readRows(u)
	u.was, u.owed = u.head.stands(u.stood[:0]), u.head.backlog()
	b.users[id] = u
	b.order = append(b.order, u)
	return u
}

// rowsAtOnce is how many rows of a user are read on the way to the head. Nearly everybody has one, so
// that one descent of the tree finds all there is, or that there is nothing; a user in thousands of
// audiences has many, and then each is asked for by its key.
const rowsAtOnce = 4

// readRows finds the head of a user, and with it the membership rows unless they are many.
func (b *batch) readRows(u *user) {
	u.head, u.unread = new(head), u.passing[:0]
	k, frame := b.row.Seek(u.key)
	for ; bytes.HasPrefix(k, u.key); k, frame = b.row.Next() {
		if len(k) != len(u.key)+2 {
			b.contradiction("a key among the rows of a user that is none of theirs")
			u.unread = nil
			b.readHead(u, get(b.row, b.rowKey(u, blockHead)))
			return
		}
		number := binary.BigEndian.Uint16(k[len(u.key):])
		if number == blockHead {
			b.readHead(u, frame)
			break
		}
		if len(u.unread) == rowsAtOnce {
			u.unread = nil
			b.readHead(u, get(b.row, b.rowKey(u, blockHead)))
			return
		}
		u.unread = append(u.unread, rawRow{number, frame})
	}
	u.whole, u.rows = true, len(u.unread)
}

func (b *batch) readHead(u *user, frame []byte) {
	if frame == nil {
		return
	}
	h, err := decodeHead(b.rowKey(u, blockHead), frame)
	if err != nil {
		b.quarantine(bucketRows, rowKey(u.key, blockHead), frame, err)
		return
	}
	u.head = h
}

func rowKey(user []byte, number uint16) []byte {
	return binary.BigEndian.AppendUint16(append(make([]byte, 0, len(user)+2), user...), number)
}

// rowKey is rowKey in memory that is used again: bbolt keeps no key it is given.
func (b *batch) rowKey(u *user, number uint16) []byte {
	b.key = binary.BigEndian.AppendUint16(append(b.key[:0], u.key...), number)
	return b.key
}

// frame encodes a value into memory that lives as long as the transaction, which is as long as bbolt
// may refer to it.
func (b *batch) frame(encode func([]byte) []byte) []byte {
	if cap(b.arena)-len(b.arena) < arenaRoom {
		b.arena = make([]byte, 0, arenaSize)
	}
	start := len(b.arena)
	b.arena = encode(b.arena)
	return b.arena[start:len(b.arena):len(b.arena)]
}

const (
	arenaSize = 256 << 10
	arenaRoom = 4 << 10 // a frame that needs more moves to memory of its own
)

func (b *batch) block(u *user, number uint16) *block {
	for _, row := range u.blocks {
		if row.number == number {
			return row
		}
	}
	row := b.readBlock(u, number)
	if row == nil {
		row = &block{number: number}
	}
	u.blocks = append(u.blocks, row)
	return row
}

// readBlock returns a row as it is on disk, nil when there is none or a damaged one.
func (b *batch) readBlock(u *user, number uint16) *block {
	key, frame := b.rowKey(u, number), []byte(nil)
	if u.whole {
		i := slices.IndexFunc(u.unread, func(r rawRow) bool { return r.number == number })
		if i < 0 {
			return nil
		}
		frame = u.unread[i].frame
	} else if frame = get(b.row, key); frame == nil {
		return nil
	}
	row, err := decodeBlock(key, frame, b.st.epochs)
	if err != nil {
		b.quarantine(bucketRows, rowKey(u.key, number), frame, err)
		u.rows--
		return nil
	}
	return row
}

// entry returns what is kept of u and a field. Whoever changes it says so with write.
func (b *batch) entry(u *user, field uint32) *entry {
	return b.block(u, uint16(field/blockSize)).entry(uint8(field % blockSize))
}

// write has the row that holds a field written back.
func (b *batch) write(u *user, field uint32) {
	b.block(u, uint16(field/blockSize)).dirty = true
}

func (b *batch) touch(f *field) { b.moved[f] = true }

// put and remove write at once; the first failure spoils the batch. Everything is written through
// them, because a compaction copies what they touched.
func (b *batch) put(to *bolt.Bucket, key, value []byte) {
	if b.err == nil && !b.dry {
		b.note(to, key)
		b.err = to.Put(key, value)
	}
}

func (b *batch) remove(from *bolt.Bucket, key []byte) {
	if b.err == nil && !b.dry {
		b.note(from, key)
		b.err = from.Delete(key)
	}
}

// quarantine sets a damaged row aside, so that it harms nobody else and nothing is thrown away.
// The user counts as never seen: what comes next is sent again, which MoEngage can take.
func (b *batch) quarantine(bucket, key, frame []byte, cause error) {
	if errors.Is(cause, wire.ErrNewer) {
		b.meetNewer("an entry of " + string(bucket))
		return
	}
	b.log.Error("a damaged row was set aside; what hangs on it waits: start the agent again, which then reads the files and saves what can be saved",
		"bucket", string(bucket), "err", cause)
	b.st.ledger.damaged++
	b.aside = true
	if !b.tx.Writable() {
		return
	}
	b.put(b.tx.Bucket(bucketDamaged), slices.Concat(bucket, []byte{0}, key), bytes.Clone(frame))
	b.remove(b.tx.Bucket(bucket), key)
}

// meetNewer fails the transaction: something is whole, and another program's, and what it says must not be
// lost by a downgrade.
func (b *batch) meetNewer(what string) {
	if b.err == nil {
		b.err = fmt.Errorf("%w: %s is of a version that this program does not know: install the newer version again", wire.ErrNewer, what)
	}
}

// contradiction says that what is written does not go together, which only damage brings about: checksums
// hold what is read, and cannot miss what a damaged page hides. What hangs on it waits for the next start,
// which reads the files and recounts. It is said once.
func (b *batch) contradiction(found string) {
	if !b.tx.Writable() || b.st.contradicted || b.err != nil {
		return
	}
	b.log.Error("the state contradicts itself; what hangs on it waits: start the agent again, which then reads the files and saves what can be saved",
		"found", found)
	b.st.contradicted, b.aside = true, true
}

// nobodyIsDue reports whether the due index is empty. It is behind until flush.
func (b *batch) nobodyIsDue() bool {
	k, _ := b.due.Cursor().First()
	return k == nil
}

// flush writes everything back.
func (b *batch) flush() error {
	for i, u := range b.changedUsers() {
		yield(i)
		b.flushUser(u)
	}
	b.users, b.order = make(map[string]*user), nil
	b.flushVerdicts()
	fields := b.tx.Bucket(bucketFields)
	for f := range b.moved {
		b.put(fields, binary.BigEndian.AppendUint32(nil, f.number), f.encode(nil))
	}
	clear(b.moved)
	meta := b.tx.Bucket(bucketMeta)
	b.put(meta, metaLedger, b.st.ledger.encode())
	b.put(meta, metaApplied, numberKey(b.st.applied))
	b.put(meta, metaClosed, numberKey(b.st.closed))
	b.put(meta, boltfile.MetaSeal, boltfile.Sum(b.tx)) // last: it covers the others
	return b.err
}

// changedUsers returns those to be written back, by key.
func (b *batch) changedUsers() []*user {
	list := slices.DeleteFunc(b.order, func(u *user) bool { return !u.changed() })
	slices.SortFunc(list, func(x, y *user) int { return bytes.Compare(x.key, y.key) })
	return list
}

func (b *batch) flushUser(u *user) {
	b.flushBlocks(u)
	if !u.dirty {
		return
	}
	b.st.ledger.backlog.Move(u.owed, u.head.backlog())
	key := b.rowKey(u, blockHead)
	if frame := b.frame(func(buf []byte) []byte { return u.head.encode(buf, key) }); len(frame) > 0 {
		b.put(b.rows, key, frame)
	} else {
		b.remove(b.rows, key)
	}
	b.reindex(u)
}

func (b *batch) flushBlocks(u *user) {
	slices.SortFunc(u.blocks, func(x, y *block) int { return int(x.number) - int(y.number) })
	for _, row := range u.blocks {
		if !row.dirty {
			continue
		}
		key := b.rowKey(u, row.number)
		frame := b.frame(func(buf []byte) []byte { return row.encode(buf, key) })
		switch {
		case len(frame) > 0:
			if !row.stored && !b.hasRows(u) {
				b.st.ledger.users++
			}
			u.rows += int(boolByte(!row.stored))
			b.put(b.rows, key, frame)
		case row.stored:
			b.remove(b.rows, key)
			if u.rows--; !b.hasRows(u) {
				b.st.ledger.users--
			}
		}
	}
}

// hasRows reports whether any membership row of u is on disk.
func (b *batch) hasRows(u *user) bool {
	if u.whole {
		return u.rows > 0
	}
	k, _ := b.rows.Cursor().Seek(u.key)
	return bytes.HasPrefix(k, u.key) && len(k) == len(u.key)+2 && binary.BigEndian.Uint16(k[len(u.key):]) != blockHead
}

// reindex moves u in the due index from where it was to where its head says.
func (b *batch) reindex(u *user) {
	var room [4]stand
	now := u.head.stands(room[:0])
	for _, s := range u.was {
		if !slices.Contains(now, s) {
			b.removeDue(s, u.key)
		}
	}
	for _, s := range now {
		if !slices.Contains(u.was, s) {
			b.putDue(s, u.key)
			b.woke[s.endpoint-1] = true
		}
	}
}
