package state

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// A PendingIndex is the row of a user that says what waits for the user, and where the user's history ends.
// It exists only while one of these is so; an idle user costs nothing but membership rows.
//
//	rows: userKey | 0xFFFF -> frame( history, blocks x (number, bits), roads x (retry, lanes), accepted, aside )
//
// The due index is a function of the head (stands), so the two cannot disagree.
type PendingIndex struct {
	History   uint64           // number of the newest entry of the user's chain in the history; 0: none
	Blocks    []pendingBlock   // which fields have a pending attribute change, by block
	Endpoints [2]EndpointIndex // by Endpoint - 1

	Accepted uint32 // unix second in which MoEngage last accepted an attribute or event of the user; 0: not known
	Deferred uint32 // unix second before which no cohort change leaves; 0: none waits for that
}

// pendingBlock is a membership row in which attribute changes are pending: a bit for each column.
type pendingBlock struct {
	Number uint16
	Bits   uint64
}

// indexVersion 1 ended with the roads.
const indexVersion byte = 2

// EndpointIndex is what waits on one endpoint.
type EndpointIndex struct {
	Retry uint32 // unix second before which nothing leaves; 0: no failure stands
	Lanes []Lane // by lane number
}

// Lane counts what waits in one lane of the due index.
type Lane struct {
	Number uint32
	Due    uint32 // unix second: the earliest of what waits
	Count  uint32 // pending changes, those in lease included
}

func (h *PendingIndex) Endpoint(r domain.Endpoint) *EndpointIndex { return &h.Endpoints[r-1] }

func (rh *EndpointIndex) lane(number uint32) *Lane {
	i, found := slices.BinarySearchFunc(rh.Lanes, number, func(l Lane, n uint32) int {
		return int(int64(l.Number) - int64(n))
	})
	if !found {
		rh.Lanes = slices.Insert(rh.Lanes, i, Lane{Number: number, Due: ^uint32(0)})
	}
	return &rh.Lanes[i]
}

// Add counts one more pending change.
func (rh *EndpointIndex) Add(number, due uint32) {
	l := rh.lane(number)
	l.Count++
	l.Due = min(l.Due, due)
}

// Remove counts one less.
func (rh *EndpointIndex) Remove(number uint32) {
	l := rh.lane(number)
	if l.Count > 0 {
		l.Count--
	}
	if l.Count == 0 {
		rh.Lanes = slices.DeleteFunc(rh.Lanes, func(l Lane) bool { return l.Number == number })
	}
	if len(rh.Lanes) == 0 {
		rh.Retry = 0
	}
}

// DuePlace is one place of a user in the due index.
type DuePlace struct {
	Endpoint     domain.Endpoint
	Lane, Second uint32
}

func (s DuePlace) Key(user []byte) []byte { return DueKey(s.Endpoint, s.Lane, s.Second, user) }

