package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
)

// Tx is one transaction on the state. Records are applied in inbox order to users in memory. Flush writes the users
// back, sorted by key, together with the ledger and the position in the inbox. Its many methods are the reads and writes of one bucket each; what
// decides is a function over a Tx, in the packages above.
type Tx struct {
	kv    engine.Tx
	State *State
	Log   *slog.Logger

	Buckets
	users   userSet
	moved   map[*Field]bool // fields to write
	journal journalTail
	memory
	outcomes
	NewlyParked
	Applying

	Dry   bool                   // decide without writing
	Woke  [domain.Endpoints]bool // a place in the due index was added, by Endpoint - 1
	Err   error                  // the first write that failed; the transaction is lost
	Aside bool                   // a corrupt row or change was found
}

// Buckets are those that most functions use. FORMAT.md describes them.
type Buckets struct {
	Rows, Queue, Due, Locator, Parked, Held, History engine.Bucket
	row                                              engine.Cursor // of Rows, see get
}

// userSet is the users that were read in a transaction, each decoded once.
type userSet struct {
	byID  map[string]*User
	order []*User // in the order of first use
}

// memory is reused within a transaction, and Arena by the next one.
type memory struct {
	key   []byte // of rowKey, dueKey and Locate
	Arena []byte // of Frame
}

// outcomes are those of the records applied in this transaction; see Tx.Verdict.
type outcomes struct {
	list  []byte
	first uint64 // record number of the first
}

// Applying is about the record that is being applied.
type Applying struct {
	Now    time.Time // its receipt
	Bulk   bool      // not an event: its changes leave after the live ones
	Others int64     // records other than events applied in this transaction
}

// NewTx returns a transaction that decides on st, and reads and writes kv. If kv is read-only it decides all the
// same, writes nothing, and is thrown away.
func NewTx(kv engine.Tx, st *State, log *slog.Logger) *Tx {
	rows := kv.Bucket(BucketRows)
	return &Tx{
		Dry: !kv.Writable(),
		kv:  kv, State: st, Log: log,
		users: userSet{byID: make(map[string]*User)}, moved: make(map[*Field]bool),
		Buckets: Buckets{Rows: rows, row: rows.Cursor(), Queue: kv.Bucket(BucketQueue), Due: kv.Bucket(BucketDue),
			Locator: kv.Bucket(BucketLocator), Parked: kv.Bucket(BucketParked), Held: kv.Bucket(BucketHeld), History: kv.Bucket(BucketHistory)},
	}
}

// Bucket returns a bucket of the state.
func (tx *Tx) Bucket(name []byte) engine.Bucket { return tx.kv.Bucket(name) }

// get is Bucket.Get with a cursor that is reused. bbolt allocates one for each Get, in four pieces, and a drain
// reads two rows a user.
func get(c engine.Cursor, key []byte) []byte {
	c.Within(key)
	if k, v := c.Seek(key); bytes.Equal(k, key) {
		return v
	}
	return nil
}

// User is one user within a transaction: decoded once, changed in memory, written once.
type User struct {
	ID     string
	Key    []byte
	Index  *PendingIndex
	WasDue []DuePlace     // places in the due index when read
	owed   domain.Backlog // their part of the backlog when read
	Blocks []*block       // in the order of first use
	Dirty  bool           // the pending index must be written, and perhaps the due index

	consent consentRow

	unread []rawRow // rows that were read and not decoded yet
	whole  bool     // unread had every row
	rows   int      // membership rows on disk, if whole

	journaled journalMark // of the newest transition that this transaction wrote to the journal

	room userRoom
}

// userRoom is memory of a User, enough for nearly every one: one allocation in place of ten.
type userRoom struct {
	key     [64]byte
	due     [placesAtOnce]DuePlace
	raw     [1]rawRow
	consent domain.Consent
	index   PendingIndex
	pending [1]pendingBlock
	lanes   [1]Lane
	blocks  [1]*block
	block   block
	entries [1]*Entry
	entry   Entry
}

