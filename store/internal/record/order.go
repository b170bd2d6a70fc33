package record

import (
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// An Order is an operator's word about the memberships of one computation, as a record of the inbox:
// what it changes is then a function of the state and the record, like everything else. A command on
// millions of users is many of them, each about few enough to be applied between two events.
type Order struct {
	Verb     verb
	Received time.Time
	Time     time.Time // of what is said: an import's --as-of
	Events   bool      // events are queued, too
	Field    uint32
	Key      string // orderName: of the computation that should exist
	Words    []JobTarget
	IDs      []domain.ID // of changes: orderRelease and orderDiscard
	Other    uint32      // field: orderAdopt
}

// verb says what an order does. Numbers are on disk.
type verb uint8

const (
	OrderName      verb = 1  // the computation exists, if only by its key
	OrderImport    verb = 2  // who is a member, and who is not
	OrderBaseline  verb = 3  // the same, and MoEngage knows it
	OrderReconcile verb = 4  // say again what MoEngage should know of these users
	OrderClose     verb = 5  // these users are members no more
	OrderRelease   verb = 6  // exits that the guard holds may leave; without ids: from now on, none is held
	OrderDiscard   verb = 7  // they never were; likewise; with users: of these
	OrderAdopt     verb = 8  // what another computation knows of these users is this one's; without users: its id is, too
	OrderDiscarded verb = 9  // the discard has come to all who left
	OrderForget    verb = 10 // the computation is removed, if its last event is of the order's time
)

var verbNames = [...]string{"", "name", "import", "baseline", "reconcile", "close", "release", "discard", "adopt", "discarded", "forget"}

func (v verb) String() string {
	if int(v) < len(verbNames) {
		return verbNames[v]
	}
	return ""
}

// JobTarget is one user of an order.
type JobTarget struct {
	User string
	In   bool
}

const (
	// OrderWords bounds the users of one record; see perRecord.
	OrderWords = 512

	// orderWeight is how much more a byte of an order writes than one of an event: twenty bytes of a user
	// become a row, a place in the outbox and in three indexes. It keeps a batch at some thousand users.
	orderWeight = 64
)

// AppendOrder encodes o behind buf.
//
//	received, time, verb, events, field, key, words x (in, user), ids, of orderAdopt the other field
func AppendOrder(buf []byte, o *Order) []byte {
	start := len(buf)
	buf = append(buf, recordOrder)
	buf = wire.AppendTime(wire.AppendTime(buf, o.Received), o.Time)
	buf = append(buf, byte(o.Verb), BoolByte(o.Events))
	buf = wire.AppendUint(buf, uint64(o.Field))
	buf = wire.AppendString(buf, o.Key)
	buf = wire.AppendUint(buf, uint64(len(o.Words)))
	for i := range o.Words {
		buf = wire.AppendString(append(buf, BoolByte(o.Words[i].In)), o.Words[i].User)
	}
	buf = wire.AppendUint(buf, uint64(len(o.IDs)))
	for _, id := range o.IDs {
		buf = PutID(buf, id)
	}
	if o.Verb == OrderAdopt {
		buf = wire.AppendUint(buf, uint64(o.Other))
	}
	return wire.Seal(buf, start)
}

// readOrder reads one. The ids have no epoch yet: it is the store's.
func readOrder(r *wire.Reader) *Order {
	o := &Order{Received: r.Time(), Time: r.Time(), Verb: verb(r.Byte()), Events: r.Byte() == 1}
	o.Field = uint32(r.Uint())
	o.Key = r.Text()
	n := r.Uint()
	if n > uint64(r.Len()) {
		r.Fail()
		return o
	}
	o.Words = make([]JobTarget, n)
	for i := range o.Words {
		o.Words[i] = JobTarget{In: r.Byte() == 1, User: r.Text()}
	}
	for n := r.Uint(); n > 0 && r.OK(); n-- {
		o.IDs = append(o.IDs, ReadID(r, nil))
	}
	if o.Verb == OrderAdopt {
		o.Other = uint32(r.Uint())
	}
	return o
}