// DuePlaces appends where the user stands in the due index: once while a retry is waited for, else by
// lane. A user in lease stays where they are; take passes over them.
func (h *PendingIndex) DuePlaces(list []DuePlace) []DuePlace {
	rh, urgent := h.Endpoint(domain.EndpointTransition), h.Urgent()
	switch {
	case len(rh.Lanes) == 0:
	case rh.Retry != 0:
		list = append(list, DuePlace{domain.EndpointTransition, rh.retryLane(urgent), rh.Retry})
	default:
		for _, l := range rh.Lanes {
			if s := rh.reachedBy(l, urgent); !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
	}
	return h.cohortPlaces(list)
}

// placesAtOnce is how many places a user has on the transition endpoint for one job: in the lane that has
// waited the longest, and in the others that are newest. A request carries whatever is due of a user, so
// more places would cost more writes than they save time.
const placesAtOnce = 3

// reachedBy returns the place by which Take finds the changes of a lane of the transition endpoint. An urgent
// user's bulk changes leave among the live ones.
func (rh *EndpointIndex) reachedBy(l Lane, urgent bool) DuePlace {
	at := func(l Lane) DuePlace {
		if urgent {
			l.Number = liveTwin(l.Number)
		}
		return DuePlace{domain.EndpointTransition, l.Number, l.Due}
	}
	if len(rh.Lanes) <= placesAtOnce {
		return at(l)
	}
	own, oldest, newer := at(l), l, 0
	for _, other := range rh.Lanes {
		switch {
		case laneGroup(at(other).Lane) != laneGroup(own.Lane) || other == l:
		case other.Due > l.Due || other.Due == l.Due && other.Number > l.Number:
			newer++
		case other.Due < oldest.Due || other.Due == oldest.Due && other.Number < oldest.Number:
			oldest = other
		}
	}
	if newer < placesAtOnce-1 {
		return own
	}
	return at(oldest)
}

// Under lists the lanes whose changes a place in the due index stands for.
func (h *PendingIndex) Under(at DuePlace) (numbers []uint32) {
	rh, urgent := h.Endpoint(at.Endpoint), h.Urgent()
	for _, l := range rh.Lanes {
		switch {
		case IsRetry(at.Lane), at.Endpoint == domain.EndpointCohort && l.Number == at.Lane, at.Endpoint == domain.EndpointTransition && rh.reachedBy(l, urgent) == at:
			numbers = append(numbers, l.Number)
		}
	}
	return numbers
}

// Urgent reports whether a live change of a cohort waits for the user's changes on the transition endpoint.
func (h *PendingIndex) Urgent() bool {
	for _, l := range h.Endpoint(domain.EndpointCohort).Lanes {
		if !IsBulk(l.Number) && h.AwaitsProfileIn(l) {
			return true
		}
	}
	return false
}

// retryLane is where the user waits for a retry: bulk changes alone do not go among those of live ones.
func (rh *EndpointIndex) retryLane(urgent bool) uint32 {
	if urgent || slices.ContainsFunc(rh.Lanes, func(l Lane) bool { return !IsBulk(l.Number) }) {
		return LaneRetry
	}
	return LaneRetryBulk
}

func (h *PendingIndex) SetPending(field uint32, on bool) {
	number, bit := uint16(field/BlockSize), uint64(1)<<(field%BlockSize)
	i, found := slices.BinarySearchFunc(h.Blocks, number, func(p pendingBlock, n uint16) int { return int(p.Number) - int(n) })
	switch {
	case on && found:
		h.Blocks[i].Bits |= bit
	case on:
		h.Blocks = slices.Insert(h.Blocks, i, pendingBlock{number, bit})
	case found:
		if h.Blocks[i].Bits &^= bit; h.Blocks[i].Bits == 0 {
			h.Blocks = slices.Delete(h.Blocks, i, i+1)
		}
	}
}

// PendingFields appends the fields with a pending attribute change, in order.
func (h *PendingIndex) PendingFields(fields []uint32) []uint32 {
	for _, p := range h.Blocks {
		for set := p.Bits; set != 0; set &= set - 1 {
			fields = append(fields, uint32(p.Number)*BlockSize+uint32(bits.TrailingZeros64(set)))
		}
	}
	return fields
}

// Backlog is what the user adds to the store's. An attribute that was overtaken in lease passes for an
// event until it lands.
func (h *PendingIndex) Backlog() (b domain.Backlog) {
	rows, waiting := uint64(0), uint64(0)
	for _, p := range h.Blocks {
		rows += uint64(bits.OnesCount64(p.Bits))
	}
	for _, l := range h.Endpoints[0].Lanes {
		waiting += uint64(l.Count)
	}
	for _, l := range h.Endpoints[1].Lanes {
		b.Members += uint64(l.Count)
	}
	attributes := rows - min(rows, b.Members)
	b.Users = min(attributes, 1)
	b.Events = waiting - min(waiting, attributes)
	return b
}

func (h *PendingIndex) Empty() bool {
	return h.History == 0 && len(h.Blocks) == 0 && len(h.Endpoints[0].Lanes) == 0 && len(h.Endpoints[1].Lanes) == 0
}

// Encode seals the head under its key.
func (h *PendingIndex) Encode(buf, key []byte) []byte {
	if h.Empty() {
		return buf
	}
	start := len(buf)
	buf = append(buf, indexVersion)
	buf = wire.AppendUint(buf, h.History)
	buf = wire.AppendUint(buf, uint64(len(h.Blocks)))
	for _, p := range h.Blocks {
		buf = binary.BigEndian.AppendUint64(wire.AppendUint(buf, uint64(p.Number)), p.Bits)
	}
	for i := range h.Endpoints {
		rh := &h.Endpoints[i]
		buf = wire.AppendUint(buf, uint64(rh.Retry))
		buf = wire.AppendUint(buf, uint64(len(rh.Lanes)))
		for _, l := range rh.Lanes {
			buf = wire.AppendUint(wire.AppendUint(wire.AppendUint(buf, uint64(l.Number)), uint64(l.Due)), uint64(l.Count))
		}
	}
	return wire.SealKeyed(wire.AppendUint(wire.AppendUint(buf, uint64(h.Accepted)), uint64(h.Deferred)), start, key)
}

func DecodeIndex(key, frame []byte) (*PendingIndex, error) {
	version := indexVersion
	if len(frame) > 0 && frame[0] < version {
		version = frame[0]
	}
	r, err := wire.UnsealKeyed(frame, version, key)
	if err != nil {
		return nil, err
	}
	h := &PendingIndex{History: r.Uint()}
	n := r.Uint()
	for i := uint64(0); i < n && r.OK(); i++ {
		number, next := r.Uint(), r.Uint64()
		if !r.OK() || number > math.MaxUint16 || len(h.Blocks) > 0 && uint16(number) <= h.Blocks[len(h.Blocks)-1].Number {
			return nil, wire.ErrDamaged
		}
		h.Blocks = append(h.Blocks, pendingBlock{uint16(number), next})
	}
	for i := range h.Endpoints {
		rh := &h.Endpoints[i]
		rh.Retry = uint32(r.Uint())
		n := r.Uint()
		if n > 0 {
			rh.Lanes = make([]Lane, 0, min(n, LanesOfUser+1))
		}
		for ; n > 0 && r.OK(); n-- {
			rh.Lanes = append(rh.Lanes, Lane{uint32(r.Uint()), uint32(r.Uint()), uint32(r.Uint())})
		}
	}
	if version > 1 {
		h.Accepted, h.Deferred = uint32(r.Uint()), uint32(r.Uint())
	}
	return h, r.Done()
}

// ProfileDelay is how long, in seconds, MoEngage is given to know a user that it was told of. Cohort
// Sync passes over users whom it does not know, without a word; how long after a 200 a user is known
// is documented nowhere.
const ProfileDelay = 60

// AwaitsProfileIn reports whether a change waits on the other endpoint that is older than the cohort changes of
// a lane: until it was accepted, MoEngage may not know the user. Receipt is compared in whole seconds,
// so that what one event brought about counts as older.
func (h *PendingIndex) AwaitsProfileIn(l Lane) bool {
	for _, other := range h.Endpoint(domain.EndpointTransition).Lanes {
		if other.Due <= l.Due {
			return true
		}
	}
	return false
}

// AwaitsProfile reports whether any cohort change waits for the other endpoint.
func (h *PendingIndex) AwaitsProfile() bool {
	for _, l := range h.Endpoint(domain.EndpointCohort).Lanes {
		if h.AwaitsProfileIn(l) {
			return true
		}
	}
	return false
}

// ProfileCreated notes that MoEngage accepted something of the user on the endpoint of attributes and events.
// waiting says that cohort changes were waiting for just that.
func (h *PendingIndex) ProfileCreated(at uint32, waiting bool) {
	h.Accepted = at
	if waiting {
		h.Deferred = max(h.Deferred, at+ProfileDelay)
	}
}

// Defer has cohort changes received at due wait until the user is known.
func (h *PendingIndex) Defer(due uint32) {
	if known := h.Accepted + ProfileDelay; h.Accepted != 0 && known > due {
		h.Deferred = max(h.Deferred, known)
	}
}

// cohortPlaces appends where a user stands in the due index of the cohort endpoint: once in the lane of
// retries while there is a moment to wait for, else once a lane.
func (h *PendingIndex) cohortPlaces(list []DuePlace) []DuePlace {
	rh := h.Endpoint(domain.EndpointCohort)
	if len(rh.Lanes) == 0 {
		return list
	}
	if wait := max(rh.Retry, h.Deferred); wait != 0 {
		return append(list, DuePlace{domain.EndpointCohort, rh.retryLane(false), wait})
	}
	for _, l := range rh.Lanes {
		due := l.Due
		if h.AwaitsProfileIn(l) {
			due = NotYet
		}
		list = append(list, DuePlace{domain.EndpointCohort, l.Number, due})
	}
	return list
}
