package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/engine"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
)

// Tx is one transaction on the state. Decisions are made in inbox order on users held in memory; Flush writes the
// users back, sorted by key, together with the ledger and the position in the inbox that they belong to.
type Tx struct {
	kv    engine.Tx
	State *State
	Log   *slog.Logger

	Buckets
	users userSet
	moved map[*Field]bool // fields to write back
	memory
	outcomes
	NewlyParked
	Applying

	Dry   bool    // decide, and write nothing
	Woke  [2]bool // something became due that was not, by Endpoint - 1
	Err   error   // the first write that failed; the transaction is lost
	Aside bool    // a damaged row or change was met
}

// Buckets are those that a decision reads and writes. FORMAT.md says what is in them.
type Buckets struct {
	Rows, Queue, Due, Locator, Parked, Held, History engine.Bucket
	row                                              engine.Cursor // of Rows, see get
}

// userSet is the users that were met in a transaction, each decoded once.
type userSet struct {
	byID  map[string]*User
	order []*User // as they were first met
}

// memory is used again and again within a transaction, and Arena by the next one.
type memory struct {
	key   []byte // see rowKey
	Arena []byte // see Frame
}

// outcomes are what became of the records applied in this transaction: see verdict.go.
type outcomes struct {
	list  []byte
	first uint64 // number of the record of the first
}

// Applying is about the record being applied.
type Applying struct {
	Now       time.Time // its receipt
	Bulk      bool      // it is no event: its changes leave behind the live ones
	Outsiders int64     // how many that are no events were applied in this transaction
}

// NewTx returns a transaction that decides on st, and reads and writes kv. If kv is read-only it can decide all
// the same, and is then thrown away.
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

// get is Bucket.Get by a cursor that is used again: bbolt makes one for every call, in four pieces, and
// a drain asks for two rows a user.
func get(c engine.Cursor, key []byte) []byte {
	if k, v := c.Seek(key); bytes.Equal(k, key) {
		return v
	}
	return nil
}

// User is one user within a batch: decoded once, changed in memory, written once.
type User struct {
	ID     string
	Key    []byte
	Index  *PendingIndex
	WasDue []DuePlace     // where the user stood in the due index when loaded
	owed   domain.Backlog // what the user added to the backlog then
	Blocks []*block       // as they were first wanted
	Dirty  bool           // the head, and so perhaps the due index

	unread []rawRow // rows seen on the way to the head and not wanted yet
	whole  bool     // every row there is was seen
	rows   int      // membership rows on disk, if whole

	dueRoom [placesAtOnce]DuePlace // memory of was and unread, for nearly everybody
	rowRoom [rowsAtOnce]rawRow
}

// rawRow is a membership row as it is on disk.
type rawRow struct {
	number uint16
	frame  []byte // memory of the transaction
}

// changed reports whether anything of u is to be written back.
func (u *User) changed() bool {
	return u.Dirty || slices.ContainsFunc(u.Blocks, func(row *block) bool { return row.Dirty })
}

func (tx *Tx) User(id string) *User {
	if u := tx.users.byID[id]; u != nil {
		return u
	}
	u := &User{ID: id, Key: UserKey(id)}
	tx.readRows(u)
	u.WasDue, u.owed = u.Index.DuePlaces(u.dueRoom[:0]), u.Index.Backlog()
	tx.users.byID[id] = u
	tx.users.order = append(tx.users.order, u)
	return u
}

// rowsAtOnce is how many rows of a user are read on the way to the head. Nearly everybody has one, so
// that one descent of the tree finds all there is, or that there is nothing; a user in thousands of
// audiences has many, and then each is asked for by its key.
const rowsAtOnce = 4