// newIndex makes the pending index of u empty.
func (u *User) newIndex() {
	u.room.index = PendingIndex{Blocks: u.room.pending[:0]}
	u.Index = &u.room.index
	u.Index.Endpoint(domain.EndpointTransition).Lanes = u.room.lanes[:0]
}

// newBlock adds an empty membership row.
func (u *User) newBlock(number uint16) *block {
	row := &u.room.block
	if len(u.Blocks) == 0 {
		u.Blocks = u.room.blocks[:0]
		*row = block{Number: number, Entries: u.room.entries[:0], spare: &u.room.entry}
	} else {
		row = &block{Number: number}
	}
	u.Blocks = append(u.Blocks, row)
	return row
}

// rawRow is a membership row that is not decoded yet.
type rawRow struct {
	number uint16
	frame  []byte // memory of the transaction
}

// changed reports whether anything of u must be written.
func (u *User) changed() bool {
	return u.Dirty || u.consent.dirty || slices.ContainsFunc(u.Blocks, func(row *block) bool { return row.Dirty })
}

// User returns a user by id, read on first use. A user without rows has an empty index.
func (tx *Tx) User(id string) *User {
	if u := tx.users.byID[id]; u != nil {
		return u
	}
	u := &User{ID: id}
	u.Key = appendUserKey(u.room.key[:0], id)
	tx.readRows(u)
	u.WasDue, u.owed = u.Index.DuePlaces(u.room.due[:0]), u.Index.Backlog()
	tx.users.byID[id] = u
	tx.users.order = append(tx.users.order, u)
	return u
}

// rowsAtOnce is how many rows of a user are read on the way to the pending index. Nearly every user has one, so one
// descent of the tree finds all. A user in thousands of audiences has many, and each of theirs is read by its key.
const rowsAtOnce = 4

// Want has what begins with these prefixes read at once; see engine.Bucket.
func Want(b engine.Bucket, prefixes iter.Seq[[]byte]) { b.Want(engine.Beginning(prefixes)) }

// WantUsers has the rows of users read at once that are read otherwise one user after another; see engine.Bucket.
func (tx *Tx) WantUsers(ids iter.Seq[string]) {
	Want(tx.Rows, func(yield func([]byte) bool) {
		for id := range ids {
			if tx.users.byID[id] == nil && !yield(UserKey(id)) {
				return
			}
		}
	})
}

// readRows reads the pending index of a user, and the membership rows on the way if they are few.
func (tx *Tx) readRows(u *User) {
	u.newIndex()
	u.unread = u.room.raw[:0]
	tx.row.Within(u.Key)
	k, frame := tx.row.Seek(u.Key)
	for ; bytes.HasPrefix(k, u.Key); k, frame = tx.row.Next() {
		if len(k) != len(u.Key)+2 {
			tx.Contradiction("a key among the rows of a user that is not theirs")
			u.unread = nil
			tx.readIndex(u, get(tx.row, tx.rowKey(u, BlockIndex)))
			return
		}
		number := binary.BigEndian.Uint16(k[len(u.Key):])
		if number == BlockIndex {
			tx.readIndex(u, frame)
			break
		}
		if number == BlockConsent {
			u.consent.frame = frame
			continue
		}
		if len(u.unread) == rowsAtOnce {
			u.unread = nil
			tx.readIndex(u, get(tx.row, tx.rowKey(u, BlockIndex)))
			return
		}
		u.unread = append(u.unread, rawRow{number, frame})
	}
	u.whole, u.rows = true, len(u.unread)
}

// readIndex decodes the pending-index row of u, and quarantines a corrupt one.
func (tx *Tx) readIndex(u *User, frame []byte) {
	if frame == nil {
		return
	}
	if err := u.Index.decode(tx.rowKey(u, BlockIndex), frame); err != nil {
		u.newIndex()
		tx.Quarantine(BucketRows, RowKey(u.Key, BlockIndex), frame, err)
	}
}

