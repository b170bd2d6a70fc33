package state

import (
	"personasync/store/domain"
	"personasync/store/internal/record"
	"personasync/store/internal/wire"
)

// Lease is the users and changes that a sender has taken. Its row is written before the request leaves, so one
// that is found at the start is uncertain. A user in it is not leased again on its endpoint until it is settled.
//
//	flights: number -> frame( endpoint, second, users x (user, attributes x (field, id), queued (lane, id), loose) )
type Lease struct {
	Number   uint64
	Endpoint domain.Endpoint
	Second   uint64 // unix second in which it counts against the rate limits
	List     []LeasedUser
}

// LeasedUser is one user of a lease.
type LeasedUser struct {
	User       string
	Attributes []LeasedChange // by field
	Queued     LeasedChange   // by lane; zero id: none
	Loose      bool           // the queued change leaves as an attribute
}

// LeasedChange is one change of a lease: its id, and the field or the lane where it is found.
type LeasedChange struct {
	Number uint32
	ID     domain.ID
}

const leaseVersion byte = 1

// encode returns the frame of a lease.
func (l *Lease) Encode() []byte {
	buf := []byte{leaseVersion, byte(l.Endpoint)}
	buf = wire.AppendUint(wire.AppendUint(buf, l.Second), uint64(len(l.List)))
	for i := range l.List {
		p := &l.List[i]
		buf = wire.AppendString(buf, p.User)
		buf = wire.AppendUint(buf, uint64(len(p.Attributes)))
		for _, s := range p.Attributes {
			buf = s.append(buf)
		}
		buf = append(p.Queued.append(buf), record.BoolByte(p.Loose))
	}
	return wire.Seal(buf, 0)
}

func (s LeasedChange) append(buf []byte) []byte {
	return record.PutID(wire.AppendUint(buf, uint64(s.Number)), s.ID)
}

func readLeasedChange(r *wire.Reader, epoch record.Epochs) LeasedChange {
	return LeasedChange{Number: uint32(r.Uint()), ID: record.ReadID(r, epoch)}
}

// DecodeLease reads a lease. Its number is the key of the row.
func DecodeLease(number uint64, frame []byte, epoch record.Epochs) (*Lease, error) {
	r, err := wire.Unseal(frame, leaseVersion)
	if err != nil {
		return nil, err
	}
	f := &Lease{Number: number, Endpoint: domain.Endpoint(r.Byte()), Second: r.Uint()}
	for n := r.Uint(); n > 0 && r.OK(); n-- {
		p := LeasedUser{User: r.Text()}
		for m := r.Uint(); m > 0 && r.OK(); m-- {
			p.Attributes = append(p.Attributes, readLeasedChange(&r, epoch))
		}
		p.Queued, p.Loose = readLeasedChange(&r, epoch), r.Byte() == 1
		f.List = append(f.List, p)
	}
	return f, r.Done()
}

// LeaseKey is a user on an endpoint: at most one lease has them.
type LeaseKey struct {
	Endpoint domain.Endpoint
	User     string
}

// Counts returns what a lease uses up of the rate limits: users and events, one cohort request, or deletes.
func (l *Lease) Counts() (s domain.SentSecond) {
	switch l.Endpoint {
	case domain.EndpointCohort:
		return domain.SentSecond{Cohorts: 1}
	case domain.EndpointDelete:
		return domain.SentSecond{Deletes: len(l.List)}
	}
	for i := range l.List {
		p := &l.List[i]
		s.Users += int(record.BoolByte(len(p.Attributes) > 0 || p.Loose))
		s.Events += int(record.BoolByte(!p.Queued.ID.IsZero() && !p.Loose))
	}
	return s
}
