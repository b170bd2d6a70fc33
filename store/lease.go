package store

import (
	"personasync/store/domain"

	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/wire"
)

// lease is a request under way: who is on it, with which changes. It is a row of flights, written
// before the request leaves; one found at start is uncertain. Whoever is on a lease is not taken
// again on its endpoint until it has landed.
//
//	flights: number -> frame( endpoint, second, deliveries x (user, attributes x (field, id), queued (lane, id), loose) )
type lease struct {
	number   uint64
	endpoint domain.Endpoint
	second   uint64 // unix second in which it counts for the meters
	list     []leasedDelivery
}

// leasedDelivery is one delivery of a lease.
type leasedDelivery struct {
	user       string
	attributes []leasedChange // by field
	queued     leasedChange   // by lane; the zero id: none
	loose      bool           // what is queued leaves as an attribute
}

// leasedChange is one change: its id, and the field or the lane where it is found.
type leasedChange struct {
	number uint32
	id     domain.ID
}

const leaseVersion byte = 1

func (f *lease) encode() []byte {
	buf := []byte{leaseVersion, byte(f.endpoint)}
	buf = wire.AppendUint(wire.AppendUint(buf, f.second), uint64(len(f.list)))
	for i := range f.list {
		p := &f.list[i]
		buf = wire.AppendString(buf, p.user)
		buf = wire.AppendUint(buf, uint64(len(p.attributes)))
		for _, s := range p.attributes {
			buf = s.append(buf)
		}
		buf = append(p.queued.append(buf), boolByte(p.loose))
	}
	return wire.Seal(buf, 0)
}

func (s leasedChange) append(buf []byte) []byte {
	return putID(wire.AppendUint(buf, uint64(s.number)), s.id)
}

func readLeasedChange(r *wire.Reader, epoch epochs) leasedChange {
	return leasedChange{number: uint32(r.Uint()), id: readID(r, epoch)}
}

func decodeLease(number uint64, frame []byte, epoch epochs) (*lease, error) {
	r, err := wire.Unseal(frame, leaseVersion)
	if err != nil {
		return nil, err
	}
	f := &lease{number: number, endpoint: domain.Endpoint(r.Byte()), second: r.Uint()}
	for n := r.Uint(); n > 0 && r.OK(); n-- {
		p := leasedDelivery{user: r.Text()}
		for m := r.Uint(); m > 0 && r.OK(); m-- {
			p.attributes = append(p.attributes, readLeasedChange(&r, epoch))
		}
		p.queued, p.loose = readLeasedChange(&r, epoch), r.Byte() == 1
		f.list = append(f.list, p)
	}
	return f, r.Done()
}

// leaseKey is somebody on an endpoint's lease.
type leaseKey struct {
	endpoint domain.Endpoint
	user     string
}

// addLease notes who is on a lease.
func (st *state) addLease(f *lease) {
	st.leases[f.number] = f
	for i := range f.list {
		st.inFlight[leaseKey{f.endpoint, f.list[i].user}] = &f.list[i]
	}
}

func (st *state) endLease(f *lease) {
	delete(st.leases, f.number)
	for i := range f.list {
		delete(st.inFlight, leaseKey{f.endpoint, f.list[i].user})
	}
}

// isInFlight reports whether a change that is kept in a user's row is in a request under way.
func (st *state) isInFlight(endpoint domain.Endpoint, user string, id domain.ID) bool {
	p := st.inFlight[leaseKey{endpoint, user}]
	if p == nil {
		return false
	}
	for _, s := range p.attributes {
		if s.id == id {
			return true
		}
	}
	return false
}

// counts returns what a lease is for the meters: users and events, or a cohort request.
func (f *lease) counts() (s domain.SentSecond) {
	if f.endpoint == domain.EndpointCohort {
		return domain.SentSecond{Cohorts: 1}
	}
	for i := range f.list {
		p := &f.list[i]
		s.Users += int(boolByte(len(p.attributes) > 0 || p.loose))
		s.Events += int(boolByte(!p.queued.id.IsZero() && !p.loose))
	}
	return s
}

// loadLeases boards every lease there is. A damaged one is left to recover: whoever was on it is
// taken again.
func (st *state) loadLeases(tx *bolt.Tx) error {
	st.leases, st.inFlight, st.corruptLeases = make(map[uint64]*lease), make(map[leaseKey]*leasedDelivery), nil
	return tx.Bucket(bucketFlights).ForEach(func(k, frame []byte) error {
		if f, err := decodeLease(number(k), frame, st.epochs); err == nil {
			st.addLease(f)
		} else {
			st.corruptLeases = append(st.corruptLeases, number(k))
		}
		return nil
	})
}
