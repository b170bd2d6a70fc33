package record

import (
	"encoding/json"
	"time"

	"personasync/store/internal/wire"
)

// A verification reads back from MoEngage what it was told. The store says whom and what it was told,
// keeps what came of it, and queues again what MoEngage does not hold.

// Told is one attribute of one user that MoEngage was told of, and should hold; or one entry of a list
// attribute.
type Told struct {
	User  string
	Name  string          // of the attribute, before AttributeName
	Value json.RawMessage // null: it should hold none
	Entry string          // unless "": Name is a list, and Value says whether this is in it

	Field uint32
}

// Repair is the record that has attributes sent again because MoEngage was found not to hold them.
//
//	received, attributes x (user, field)
type Repair struct {
	Received time.Time
	Missing  []Told // user and field only
}

// MaxRepair is how many attributes one Repair takes.
const MaxRepair = 10_000

func (r *Repair) Encode(buf []byte) []byte {
	start := len(buf)
	buf = wire.AppendTime(append(buf, recordRepair), r.Received)
	buf = wire.AppendUint(buf, uint64(len(r.Missing)))
	for i := range r.Missing {
		buf = wire.AppendUint(wire.AppendString(buf, r.Missing[i].User), uint64(r.Missing[i].Field))
	}
	return wire.Seal(buf, start)
}

func readRepair(r *wire.Reader) *Repair {
	rep := &Repair{Received: r.Time()}
	n := r.Uint()
	if n > uint64(r.Len()) || n > MaxRepair {
		r.Fail()
		return rep
	}
	for range n {
		rep.Missing = append(rep.Missing, Told{User: r.Text(), Field: uint32(r.Uint())})
	}
	return rep
}
