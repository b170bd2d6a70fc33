package state

import (
	"bytes"
	"encoding/hex"
	"iter"
	"strings"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// The journal says when users entered and left audiences, why, and what became of the changes that this made. Entries are
// numbered from 1, in the order of applying, and stand in chunks, so that appending writes the last page alone:
//
//	journal: (number-1)/journalChunk (8) -> frame( base time in ms, base record, entry* )
//	entry:   head, distance to the user's entry before, record, ms, then
//	         of a transition  cause, ms from the event time to the receipt, field, user, message id or operator
//	         of an outcome    slot, kind of change and state, field, reason
//
// The pending-index row of a user has the number of their newest entry, and each entry leads to the one before. An outcome
// names its change by record and slot, and not its user, so it costs a dozen bytes: it is found on the way along the chain,
// before the transition that it belongs to.

// journalChunk is how many entries share a value. It is on disk. A chunk of some 700 bytes is small enough to be written
// again for each entry, and large enough that its key and its checksum do not matter.
const journalChunk = 16

const journalVersion byte = 1

// JournalEntry is one entry: a transition, or the outcome of a change if State is not 0. An erased one has no Head.
type JournalEntry struct {
	Number     uint64
	Erased     bool
	Transition domain.Transition // 0: an event that may repeat on purpose
	Moved      bool              // the membership changed
	Prev       uint64            // number of the user's entry before; 0: none
	Seq        uint64            // record
	At         time.Time         // receipt, or end of the change
	Field      uint32

	// Of a transition.
	Cause     domain.JournalCause
	EventTime time.Time
	User      string
	Text      string // message id of an event, login of an operator

	JournalOutcome
}

// JournalOutcome is how a change ended. It is zero in a transition.
type JournalOutcome struct {
	State  domain.State
	Kind   domain.Kind
	Slot   uint16
	Reason string
}

// Outcome reports whether e is the outcome of a change.
func (e *JournalEntry) Outcome() bool { return e.State != 0 }

// Bits of the head of an entry. The lower two are the transition.
const (
	headTransition = 3
	headMoved      = 1 << 2
	headOutcome    = 1 << 3
	headErased     = 1 << 4
)

// journalTail is the chunk that the transaction appends to.
type journalTail struct {
	chunk  *journalChunkData // nil until one is read or begun
	stored int               // bytes of its key and value on disk
	dirty  bool
}

// journalChunkData is one chunk in memory. Entries refer to the base, so that one can be erased without the others.
type journalChunkData struct {
	index   uint64
	baseAt  int64
	baseSeq uint64
	body    []byte
	count   int
}

func journalIndex(number uint64) uint64 { return (number - 1) / journalChunk }

// journals reports whether changes of a field are written to the journal: those of memberships are, and those of values
// not.
func journals(tx *Tx, f *Field) bool {
	return tx.State.Rules.Journal && f != nil && f.Class != domain.ClassTrait && !f.forwarded()
}

// NoteTransition writes to the journal why a user entered or left an audience, or why changes were made without that. Of
// the latter kind it writes one for each record and transition, however many changes there are.
func NoteTransition(tx *Tx, u *User, f *Field, e JournalEntry) {
	f = tx.State.Registry.ComputationOf(f)
	mark := journalMark{e.Seq, f.Number, e.Transition}
	if !journals(tx, f) || !e.Moved && u.journaled == mark {
		return
	}
	e.User, e.Field = u.ID, f.Number
	AppendJournal(tx, u, &e)
	u.journaled = mark
}

// journalMark says which transition an entry is of.
type journalMark struct {
	seq        uint64
	field      uint32
	transition domain.Transition
}

// FirstOfChunk returns the number of the first entry of a chunk, by its key; 1 without a key.
func FirstOfChunk(key []byte) uint64 { return Number(key)*journalChunk + 1 }

// AppendJournal adds an entry of user u. It sets its number and its place in the user's chain.
func AppendJournal(tx *Tx, u *User, e *JournalEntry) {
	position := &tx.State.Journal
	e.Number = position.Last + 1
	c := tx.journal.chunk
	switch index := journalIndex(e.Number); {
	case c != nil && c.index == index:
	case tx.Bucket(BucketJournal) == nil: // a file of an older version, on a full disk
		return
	case position.Last%journalChunk == 0:
		flushJournal(tx)
		c = &journalChunkData{index: index, baseAt: e.At.UnixMilli(), baseSeq: e.Seq, body: make([]byte, 0, journalChunk*80)}
		tx.journal = journalTail{chunk: c}
	default:
		if c = openChunk(tx, index); c == nil { // corrupt: the entries go on behind it
			position.Last = (index + 1) * journalChunk
			AppendJournal(tx, u, e)
			return
		}
	}
	e.Prev, u.Index.Journal = u.Index.Journal, e.Number
	u.Dirty = true
	c.body = e.encode(c.body, c)
	c.count++
	position.Last = e.Number
	tx.journal.dirty = true
}

// openChunk reads the chunk that the journal ends with, nil if it is corrupt.
func openChunk(tx *Tx, index uint64) *journalChunkData {
	key := NumberKey(index)
	frame := tx.Bucket(BucketJournal).Get(key)
	c, entries, err := decodeJournal(key, frame)
	if err != nil || uint64(len(entries)) != tx.State.Journal.Last-index*journalChunk {
		return nil
	}
	tx.journal = journalTail{chunk: c, stored: len(key) + len(frame)}
	return c
}

// flushJournal writes the chunk that was appended to.
func flushJournal(tx *Tx) {
	t := &tx.journal
	if !t.dirty {
		return
	}
	t.stored = putChunk(tx, t.chunk, t.stored)
	t.dirty = false
}

// putChunk writes a chunk whose key and value took so many bytes before, and returns how many they take.
func putChunk(tx *Tx, c *journalChunkData, before int) int {
	key := NumberKey(c.index)
	frame := tx.Frame(func(buf []byte) []byte {
		start := len(buf)
		buf = wire.AppendInt(append(buf, journalVersion), c.baseAt)
		buf = append(wire.AppendUint(buf, c.baseSeq), c.body...)
		return wire.SealKeyed(buf, start, key)
	})
	tx.Put(tx.Bucket(BucketJournal), key, frame)
	now := len(key) + len(frame)
	tx.State.Journal.Bytes += uint64(now) - uint64(before)
	return now
}

func (e *JournalEntry) encode(buf []byte, c *journalChunkData) []byte {
	if e.Erased {
		return append(buf, headErased)
	}
	head := byte(e.Transition) & headTransition
	if e.Moved {
		head |= headMoved
	}
	if e.Outcome() {
		head |= headOutcome
	}
	back := uint64(0)
	if e.Prev != 0 {
		back = e.Number - e.Prev
	}
	buf = wire.AppendUint(append(buf, head), back)
	buf = wire.AppendInt(buf, int64(e.Seq-c.baseSeq))
	buf = wire.AppendInt(buf, e.At.UnixMilli()-c.baseAt)
	if e.Outcome() {
		buf = wire.AppendUint(buf, uint64(e.Slot))
		buf = append(buf, byte(e.Kind)<<4|byte(e.State))
		return wire.AppendString(wire.AppendUint(buf, uint64(e.Field)), e.Reason)
	}
	buf = wire.AppendInt(append(buf, byte(e.Cause)), e.At.UnixMilli()-e.EventTime.UnixMilli())
	return appendName(appendName(wire.AppendUint(buf, uint64(e.Field)), e.User), e.Text)
}

// decodeJournal reads a chunk and its entries.
func decodeJournal(key, frame []byte) (*journalChunkData, []JournalEntry, error) {
	r, err := wire.UnsealKeyed(frame, journalVersion, key)
	if err != nil {
		return nil, nil, err
	}
	c := &journalChunkData{index: Number(key), baseAt: r.Int(), baseSeq: r.Uint()}
	c.body = bytes.Clone(r.Rest())
	entries := make([]JournalEntry, 0, journalChunk)
	for r.Len() > 0 && r.OK() && len(entries) < journalChunk {
		entries = append(entries, JournalEntry{Number: c.index*journalChunk + uint64(len(entries)) + 1})
		entries[len(entries)-1].read(&r, c)
	}
	c.count = len(entries)
	return c, entries, r.Done()
}

func (e *JournalEntry) read(r *wire.Reader, c *journalChunkData) {
	head := r.Byte()
	if e.Erased = head&headErased != 0; e.Erased {
		return
	}
	e.Transition, e.Moved = domain.Transition(head&headTransition), head&headMoved != 0
	if back := r.Uint(); back > 0 && back < e.Number {
		e.Prev = e.Number - back
	}
	e.Seq = c.baseSeq + uint64(r.Int())
	at := c.baseAt + r.Int()
	e.At = time.UnixMilli(at).UTC()
	if head&headOutcome != 0 {
		e.Slot = uint16(r.Uint())
		what := r.Byte()
		e.Kind, e.State = domain.Kind(what>>4), domain.State(what&15)
		e.Field, e.Reason = uint32(r.Uint()), r.Text()
		if e.State == 0 {
			r.Fail()
		}
		return
	}
	e.Cause = domain.JournalCause(r.Byte())
	e.EventTime = time.UnixMilli(at - r.Int()).UTC()
	e.Field, e.User, e.Text = uint32(r.Uint()), readName(r), readName(r)
}

// The forms of a name, in the lower two bits of its length. Numbers are on disk.
const (
	namePlain    = 0
	namePersonas = 1 // without the prefix of Segment's message ids
	nameUUID     = 2 // 16 bytes
)

const personasPrefix = "personas_"

// appendName appends an id, in half of its length if it is a UUID.
func appendName(buf []byte, s string) []byte {
	if id, ok := packUUID(s); ok {
		return append(wire.AppendUint(buf, 16<<2|nameUUID), id[:]...)
	}
	form := uint64(namePlain)
	if rest, ok := strings.CutPrefix(s, personasPrefix); ok {
		s, form = rest, namePersonas
	}
	return append(wire.AppendUint(buf, uint64(len(s))<<2|form), s...)
}

func readName(r *wire.Reader) string {
	n := r.Uint()
	raw := r.Take(n >> 2)
	switch {
	case n&3 == namePersonas:
		return personasPrefix + string(raw)
	case n&3 == nameUUID && len(raw) == 16:
		text := hex.EncodeToString(raw)
		return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
	case n&3 != namePlain:
		r.Fail()
	}
	return string(raw)
}

// packUUID reads a UUID as it is usually written, in lower case.
func packUUID(s string) (id [16]byte, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' || strings.ToLower(s) != s {
		return id, false
	}
	var digits [32]byte
	n := copy(digits[:], s[:8])
	n += copy(digits[n:], s[9:13])
	n += copy(digits[n:], s[14:18])
	n += copy(digits[n:], s[19:23])
	copy(digits[n:], s[24:])
	_, err := hex.Decode(id[:], digits[:])
	return id, err == nil
}

