package state

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"personasync/store/domain"
	"personasync/store/internal/wire"
)

// A PendingIndex is the row of a user that counts the pending changes and has the ends of the user's history and journal. A user
// without any has none, and costs nothing but membership rows.
//
//	rows: userKey | 0xFFFF -> frame( history, blocks x (number, bits), endpoints x (retry, lanes), accepted, deferred, journal, [endpoint of deletes, deleted] )
//
// The user's places in the due index are a function of this row (DuePlaces), so the two cannot disagree.
type PendingIndex struct {
	History   uint64                          // number of the newest history entry of the user; 0: none
	Blocks    []pendingBlock                  // which fields have a pending attribute change, by block
	Endpoints [domain.Endpoints]EndpointIndex // by Endpoint - 1

	Accepted uint32 // unix second in which MoEngage last accepted an attribute or event of the user; 0: not known
	Deferred uint32 // unix second before which no cohort change leaves; 0: none is deferred
	Journal  uint64 // number of the newest journal entry of the user; 0: none
	Deleted  uint32 // unix second until which MoEngage may delete the user, so that nothing of them leaves; 0: it does not
}

// pendingBlock is a membership row in which attribute changes are pending: a bit for each column.
type pendingBlock struct {
	Number uint16
	Bits   uint64
}

// indexVersion 1 ended with the endpoints, 2 had no journal. Version 4 has the fields of the deletion of the user; a row
// without that stays of version 3.
const (
	indexVersion         byte = 3
	indexVersionDeletion byte = 4
)

// EndpointIndex is the pending changes of one endpoint.
type EndpointIndex struct {
	Retry uint32 // unix second before which nothing leaves; 0: no failure is open
	Lanes []Lane // by lane number
}

// Lane counts the pending changes in one lane of the due index.
type Lane struct {
	Number uint32
	Due    uint32 // unix second of the earliest pending change
	Count  uint32 // pending changes, in-flight ones included
}

// Endpoint returns the part of one endpoint, to be read or changed.
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

// Remove counts one pending change less. The lane goes with its last change, and the retry with the last lane.
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

// Key returns the key of a user at this place.
func (s DuePlace) Key(user []byte) []byte { return DueKey(s.Endpoint, s.Lane, s.Second, user) }