// rowKey is RowKey in memory that is reused: bbolt keeps no key it is given.
func (tx *Tx) rowKey(u *User, number uint16) []byte {
	tx.key = binary.BigEndian.AppendUint16(append(tx.key[:0], u.Key...), number)
	return tx.key
}

// Frame encodes a value into memory that lives as long as the transaction, because bbolt refers to it until then.
func (tx *Tx) Frame(encode func([]byte) []byte) []byte {
	if cap(tx.Arena)-len(tx.Arena) < arenaRoom {
		tx.Arena = make([]byte, 0, arenaSize)
	}
	start := len(tx.Arena)
	tx.Arena = encode(tx.Arena)
	return tx.Arena[start:len(tx.Arena):len(tx.Arena)]
}

const (
	arenaSize = 256 << 10
	arenaRoom = 4 << 10 // a larger frame moves to memory of its own
)

// Block returns the membership row of u with a number, an empty one if there is none.
func (tx *Tx) Block(u *User, number uint16) *block {
	for _, row := range u.Blocks {
		if row.Number == number {
			return row
		}
	}
	row := u.newBlock(number)
	tx.readBlock(u, row)
	return row
}

// readBlock reads a row, which stays empty when there is none or it is corrupt.
func (tx *Tx) readBlock(u *User, row *block) {
	key, frame := tx.rowKey(u, row.Number), []byte(nil)
	if u.whole {
		i := slices.IndexFunc(u.unread, func(r rawRow) bool { return r.number == row.Number })
		if i < 0 {
			return
		}
		frame = u.unread[i].frame
	} else if frame = get(tx.row, key); frame == nil {
		return
	}
	if err := row.decode(key, frame, tx.State.Epochs); err != nil {
		*row = block{Number: row.Number}
		tx.Quarantine(BucketRows, RowKey(u.Key, row.Number), frame, err)
		u.rows--
	}
}

