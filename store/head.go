package store

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// A head is the row of a user that says what waits for the user, and where the user's history ends.
// It exists only while one of these is so; an idle user costs nothing but membership rows.
//
//	rows: userKey | 0xFFFF -> frame( history, blocks x (number, bits), roads x (retry, lanes), accepted, aside )
//
// The due index is a function of the head (stands), so the two cannot disagree.
type head struct {
	history   uint64          // number of the newest entry of the user's chain in the history; 0: none
	blocks    []pendingBlock  // which fields have a pending attribute change, by block
	endpoints [2]endpointHead // by Endpoint - 1

	accepted uint32 // unix second in which MoEngage last accepted an attribute or event of the user; 0: not known
	aside    uint32 // unix second before which no cohort change leaves; 0: none waits for that
}

// pendingBlock is a membership row in which attribute changes are pending: a bit for each column.
type pendingBlock struct {
	number uint16
	bits   uint64
}

// headVersion 1 ended with the roads.
const headVersion byte = 2

// endpointHead is what waits on one endpoint.
type endpointHead struct {
	retry uint32 // unix second before which nothing leaves; 0: no failure stands
	lanes []lane // by lane number
}

// lane counts what waits in one lane of the due index.
type lane struct {
	number uint32
	due    uint32 // unix second: the earliest of what waits
	count  uint32 // pending changes, those in lease included
}

func (h *head) endpoint(r domain.Endpoint) *endpointHead { return &h.endpoints[r-1] }

func (rh *endpointHead) lane(number uint32) *lane {
	i, found := slices.BinarySearchFunc(rh.lanes, number, func(l lane, n uint32) int {
		return int(int64(l.number) - int64(n))
	})
	if !found {
		rh.lanes = slices.Insert(rh.lanes, i, lane{number: number, due: ^uint32(0)})
	}
	return &rh.lanes[i]
}

// add counts one more pending change.
func (rh *endpointHead) add(number, due uint32) {
	l := rh.lane(number)
	l.count++
	l.due = min(l.due, due)
}

// remove counts one less.
func (rh *endpointHead) remove(number uint32) {
	l := rh.lane(number)
	if l.count > 0 {
		l.count--
	}
	if l.count == 0 {
		rh.lanes = slices.DeleteFunc(rh.lanes, func(l lane) bool { return l.number == number })
	}
	if len(rh.lanes) == 0 {
		rh.retry = 0
	}
}

// stand is one place of a user in the due index.
type stand struct {
	endpoint     domain.Endpoint
	lane, second uint32
}

func (s stand) key(user []byte) []byte { return dueKey(s.endpoint, s.lane, s.second, user) }