// WantJournal has the newest chunk of each of these users read at once; see engine.Bucket.
func WantJournal(tx *Tx, users iter.Seq[string]) {
	Want(tx.Bucket(BucketJournal), func(yield func([]byte) bool) {
		for id := range users {
			if n := tx.User(id).Index.Journal; n != 0 && !yield(NumberKey(journalIndex(n))) {
				return
			}
		}
	})
}

// JournalReader reads entries of the journal. It keeps the chunk that it read last, because neighbours are often wanted.
type JournalReader struct {
	tx      *Tx
	key     []byte
	entries []JournalEntry
}

// ReadJournal returns a reader of the journal, with what the transaction has appended.
func ReadJournal(tx *Tx) *JournalReader {
	flushJournal(tx)
	return &JournalReader{tx: tx}
}

// At returns the entry of a number, nil when it is not kept any more, is erased or is corrupt.
func (r *JournalReader) At(number uint64) *JournalEntry {
	bucket := r.tx.Bucket(BucketJournal)
	if number == 0 || bucket == nil {
		return nil
	}
	key := NumberKey(journalIndex(number))
	if !bytes.Equal(key, r.key) {
		_, entries, err := decodeJournal(key, bucket.Get(key))
		if err != nil {
			entries = nil
		}
		r.key, r.entries = key, entries
	}
	if i := (number - 1) % journalChunk; i < uint64(len(r.entries)) && !r.entries[i].Erased {
		return &r.entries[i]
	}
	return nil
}