// BlockNumbers lists the membership rows of u in order, with those not written yet.
func BlockNumbers(tx *Tx, u *User) []uint16 {
	var numbers []uint16
	for _, row := range u.Blocks {
		numbers = append(numbers, row.Number)
	}
	if u.whole {
		for _, row := range u.unread {
			numbers = append(numbers, row.number)
		}
	} else {
		c := tx.Rows.Cursor()
		for k, _ := c.Seek(u.Key); bytes.HasPrefix(k, u.Key); k, _ = c.Next() {
			if number := binary.BigEndian.Uint16(k[len(u.Key):]); number < BlockConsent {
				numbers = append(numbers, number)
			}
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// Entry returns the entry of u and a field, to be read or changed. Call Write after a change.
func (tx *Tx) Entry(u *User, field uint32) *Entry {
	return tx.Block(u, uint16(field/BlockSize)).entry(uint8(field % BlockSize))
}

// Write has Flush write the row that holds a field.
func (tx *Tx) Write(u *User, field uint32) {
	tx.Block(u, uint16(field/BlockSize)).Dirty = true
}

// Touch has Flush write f.
func (tx *Tx) Touch(f *Field) { tx.moved[f] = true }

// Put writes at once. The first failure fails the transaction. Everything is written through Put and Remove, because
// a compaction copies the keys that they touched.
func (tx *Tx) Put(to engine.Bucket, key, value []byte) {
	if tx.Err == nil && !tx.Dry {
		tx.Err = to.Put(key, value)
	}
}

// Remove deletes at once, like Put.
func (tx *Tx) Remove(from engine.Bucket, key []byte) {
	if tx.Err == nil && !tx.Dry {
		tx.Err = from.Delete(key)
	}
}

// Quarantine moves a corrupt row to BucketDamaged, so that it stops nothing else and is not lost. The user counts as
// never seen: their next event is sent again, which MoEngage tolerates.
func (tx *Tx) Quarantine(bucket, key, frame []byte, cause error) {
	if errors.Is(cause, wire.ErrNewer) {
		tx.meetNewer("an entry of " + string(bucket))
		return
	}
	tx.Log.Error("a corrupt row was quarantined; the changes of its user wait: restart the agent, which then checks the files and salvages the rest",
		"bucket", string(bucket), "err", cause)
	tx.State.Ledger.Damaged++
	tx.Aside = true
	if tx.Dry {
		return
	}
	tx.Put(tx.Bucket(BucketDamaged), slices.Concat(bucket, []byte{0}, key), bytes.Clone(frame))
	tx.Remove(tx.Bucket(bucket), key)
}

// meetNewer fails the transaction, because a value of a newer version is intact and a downgrade must not lose it.
func (tx *Tx) meetNewer(what string) {
	if tx.Err == nil {
		tx.Err = fmt.Errorf("%w: %s is of a version that this program does not know: install the newer version again", wire.ErrNewer, what)
	}
}

// Contradiction logs, once, that rows disagree, which only corruption explains. Checksums protect each row, but
// cannot show a row that a corrupt page hides. The next start checks the files and recounts.
func (tx *Tx) Contradiction(found string) {
	if tx.Dry || tx.State.contradicted || tx.Err != nil {
		return
	}
	tx.Log.Error("rows of the state contradict each other; the changes they are about wait: restart the agent, which then checks the files and salvages the rest",
		"found", found)
	tx.State.contradicted, tx.Aside = true, true
}

// Flush writes everything back and returns the first error of the transaction.
func (tx *Tx) Flush() error {
	for i, u := range tx.changedUsers() {
		Yield(i)
		tx.flushUser(u)
	}
	tx.users = userSet{byID: make(map[string]*User)}
	tx.flushVerdicts()
	flushJournal(tx)
	fields := tx.Bucket(BucketFields)
	for f := range tx.moved {
		tx.Put(fields, binary.BigEndian.AppendUint32(nil, f.Number), f.Encode(nil))
	}
	clear(tx.moved)
	meta := tx.Bucket(BucketMeta)
	tx.Put(meta, MetaLedger, tx.State.Ledger.Encode())
	tx.Put(meta, MetaApplied, NumberKey(tx.State.Applied))
	tx.Put(meta, MetaClosed, NumberKey(tx.State.Closed))
	if tx.State.Journal != (journalPosition{}) {
		tx.Put(meta, MetaJournal, tx.State.Journal.encode())
	}
	return tx.Err
}

// changedUsers returns the users to write, sorted by key.
func (tx *Tx) changedUsers() []*User {
	list := slices.DeleteFunc(tx.users.order, func(u *User) bool { return !u.changed() })
	slices.SortFunc(list, func(x, y *User) int { return bytes.Compare(x.Key, y.Key) })
	return list
}

func (tx *Tx) flushUser(u *User) {
	tx.flushBlocks(u)
	tx.flushConsent(u)
	if !u.Dirty {
		return
	}
	tx.State.Ledger.Backlog.Move(u.owed, u.Index.Backlog())
	key := tx.rowKey(u, BlockIndex)
	if frame := tx.Frame(func(buf []byte) []byte { return u.Index.encode(buf, key) }); len(frame) > 0 {
		tx.Put(tx.Rows, key, frame)
	} else {
		tx.Remove(tx.Rows, key)
	}
	tx.Reindex(u)
}

func (tx *Tx) flushBlocks(u *User) {
	slices.SortFunc(u.Blocks, func(x, y *block) int { return int(x.Number) - int(y.Number) })
	for _, row := range u.Blocks {
		if !row.Dirty {
			continue
		}
		key := tx.rowKey(u, row.Number)
		frame := tx.Frame(func(buf []byte) []byte { return row.encode(buf, key) })
		switch {
		case len(frame) > 0:
			if !row.stored && !tx.hasRows(u) {
				tx.State.Ledger.Users++
			}
			u.rows += int(record.BoolByte(!row.stored))
			tx.Put(tx.Rows, key, frame)
		case row.stored:
			tx.Remove(tx.Rows, key)
			if u.rows--; !tx.hasRows(u) {
				tx.State.Ledger.Users--
			}
		}
	}
}

// hasRows reports whether any membership row of u is on disk.
func (tx *Tx) hasRows(u *User) bool {
	if u.whole {
		return u.rows > 0
	}
	k, _ := tx.Rows.Cursor().Seek(u.Key)
	return bytes.HasPrefix(k, u.Key) && len(k) == len(u.Key)+2 && binary.BigEndian.Uint16(k[len(u.Key):]) < BlockConsent
}

// Reindex moves u in the due index from the places at the last read to those of the pending index.
func (tx *Tx) Reindex(u *User) {
	var room [4]DuePlace
	now := u.Index.DuePlaces(room[:0])
	for _, s := range u.WasDue {
		if !slices.Contains(now, s) {
			tx.RemoveDue(s, u.Key)
		}
	}
	for _, s := range now {
		if !slices.Contains(u.WasDue, s) {
			tx.putDue(s, u.Key)
			tx.Woke[s.Endpoint-1] = true
		}
	}
}

// dueKey is DuePlace.Key in memory that is reused.
func (tx *Tx) dueKey(s DuePlace, user []byte) []byte {
	tx.key = appendDueKey(tx.key[:0], s.Endpoint, s.Lane, s.Second, user)
	return tx.key
}

// putDue and RemoveDue keep the due index and the state of its lanes together.
func (tx *Tx) putDue(s DuePlace, user []byte) {
	tx.Put(tx.Due, tx.dueKey(s, user), nil)
	lanes := tx.State.lanes[s.Endpoint-1]
	if lanes == nil {
		return
	}
	l := lanes[s.Lane]
	if l == nil {
		l = &laneState{First: NotYet}
		lanes[s.Lane] = l
	}
	l.First = min(l.First, s.Second)
	if s.Second != NotYet {
		l.Last = max(l.Last, s.Second)
	}
}

// RemoveDue deletes a place in the due index.
func (tx *Tx) RemoveDue(s DuePlace, user []byte) {
	tx.Remove(tx.Due, tx.dueKey(s, user))
	if l := tx.State.lanes[s.Endpoint-1][s.Lane]; l != nil && l.First == s.Second {
		l.Gone = true
	}
}

// FieldOf returns a field by its number, nil when there is none.
func (tx *Tx) FieldOf(number uint32) *Field {
	if int64(number) < int64(len(tx.State.Registry.Fields)) {
		return tx.State.Registry.Fields[number]
	}
	return nil
}

// NewField adds a field under the next number.
func (tx *Tx) NewField(f *Field) *Field {
	f = tx.State.Registry.add(f, &tx.State.Rules)
	tx.Touch(f)
	return f
}

// FieldBeside returns a column or target of computation f, and adds it on first use.
func FieldBeside(tx *Tx, f *Field, name string, class domain.Class) *Field {
	if known := tx.State.Registry.Beside(f, name); known != nil {
		return known
	}
	return tx.NewField(&Field{Space: f.Space, Key: f.Key, Column: name, ID: f.ID, Class: class})
}

// Targets returns the targets by which a policy sends computation f, besides its attribute.
func Targets(tx *Tx, f *Field, p *domain.Policy) (fields []*Field) {
	if p.Send.Has(domain.SendCohort) {
		fields = append(fields, FieldBeside(tx, f, CohortColumn, f.Class))
	}
	if p.Send.Has(domain.SendList) {
		fields = append(fields, FieldBeside(tx, f, ListColumn, f.Class))
	}
	return fields
}

// HeldOf returns the held changes of a computation, on all targets.
func HeldOf(tx *Tx, f *Field) uint64 { return SumHeld(tx.State.Registry.TargetFields(f)) }

// Yield gives up the processor in every 16th round of a long loop. A goroutine that does not yield keeps its
// processor for 10 ms, and acknowledgements wait behind it: with two processors that showed in their 99th
// percentile.
func Yield(i int) {
	if i%16 == 15 {
		runtime.Gosched()
	}
}