// stands appends where the user stands in the due index: once while a retry is waited for, else by
// lane. A user in lease stays where they are; take passes over them.
func (h *head) stands(list []stand) []stand {
	rh, urgent := h.endpoint(domain.EndpointTransition), h.urgent()
	switch {
	case len(rh.lanes) == 0:
	case rh.retry != 0:
		list = append(list, stand{domain.EndpointTransition, rh.retryLane(urgent), rh.retry})
	default:
		for _, l := range rh.lanes {
			if s := rh.reachedBy(l, urgent); !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
	}
	return h.cohortStands(list)
}

// standsAtOnce is how many places a user has on the transition endpoint for one job: in the lane that has
// waited the longest, and in the others that are newest. A request carries whatever is due of a user, so
// more places would cost more writes than they save time.
const standsAtOnce = 3

// reachedBy returns the place by which Take finds the changes of a lane of the transition endpoint. An urgent
// user's bulk changes leave among the live ones.
func (rh *endpointHead) reachedBy(l lane, urgent bool) stand {
	at := func(l lane) stand {
		if urgent {
			l.number = liveTwin(l.number)
		}
		return stand{domain.EndpointTransition, l.number, l.due}
	}
	if len(rh.lanes) <= standsAtOnce {
		return at(l)
	}
	own, oldest, newer := at(l), l, 0
	for _, other := range rh.lanes {
		switch {
		case laneGroup(at(other).lane) != laneGroup(own.lane) || other == l:
		case other.due > l.due || other.due == l.due && other.number > l.number:
			newer++
		case other.due < oldest.due || other.due == oldest.due && other.number < oldest.number:
			oldest = other
		}
	}
	if newer < standsAtOnce-1 {
		return own
	}
	return at(oldest)
}

// under lists the lanes whose changes a place in the due index stands for.
func (h *head) under(at stand) (numbers []uint32) {
	rh, urgent := h.endpoint(at.endpoint), h.urgent()
	for _, l := range rh.lanes {
		switch {
		case isRetry(at.lane), at.endpoint == domain.EndpointCohort && l.number == at.lane, at.endpoint == domain.EndpointTransition && rh.reachedBy(l, urgent) == at:
			numbers = append(numbers, l.number)
		}
	}
	return numbers
}

// urgent reports whether a live change of a cohort waits for the user's changes on the transition endpoint.
func (h *head) urgent() bool {
	for _, l := range h.endpoint(domain.EndpointCohort).lanes {
		if !isBulk(l.number) && h.strangers(l) {
			return true
		}
	}
	return false
}

// retryLane is where the user waits for a retry: bulk changes alone do not go among those of live ones.
func (rh *endpointHead) retryLane(urgent bool) uint32 {
	if urgent || slices.ContainsFunc(rh.lanes, func(l lane) bool { return !isBulk(l.number) }) {
		return laneRetry
	}
	return laneRetryBulk
}

func (h *head) setPending(field uint32, on bool) {
	number, bit := uint16(field/blockSize), uint64(1)<<(field%blockSize)
	i, found := slices.BinarySearchFunc(h.blocks, number, func(p pendingBlock, n uint16) int { return int(p.number) - int(n) })
	switch {
	case on && found:
		h.blocks[i].bits |= bit
	case on:
		h.blocks = slices.Insert(h.blocks, i, pendingBlock{number, bit})
	case found:
		if h.blocks[i].bits &^= bit; h.blocks[i].bits == 0 {
			h.blocks = slices.Delete(h.blocks, i, i+1)
		}
	}
}

// pendingFields appends the fields with a pending attribute change, in order.
func (h *head) pendingFields(fields []uint32) []uint32 {
	for _, p := range h.blocks {
		for set := p.bits; set != 0; set &= set - 1 {
			fields = append(fields, uint32(p.number)*blockSize+uint32(bits.TrailingZeros64(set)))
		}
	}
	return fields
}

// backlog is what the user adds to the store's. An attribute that was overtaken in lease passes for an
// event until it lands.
func (h *head) backlog() (b domain.Backlog) {
	rows, waiting := uint64(0), uint64(0)
	for _, p := range h.blocks {
		rows += uint64(bits.OnesCount64(p.bits))
	}
	for _, l := range h.endpoints[0].lanes {
		waiting += uint64(l.count)
	}
	for _, l := range h.endpoints[1].lanes {
		b.Members += uint64(l.count)
	}
	attributes := rows - min(rows, b.Members)
	b.Users = min(attributes, 1)
	b.Events = waiting - min(waiting, attributes)
	return b
}

func (h *head) empty() bool {
	return h.history == 0 && len(h.blocks) == 0 && len(h.endpoints[0].lanes) == 0 && len(h.endpoints[1].lanes) == 0
}

// encode seals the head under its key.
func (h *head) encode(buf, key []byte) []byte {
	if h.empty() {
		return buf
	}
	start := len(buf)
	buf = append(buf, headVersion)
	buf = wire.AppendUint(buf, h.history)
	buf = wire.AppendUint(buf, uint64(len(h.blocks)))
	for _, p := range h.blocks {
		buf = binary.BigEndian.AppendUint64(wire.AppendUint(buf, uint64(p.number)), p.bits)
	}
	for i := range h.endpoints {
		rh := &h.endpoints[i]
		buf = wire.AppendUint(buf, uint64(rh.retry))
		buf = wire.AppendUint(buf, uint64(len(rh.lanes)))
		for _, l := range rh.lanes {
			buf = wire.AppendUint(wire.AppendUint(wire.AppendUint(buf, uint64(l.number)), uint64(l.due)), uint64(l.count))
		}
	}
	return wire.SealKeyed(wire.AppendUint(wire.AppendUint(buf, uint64(h.accepted)), uint64(h.aside)), start, key)
}

func decodeHead(key, frame []byte) (*head, error) {
	version := headVersion
	if len(frame) > 0 && frame[0] < version {
		version = frame[0]
	}
	r, err := wire.UnsealKeyed(frame, version, key)
	if err != nil {
		return nil, err
	}
	h := &head{history: r.Uint()}
	n := r.Uint()
	for i := uint64(0); i < n && r.OK(); i++ {
		number, next := r.Uint(), r.Uint64()
		if !r.OK() || number > math.MaxUint16 || len(h.blocks) > 0 && uint16(number) <= h.blocks[len(h.blocks)-1].number {
			return nil, wire.ErrDamaged
		}
		h.blocks = append(h.blocks, pendingBlock{uint16(number), next})
	}
	for i := range h.endpoints {
		rh := &h.endpoints[i]
		rh.retry = uint32(r.Uint())
		n := r.Uint()
		if n > 0 {
			rh.lanes = make([]lane, 0, min(n, lanesOfUser+1))
		}
		for ; n > 0 && r.OK(); n-- {
			rh.lanes = append(rh.lanes, lane{uint32(r.Uint()), uint32(r.Uint()), uint32(r.Uint())})
		}
	}
	if version > 1 {
		h.accepted, h.aside = uint32(r.Uint()), uint32(r.Uint())
	}
	return h, r.Done()
}
