package store

import (
	bolt "go.etcd.io/bbolt"

	"personasync/store/internal/wire"
)

// flight is a request under way: who is on it, with which changes. It is a row of flights, written
// before the request leaves; one found at start is uncertain. Whoever is on a flight is not taken
// again on its road until it has landed.
//
//	flights: number -> frame( road, second, deliveries x (user, attributes x (field, id), queued (lane, id), loose) )
type flight struct {
	number uint64
	road   Road
	second uint64 // unix second in which it counts for the meters
	list   []boarding
}

// boarding is one delivery of a flight.
type boarding struct {
	user       string
	attributes []seat // by field
	queued     seat   // by lane; the zero id: none
	loose      bool   // what is queued leaves as an attribute
}

// seat is one change: its id, and the field or the lane where it is found.
type seat struct {
	number uint32
	id     ID
}

const flightVersion byte = 1

func (f *flight) encode() []byte {
	buf := []byte{flightVersion, byte(f.road)}
	buf = wire.AppendUint(wire.AppendUint(buf, f.second), uint64(len(f.list)))
	for i := range f.list {
		p := &f.list[i]
		buf = wire.AppendString(buf, p.user)
		buf = wire.AppendUint(buf, uint64(len(p.attributes)))
		for _, s := range p.attributes {
			buf = s.encode(buf)
		}
		buf = append(p.queued.encode(buf), boolByte(p.loose))
	}
	return wire.Seal(buf, 0)
}

func (s seat) encode(buf []byte) []byte { return putID(wire.AppendUint(buf, uint64(s.number)), s.id) }

func readSeat(r *wire.Reader, epoch epochs) seat {
	return seat{number: uint32(r.Uint()), id: readID(r, epoch)}
}

func decodeFlight(number uint64, frame []byte, epoch epochs) (*flight, error) {
	r, err := wire.Unseal(frame, flightVersion)
	if err != nil {
		return nil, err
	}
	f := &flight{number: number, road: Road(r.Byte()), second: r.Uint()}
	for n := r.Uint(); n > 0 && r.OK(); n-- {
		p := boarding{user: r.Text()}
		for m := r.Uint(); m > 0 && r.OK(); m-- {
			p.attributes = append(p.attributes, readSeat(&r, epoch))
		}
		p.queued, p.loose = readSeat(&r, epoch), r.Byte() == 1
		f.list = append(f.list, p)
	}
	return f, r.Done()
}

// passenger is somebody on a road's flight.
type passenger struct {
	road Road
	user string
}

// board notes who is on a flight.
func (st *state) board(f *flight) {
	st.flights[f.number] = f
	for i := range f.list {
		st.aboard[passenger{f.road, f.list[i].user}] = &f.list[i]
	}
}

func (st *state) land(f *flight) {
	delete(st.flights, f.number)
	for i := range f.list {
		delete(st.aboard, passenger{f.road, f.list[i].user})
	}
}

// flying reports whether a change that is kept in a user's row is in a request under way.
func (st *state) flying(road Road, user string, id ID) bool {
	p := st.aboard[passenger{road, user}]
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

// counts returns what a flight is for the meters: users and events, or a cohort request.
func (f *flight) counts() (s SentSecond) {
	if f.road == RoadCohort {
		return SentSecond{Cohorts: 1}
	}
	for i := range f.list {
		p := &f.list[i]
		s.Users += int(boolByte(len(p.attributes) > 0 || p.loose))
		s.Events += int(boolByte(!p.queued.id.IsZero() && !p.loose))
	}
	return s
}

// loadFlights boards every flight there is. A damaged one is left to recover: whoever was on it is
// taken again.
func (st *state) loadFlights(tx *bolt.Tx) error {
	st.flights, st.aboard, st.wrecks = make(map[uint64]*flight), make(map[passenger]*boarding), nil
	return tx.Bucket(bucketFlights).ForEach(func(k, frame []byte) error {
		if f, err := decodeFlight(number(k), frame, st.epochs); err == nil {
			st.board(f)
		} else {
			st.wrecks = append(st.wrecks, number(k))
		}
		return nil
	})
}
