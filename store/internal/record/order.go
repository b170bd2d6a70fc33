package record

import (
	"time"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// An Order is an operator's statement about the memberships of one computation, as a record of the inbox. So its
// effect is a function of the state and the record, like that of an event. A command on millions of users is many
// records, each small enough to be applied between two events.
type Order struct {
	Verb     verb
	Received time.Time
	Time     time.Time // of the statement: an import's --as-of
	Events   bool      // events are queued as well
	Field    uint32
	Key      string // of OrderName: key of the computation that should exist
	Targets  []JobTarget
	IDs      []domain.ID // of changes, for OrderRelease and OrderDiscard
	Other    uint32      // field, for OrderAdopt
	By       string      // login of the operator; "": not known
}

// verb is the effect of an order.
type verb uint8

// The verbs of an order. Numbers are on disk.
const (
	OrderName      verb = 1  // the computation exists, if only by its key
	OrderImport    verb = 2  // users are members, or not
	OrderBaseline  verb = 3  // the same, and MoEngage has it already
	OrderReconcile verb = 4  // send again what MoEngage should know of the users
	OrderClose     verb = 5  // the users are no longer members
	OrderRelease   verb = 6  // held exits may leave; without ids: no more exits are held
	OrderDiscard   verb = 7  // held exits are void; without ids: no more are held; with users: readmit them
	OrderAdopt     verb = 8  // this computation takes over the users of another; without users: its id
	OrderDiscarded verb = 9  // the discard has reached all that left
	OrderForget    verb = 10 // the computation is removed, if its last event is of the order's time
	OrderCompare   verb = 11 // the next users are compared with the consent that the rules ask for
	OrderDelete    verb = 12 // the users are erased, and deleted at MoEngage
)

var verbNames = [...]string{"", "name", "import", "baseline", "reconcile", "close", "release", "discard", "adopt", "discarded", "forget", "consent", "delete"}

// String returns the verb as the command line has it, "" for an unknown one.
func (v verb) String() string {
	if int(v) < len(verbNames) {
		return verbNames[v]
	}
	return ""
}

// JobTarget is one user of an order, and whether they are a member.
type JobTarget struct {
	User string
	In   bool
}

const (
	// OrderTargets bounds the users of one record; see outbox.PerRecord.
	OrderTargets = 512

	// orderWeight is how much more a byte of an order writes than one of an event: twenty bytes of a user
	// become a row, a place in the outbox and in three indexes. It keeps a batch at some thousand users.
	orderWeight = 64
)

// AppendOrder appends the frame of o.
//
//	received, time, verb, events, field, key, users x (in, user), ids, for OrderAdopt the other field, and, under a kind of
//	its own, the operator
func AppendOrder(buf []byte, o *Order) []byte {
	start := len(buf)
	kind := recordOrder
	if o.By != "" {
		kind = recordOrderBy
	}
	buf = append(buf, kind)
	buf = wire.AppendTime(wire.AppendTime(buf, o.Received), o.Time)
	buf = append(buf, byte(o.Verb), BoolByte(o.Events))
	buf = wire.AppendUint(buf, uint64(o.Field))
	buf = wire.AppendString(buf, o.Key)
	buf = wire.AppendUint(buf, uint64(len(o.Targets)))
	for i := range o.Targets {
		buf = wire.AppendString(append(buf, BoolByte(o.Targets[i].In)), o.Targets[i].User)
	}
	buf = wire.AppendUint(buf, uint64(len(o.IDs)))
	for _, id := range o.IDs {
		buf = PutID(buf, id)
	}
	if o.Verb == OrderAdopt {
		buf = wire.AppendUint(buf, uint64(o.Other))
	}
	if o.By != "" {
		buf = wire.AppendString(buf, o.By)
	}
	return wire.Seal(buf, start)
}

// readOrder reads an order. Its ids have no epoch yet; apply sets it.
func readOrder(r *wire.Reader) *Order {
	o := &Order{Received: r.Time(), Time: r.Time(), Verb: verb(r.Byte()), Events: r.Byte() == 1}
	o.Field = uint32(r.Uint())
	o.Key = r.Text()
	n := r.Uint()
	if n > uint64(r.Len()) {
		r.Fail()
		return o
	}
	o.Targets = make([]JobTarget, n)
	for i := range o.Targets {
		o.Targets[i] = JobTarget{In: r.Byte() == 1, User: r.Text()}
	}
	for n := r.Uint(); n > 0 && r.OK(); n-- {
		o.IDs = append(o.IDs, ReadID(r, nil))
	}
	if o.Verb == OrderAdopt {
		o.Other = uint32(r.Uint())
	}
	return o
}