// readRows finds the head of a user, and with it the membership rows unless they are many.
func (tx *Tx) readRows(u *User) {
	u.Index, u.unread = new(PendingIndex), u.rowRoom[:0]
	k, frame := tx.row.Seek(u.Key)
	for ; bytes.HasPrefix(k, u.Key); k, frame = tx.row.Next() {
		if len(k) != len(u.Key)+2 {
			tx.Contradiction("a key among the rows of a user that is none of theirs")
			u.unread = nil
			tx.readIndex(u, get(tx.row, tx.rowKey(u, BlockIndex)))
			return
		}
		number := binary.BigEndian.Uint16(k[len(u.Key):])
		if number == BlockIndex {
			tx.readIndex(u, frame)
			break
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

func (tx *Tx) readIndex(u *User, frame []byte) {
	if frame == nil {
		return
	}
	h, err := DecodeIndex(tx.rowKey(u, BlockIndex), frame)
	if err != nil {
		tx.Quarantine(BucketRows, RowKey(u.Key, BlockIndex), frame, err)
		return
	}
	u.Index = h
}

// rowKey is rowKey in memory that is used again: bbolt keeps no key it is given.
func (tx *Tx) rowKey(u *User, number uint16) []byte {
	tx.key = binary.BigEndian.AppendUint16(append(tx.key[:0], u.Key...), number)
	return tx.key
}

// Frame encodes a value into memory that lives as long as the transaction, which is as long as bbolt
// may refer to it.
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
	arenaRoom = 4 << 10 // a frame that needs more moves to memory of its own
)

func (tx *Tx) Block(u *User, number uint16) *block {
	for _, row := range u.Blocks {
		if row.Number == number {
			return row
		}
	}
	row := tx.readBlock(u, number)
	if row == nil {
		row = &block{Number: number}
	}
	u.Blocks = append(u.Blocks, row)
	return row
}

// readBlock returns a row as it is on disk, nil when there is none or a damaged one.
func (tx *Tx) readBlock(u *User, number uint16) *block {
	key, frame := tx.rowKey(u, number), []byte(nil)
	if u.whole {
		i := slices.IndexFunc(u.unread, func(r rawRow) bool { return r.number == number })
		if i < 0 {
			return nil
		}
		frame = u.unread[i].frame
	} else if frame = get(tx.row, key); frame == nil {
		return nil
	}
	row, err := DecodeBlock(key, frame, tx.State.Epochs)
	if err != nil {
		tx.Quarantine(BucketRows, RowKey(u.Key, number), frame, err)
		u.rows--
		return nil
	}
	return row
}

// Entry returns what is kept of u and a field. Whoever changes it says so with write.
func (tx *Tx) Entry(u *User, field uint32) *Entry {
	return tx.Block(u, uint16(field/BlockSize)).entry(uint8(field % BlockSize))
}

// Write has the row that holds a field written back.
func (tx *Tx) Write(u *User, field uint32) {
	tx.Block(u, uint16(field/BlockSize)).Dirty = true
}

func (tx *Tx) Touch(f *Field) { tx.moved[f] = true }

// Put and remove write at once; the first failure spoils the batch. Everything is written through
// them, because a compaction copies what they touched.
func (tx *Tx) Put(to engine.Bucket, key, value []byte) {
	if tx.Err == nil && !tx.Dry {
		tx.Err = to.Put(key, value)
	}
}

func (tx *Tx) Remove(from engine.Bucket, key []byte) {
	if tx.Err == nil && !tx.Dry {
		tx.Err = from.Delete(key)
	}
}

// Quarantine sets a damaged row aside, so that it harms nobody else and nothing is thrown away.
// The user counts as never seen: what comes next is sent again, which MoEngage can take.
func (tx *Tx) Quarantine(bucket, key, frame []byte, cause error) {
	if errors.Is(cause, wire.ErrNewer) {
		tx.meetNewer("an entry of " + string(bucket))
		return
	}
	tx.Log.Error("a damaged row was set aside; what hangs on it waits: start the agent again, which then reads the files and saves what can be saved",
		"bucket", string(bucket), "err", cause)
	tx.State.Ledger.Damaged++
	tx.Aside = true
	if tx.Dry {
		return
	}
	tx.Put(tx.Bucket(BucketDamaged), slices.Concat(bucket, []byte{0}, key), bytes.Clone(frame))
	tx.Remove(tx.Bucket(bucket), key)
}

// meetNewer fails the transaction: something is whole, and another program's, and what it says must not be
// lost by a downgrade.
func (tx *Tx) meetNewer(what string) {
	if tx.Err == nil {
		tx.Err = fmt.Errorf("%w: %s is of a version that this program does not know: install the newer version again", wire.ErrNewer, what)
	}
}

// Contradiction says that what is written does not go together, which only damage brings about: checksums
// hold what is read, and cannot miss what a damaged page hides. What hangs on it waits for the next start,
// which reads the files and recounts. It is said once.
func (tx *Tx) Contradiction(found string) {
	if tx.Dry || tx.State.contradicted || tx.Err != nil {
		return
	}
	tx.Log.Error("the state contradicts itself; what hangs on it waits: start the agent again, which then reads the files and saves what can be saved",
		"found", found)
	tx.State.contradicted, tx.Aside = true, true
}

// Flush writes everything back.
func (tx *Tx) Flush() error {
	for i, u := range tx.changedUsers() {
		Yield(i)
		tx.flushUser(u)
	}
	tx.users = userSet{byID: make(map[string]*User)}
	tx.flushVerdicts()
	fields := tx.Bucket(BucketFields)
	for f := range tx.moved {
		tx.Put(fields, binary.BigEndian.AppendUint32(nil, f.Number), f.Encode(nil))
	}
	clear(tx.moved)
	meta := tx.Bucket(BucketMeta)
	tx.Put(meta, MetaLedger, tx.State.Ledger.Encode())
	tx.Put(meta, MetaApplied, NumberKey(tx.State.Applied))
	tx.Put(meta, MetaClosed, NumberKey(tx.State.Closed))
	return tx.Err
}

// changedUsers returns those to be written back, by key.
func (tx *Tx) changedUsers() []*User {
	list := slices.DeleteFunc(tx.users.order, func(u *User) bool { return !u.changed() })
	slices.SortFunc(list, func(x, y *User) int { return bytes.Compare(x.Key, y.Key) })
	return list
}

func (tx *Tx) flushUser(u *User) {
	tx.flushBlocks(u)
	if !u.Dirty {
		return
	}
	tx.State.Ledger.Backlog.Move(u.owed, u.Index.Backlog())
	key := tx.rowKey(u, BlockIndex)
	if frame := tx.Frame(func(buf []byte) []byte { return u.Index.Encode(buf, key) }); len(frame) > 0 {
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
		frame := tx.Frame(func(buf []byte) []byte { return row.Encode(buf, key) })
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
	return bytes.HasPrefix(k, u.Key) && len(k) == len(u.Key)+2 && binary.BigEndian.Uint16(k[len(u.Key):]) != BlockIndex
}

// Reindex moves u in the due index from where it was to where its head says.
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

// dueKey is stand.key in memory that is used again.
func (tx *Tx) dueKey(s DuePlace, user []byte) []byte {
	tx.key = appendDueKey(tx.key[:0], s.Endpoint, s.Lane, s.Second, user)
	return tx.key
}

// putDue and removeDue keep the due index and what is known of its lanes together.
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

func (tx *Tx) RemoveDue(s DuePlace, user []byte) {
	tx.Remove(tx.Due, tx.dueKey(s, user))
	if l := tx.State.lanes[s.Endpoint-1][s.Lane]; l != nil && l.First == s.Second {
		l.Gone = true
	}
}

func (tx *Tx) FieldOf(number uint32) *Field {
	if int64(number) < int64(len(tx.State.Registry.Fields)) {
		return tx.State.Registry.Fields[number]
	}
	return nil
}

// NewField adds a field, under the next number.
func (tx *Tx) NewField(f *Field) *Field {
	f = tx.State.Registry.add(f, &tx.State.Rules)
	tx.Touch(f)
	return f
}

// FieldBeside finds or adds a field of computation f.
func FieldBeside(tx *Tx, f *Field, name string, class domain.Class) *Field {
	if known := tx.State.Registry.Beside(f, name); known != nil {
		return known
	}
	return tx.NewField(&Field{Space: f.Space, Key: f.Key, Column: name, ID: f.ID, Class: class})
}

// Targets returns the fields by which computation f tells its membership besides its attribute.
func Targets(tx *Tx, f *Field, p *domain.Policy) (fields []*Field) {
	if p.Send.Has(domain.SendCohort) {
		fields = append(fields, FieldBeside(tx, f, CohortColumn, f.Class))
	}
	if p.Send.Has(domain.SendList) {
		fields = append(fields, FieldBeside(tx, f, ListColumn, f.Class))
	}
	return fields
}

// HeldOf counts what is held of a computation, on all targets.
func HeldOf(tx *Tx, f *Field) uint64 { return SumHeld(tx.State.Registry.TargetFields(f)) }