// JournalChunk decodes a value of the bucket.
func JournalChunk(key, frame []byte) ([]JournalEntry, error) {
	_, entries, err := decodeJournal(key, frame)
	return entries, err
}

// JournalOwner returns the user whose chain an entry is in, "" if it or one before it is lost.
func JournalOwner(tx *Tx, number uint64) string {
	r := ReadJournal(tx)
	for e := r.At(number); e != nil; e = r.At(e.Prev) {
		if !e.Outcome() {
			return e.User
		}
	}
	return ""
}

// RecountJournal counts the bytes of the journal again, and has the next entry begin a chunk, unless the end is as it was.
func RecountJournal(tx *Tx) {
	p, last := &tx.State.Journal, uint64(0)
	p.Bytes = 0
	_ = tx.Bucket(BucketJournal).ForEach(func(k, frame []byte) error {
		p.Bytes += uint64(len(k) + len(frame))
		last = (Number(k) + 1) * journalChunk
		return nil
	})
	if last > p.Last && openChunk(tx, journalIndex(last)) == nil {
		p.Last = last
	}
}

// RewriteJournal changes the entries of one chunk in place. rewrite gets each that is not erased, and reports whether it
// changed it. A corrupt chunk is left alone.
func RewriteJournal(tx *Tx, index uint64, rewrite func(*JournalEntry) bool) {
	flushJournal(tx)
	key := NumberKey(index)
	frame := tx.Bucket(BucketJournal).Get(key)
	c, entries, err := decodeJournal(key, frame)
	if err != nil {
		return
	}
	changed := false
	c.body = c.body[:0]
	for i := range entries {
		e := &entries[i]
		changed = !e.Erased && rewrite(e) || changed
		c.body = e.encode(c.body, c)
	}
	if !changed {
		return
	}
	putChunk(tx, c, len(key)+len(frame))
	if t := &tx.journal; t.chunk != nil && t.chunk.index == index {
		*t = journalTail{} // read again
	}
}

// ForgetJournal erases every entry of a user, and returns how many transitions were among them.
func ForgetJournal(tx *Tx, u *User) (n uint64) {
	for number := u.Index.Journal; number != 0; {
		e := ReadJournal(tx).At(number)
		if e == nil {
			break
		}
		if !e.Outcome() {
			n++
		}
		prev := e.Prev
		RewriteJournal(tx, journalIndex(number), func(e *JournalEntry) bool {
			mine := e.Number == number
			e.Erased = e.Erased || mine
			return mine
		})
		number = prev
	}
	if u.Index.Journal != 0 {
		u.Index.Journal, u.Dirty = 0, true
	}
	return n
}

// RemoveChunk deletes a whole chunk, of which key and value are so many bytes.
func RemoveChunk(tx *Tx, key []byte, size int) {
	tx.State.Journal.Bytes -= uint64(size)
	tx.Remove(tx.Bucket(BucketJournal), key)
	if t := &tx.journal; t.chunk != nil && t.chunk.index == Number(key) {
		*t = journalTail{}
	}
}
