package record

import (
	"encoding/json"
	"time"

	"personasync/store/internal/wire"
)

// Told is one attribute of one user that MoEngage was sent and should hold, or one entry of a list attribute.
type Told struct {
	User  string
	Name  string          // of the attribute, before AttributeName
	Value json.RawMessage // null: it should hold none
	Entry string          // unless "": Name is a list, and Value says whether this is in it

	Field uint32
}

// Repair is the record that sends attributes again which a verification did not find in MoEngage.
//
//	received, attributes x (user, field)
type Repair struct {
	Received time.Time
	Missing  []Told // user and field only
}

// MaxRepair is how many attributes one record may have.
const MaxRepair = 10_000

// Encode appends the frame of the record.
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