// DuePlaces appends the user's places in the due index: one while a retry is pending, else one for each lane that is
// reached. An in-flight user keeps their places; Take skips them.
func (h *PendingIndex) DuePlaces(list []DuePlace) []DuePlace {
	if wait := h.barredUntil(); wait != 0 {
		return h.barredPlaces(list, wait)
	}
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

// placesAtOnce is how many places a user has on the transition endpoint for one job: the lane that has waited
// longest, and the newest others. A request carries everything that is due of a user, so more places would cost more
// writes than they save time.
const placesAtOnce = 3

// reachedBy returns the place by which Take finds the changes of a lane of the transition endpoint. The bulk changes
// of an urgent user leave among the live ones.
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

// Under lists the lanes whose changes are found by a place in the due index.
func (h *PendingIndex) Under(at DuePlace) (numbers []uint32) {
	rh, urgent := h.Endpoint(at.Endpoint), h.Urgent()
	for _, l := range rh.Lanes {
		switch {
		case IsRetry(at.Lane), at.Lane == LaneBarred, at.Endpoint != domain.EndpointTransition && l.Number == at.Lane, at.Endpoint == domain.EndpointTransition && rh.reachedBy(l, urgent) == at:
			numbers = append(numbers, l.Number)
		}
	}
	return numbers
}

// Urgent reports whether a live cohort change waits for the user's changes on the transition endpoint.
func (h *PendingIndex) Urgent() bool {
	for _, l := range h.Endpoint(domain.EndpointCohort).Lanes {
		if !IsBulk(l.Number) && h.AwaitsProfileIn(l) {
			return true
		}
	}
	return false
}

// retryLane returns the lane in which the user waits for a retry. A user with only bulk changes does not wait
// among the live ones.
func (rh *EndpointIndex) retryLane(urgent bool) uint32 {
	if urgent || slices.ContainsFunc(rh.Lanes, func(l Lane) bool { return !IsBulk(l.Number) }) {
		return LaneRetry
	}
	return LaneRetryBulk
}

// SetPending notes whether an attribute change of a field is pending.
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

// Backlog returns what the user adds to the store's backlog. An attribute that was overtaken while in-flight counts
// as an event until it is settled.
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

// Empty reports whether the row is not needed.
func (h *PendingIndex) Empty() bool {
	waits := slices.ContainsFunc(h.Endpoints[:], func(rh EndpointIndex) bool { return len(rh.Lanes) > 0 })
	return h.History == 0 && h.Journal == 0 && len(h.Blocks) == 0 && !waits
}

// Encode appends the row's frame, sealed under its key, or nothing when it is empty.
func (h *PendingIndex) Encode(buf, key []byte) []byte {
	if h.Empty() {
		return buf
	}
	start, version := len(buf), indexVersion
	if h.barredUntil() != 0 {
		version = indexVersionDeletion
	}
	buf = append(buf, version)
	buf = wire.AppendUint(buf, h.History)
	buf = wire.AppendUint(buf, uint64(len(h.Blocks)))
	for _, p := range h.Blocks {
		buf = binary.BigEndian.AppendUint64(wire.AppendUint(buf, uint64(p.Number)), p.Bits)
	}
	for i := range h.Endpoints[:domain.EndpointCohort] {
		buf = h.Endpoints[i].append(buf)
	}
	buf = wire.AppendUint(wire.AppendUint(wire.AppendUint(buf, uint64(h.Accepted)), uint64(h.Deferred)), h.Journal)
	if version == indexVersionDeletion {
		buf = wire.AppendUint(h.Endpoint(domain.EndpointDelete).append(buf), uint64(h.Deleted))
	}
	return wire.SealKeyed(buf, start, key)
}

func (rh *EndpointIndex) append(buf []byte) []byte {
	buf = wire.AppendUint(buf, uint64(rh.Retry))
	buf = wire.AppendUint(buf, uint64(len(rh.Lanes)))
	for _, l := range rh.Lanes {
		buf = wire.AppendUint(wire.AppendUint(wire.AppendUint(buf, uint64(l.Number)), uint64(l.Due)), uint64(l.Count))
	}
	return buf
}

func (rh *EndpointIndex) read(r *wire.Reader) {
	rh.Retry = uint32(r.Uint())
	n := r.Uint()
	if n > uint64(cap(rh.Lanes)) {
		rh.Lanes = make([]Lane, 0, min(n, LanesOfUser+1))
	}
	for ; n > 0 && r.OK(); n-- {
		rh.Lanes = append(rh.Lanes, Lane{uint32(r.Uint()), uint32(r.Uint()), uint32(r.Uint())})
	}
}

// DecodeIndex reads a pending-index row of any version.
func DecodeIndex(key, frame []byte) (*PendingIndex, error) {
	h := new(PendingIndex)
	if err := h.decode(key, frame); err != nil {
		return nil, err
	}
	return h, nil
}

// decode reads a row into an empty index. After an error its content is undefined.
func (h *PendingIndex) decode(key, frame []byte) error {
	version := indexVersionDeletion
	if len(frame) > 0 && frame[0] < version {
		version = frame[0]
	}
	r, err := wire.UnsealKeyed(frame, version, key)
	if err != nil {
		return err
	}
	h.History = r.Uint()
	n := r.Uint()
	for i := uint64(0); i < n && r.OK(); i++ {
		number, next := r.Uint(), r.Uint64()
		if !r.OK() || number > math.MaxUint16 || len(h.Blocks) > 0 && uint16(number) <= h.Blocks[len(h.Blocks)-1].Number {
			return wire.ErrDamaged
		}
		h.Blocks = append(h.Blocks, pendingBlock{uint16(number), next})
	}
	for i := range h.Endpoints[:domain.EndpointCohort] {
		h.Endpoints[i].read(&r)
	}
	if version > 1 {
		h.Accepted, h.Deferred = uint32(r.Uint()), uint32(r.Uint())
	}
	if version > 2 {
		h.Journal = r.Uint()
	}
	if version == indexVersionDeletion {
		h.Endpoint(domain.EndpointDelete).read(&r)
		h.Deleted = uint32(r.Uint())
	}
	return r.Done()
}

// ProfileDelay is how long, in seconds, MoEngage is given to create a profile after it accepted something of a user.
// Cohort Sync silently skips users without a profile. MoEngage documents no delay.
const ProfileDelay = 60

// AwaitsProfileIn reports whether a change on the other endpoint is older than the cohort changes of a lane. Until
// it was accepted, MoEngage may have no profile of the user. Receipts are compared in whole seconds, so the changes
// of one event count as older.
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
	return slices.ContainsFunc(h.Endpoint(domain.EndpointCohort).Lanes, h.AwaitsProfileIn)
}

// ProfileCreated notes that MoEngage accepted an attribute or an event of the user at a unix second. If cohort
// changes waited for it, they are deferred until the profile exists.
func (h *PendingIndex) ProfileCreated(at uint32, waiting bool) {
	h.Accepted = at
	if waiting {
		h.Deferred = max(h.Deferred, at+ProfileDelay)
	}
}

// Defer has cohort changes that were received at due wait until the profile exists.
func (h *PendingIndex) Defer(due uint32) {
	if known := h.Accepted + ProfileDelay; h.Accepted != 0 && known > due {
		h.Deferred = max(h.Deferred, known)
	}
}

// cohortPlaces appends the user's places in the due index of the cohort endpoint: one in the lane of retries while
// there is a moment to wait for, else one for each lane.
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

// barredUntil returns the unix second until which nothing of the user leaves but a delete: NotYet while one is pending,
// 0 for nearly every user.
func (h *PendingIndex) barredUntil() uint32 {
	if len(h.Endpoint(domain.EndpointDelete).Lanes) > 0 {
		return NotYet
	}
	return h.Deleted
}

// barredPlaces appends the places in the due index of a user whom MoEngage is to delete, or may delete still. The delete
// has a place of its own; everything else waits for its end.
func (h *PendingIndex) barredPlaces(list []DuePlace, until uint32) []DuePlace {
	for _, endpoint := range [...]domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
		if len(h.Endpoint(endpoint).Lanes) > 0 {
			list = append(list, DuePlace{endpoint, LaneBarred, until})
		}
	}
	rh := h.Endpoint(domain.EndpointDelete)
	switch {
	case len(rh.Lanes) > 0 && rh.Retry != 0:
		list = append(list, DuePlace{domain.EndpointDelete, LaneRetry, rh.Retry})
	case len(rh.Lanes) > 0:
		list = append(list, DuePlace{domain.EndpointDelete, rh.Lanes[0].Number, rh.Lanes[0].Due})
	}
	return list
}
