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
func (x *PendingIndex) Endpoint(r domain.Endpoint) *EndpointIndex { return &x.Endpoints[r-1] }

func (e *EndpointIndex) lane(number uint32) *Lane {
	i, found := slices.BinarySearchFunc(e.Lanes, number, func(l Lane, n uint32) int {
		return int(int64(l.Number) - int64(n))
	})
	if !found {
		e.Lanes = slices.Insert(e.Lanes, i, Lane{Number: number, Due: ^uint32(0)})
	}
	return &e.Lanes[i]
}

// Add counts one more pending change.
func (e *EndpointIndex) Add(number, due uint32) {
	l := e.lane(number)
	l.Count++
	l.Due = min(l.Due, due)
}

// Remove counts one pending change less. The lane goes with its last change, and the retry with the last lane.
func (e *EndpointIndex) Remove(number uint32) {
	l := e.lane(number)
	if l.Count > 0 {
		l.Count--
	}
	if l.Count == 0 {
		e.Lanes = slices.DeleteFunc(e.Lanes, func(l Lane) bool { return l.Number == number })
	}
	if len(e.Lanes) == 0 {
		e.Retry = 0
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
func (x *PendingIndex) DuePlaces(list []DuePlace) []DuePlace {
	if wait := x.barredUntil(); wait != 0 {
		return x.barredPlaces(list, wait)
	}
	rh, urgent := x.Endpoint(domain.EndpointTransition), x.Urgent()
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
	return x.cohortPlaces(list)
}

// placesAtOnce is how many places a user has on the transition endpoint for one job: the lane that has waited
// longest, and the newest others. A request carries everything that is due of a user, so more places would cost more
// writes than they save time.
const placesAtOnce = 3

// reachedBy returns the place by which Take finds the changes of a lane of the transition endpoint. The bulk changes
// of an urgent user leave among the live ones.
func (e *EndpointIndex) reachedBy(l Lane, urgent bool) DuePlace {
	at := func(l Lane) DuePlace {
		if urgent {
			l.Number = liveTwin(l.Number)
		}
		return DuePlace{domain.EndpointTransition, l.Number, l.Due}
	}
	if len(e.Lanes) <= placesAtOnce {
		return at(l)
	}
	own, oldest, newer := at(l), l, 0
	for _, other := range e.Lanes {
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
func (x *PendingIndex) Under(at DuePlace) (numbers []uint32) {
	rh, urgent := x.Endpoint(at.Endpoint), x.Urgent()
	for _, l := range rh.Lanes {
		switch {
		case IsRetry(at.Lane), at.Lane == LaneBarred, at.Endpoint != domain.EndpointTransition && l.Number == at.Lane, at.Endpoint == domain.EndpointTransition && rh.reachedBy(l, urgent) == at:
			numbers = append(numbers, l.Number)
		}
	}
	return numbers
}

// Urgent reports whether a live cohort change waits for the user's changes on the transition endpoint.
func (x *PendingIndex) Urgent() bool {
	for _, l := range x.Endpoint(domain.EndpointCohort).Lanes {
		if !IsBulk(l.Number) && x.AwaitsProfileIn(l) {
			return true
		}
	}
	return false
}

// retryLane returns the lane in which the user waits for a retry. A user with only bulk changes does not wait
// among the live ones.
func (e *EndpointIndex) retryLane(urgent bool) uint32 {
	if urgent || slices.ContainsFunc(e.Lanes, func(l Lane) bool { return !IsBulk(l.Number) }) {
		return LaneRetry
	}
	return LaneRetryBulk
}

// SetPending notes whether an attribute change of a field is pending.
func (x *PendingIndex) SetPending(field uint32, on bool) {
	number, bit := uint16(field/BlockSize), uint64(1)<<(field%BlockSize)
	i, found := slices.BinarySearchFunc(x.Blocks, number, func(p pendingBlock, n uint16) int { return int(p.Number) - int(n) })
	switch {
	case on && found:
		x.Blocks[i].Bits |= bit
	case on:
		x.Blocks = slices.Insert(x.Blocks, i, pendingBlock{number, bit})
	case found:
		if x.Blocks[i].Bits &^= bit; x.Blocks[i].Bits == 0 {
			x.Blocks = slices.Delete(x.Blocks, i, i+1)
		}
	}
}

// PendingFields appends the fields with a pending attribute change, in order.
func (x *PendingIndex) PendingFields(fields []uint32) []uint32 {
	for _, p := range x.Blocks {
		for set := p.Bits; set != 0; set &= set - 1 {
			fields = append(fields, uint32(p.Number)*BlockSize+uint32(bits.TrailingZeros64(set)))
		}
	}
	return fields
}

// Backlog returns what the user adds to the store's backlog. An attribute that was overtaken while in-flight counts
// as an event until it is settled.
func (x *PendingIndex) Backlog() (b domain.Backlog) {
	rows, waiting := uint64(0), uint64(0)
	for _, p := range x.Blocks {
		rows += uint64(bits.OnesCount64(p.Bits))
	}
	for _, l := range x.Endpoints[0].Lanes {
		waiting += uint64(l.Count)
	}
	for _, l := range x.Endpoints[1].Lanes {
		b.Members += uint64(l.Count)
	}
	attributes := rows - min(rows, b.Members)
	b.Users = min(attributes, 1)
	b.Events = waiting - min(waiting, attributes)
	return b
}

// Empty reports whether the row is not needed.
func (x *PendingIndex) Empty() bool {
	waits := slices.ContainsFunc(x.Endpoints[:], func(rh EndpointIndex) bool { return len(rh.Lanes) > 0 })
	return x.History == 0 && x.Journal == 0 && len(x.Blocks) == 0 && !waits
}

// encode appends the row's frame, sealed under its key, or nothing when it is empty.
func (x *PendingIndex) encode(buf, key []byte) []byte {
	if x.Empty() {
		return buf
	}
	start, version := len(buf), indexVersion
	if x.barredUntil() != 0 {
		version = indexVersionDeletion
	}
	buf = append(buf, version)
	buf = wire.AppendUint(buf, x.History)
	buf = wire.AppendUint(buf, uint64(len(x.Blocks)))
	for _, p := range x.Blocks {
		buf = binary.BigEndian.AppendUint64(wire.AppendUint(buf, uint64(p.Number)), p.Bits)
	}
	for i := range x.Endpoints[:domain.EndpointCohort] {
		buf = x.Endpoints[i].append(buf)
	}
	buf = wire.AppendUint(wire.AppendUint(wire.AppendUint(buf, uint64(x.Accepted)), uint64(x.Deferred)), x.Journal)
	if version == indexVersionDeletion {
		buf = wire.AppendUint(x.Endpoint(domain.EndpointDelete).append(buf), uint64(x.Deleted))
	}
	return wire.SealKeyed(buf, start, key)
}

func (e *EndpointIndex) append(buf []byte) []byte {
	buf = wire.AppendUint(buf, uint64(e.Retry))
	buf = wire.AppendUint(buf, uint64(len(e.Lanes)))
	for _, l := range e.Lanes {
		buf = wire.AppendUint(wire.AppendUint(wire.AppendUint(buf, uint64(l.Number)), uint64(l.Due)), uint64(l.Count))
	}
	return buf
}

func (e *EndpointIndex) read(r *wire.Reader) {
	e.Retry = uint32(r.Uint())
	n := r.Uint()
	if n > uint64(cap(e.Lanes)) {
		e.Lanes = make([]Lane, 0, min(n, LanesOfUser+1))
	}
	for ; n > 0 && r.OK(); n-- {
		e.Lanes = append(e.Lanes, Lane{uint32(r.Uint()), uint32(r.Uint()), uint32(r.Uint())})
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
func (x *PendingIndex) decode(key, frame []byte) error {
	version := indexVersionDeletion
	if len(frame) > 0 && frame[0] < version {
		version = frame[0]
	}
	r, err := wire.UnsealKeyed(frame, version, key)
	if err != nil {
		return err
	}
	x.History = r.Uint()
	n := r.Uint()
	for i := uint64(0); i < n && r.OK(); i++ {
		number, next := r.Uint(), r.Uint64()
		if !r.OK() || number > math.MaxUint16 || len(x.Blocks) > 0 && uint16(number) <= x.Blocks[len(x.Blocks)-1].Number {
			return wire.ErrDamaged
		}
		x.Blocks = append(x.Blocks, pendingBlock{uint16(number), next})
	}
	for i := range x.Endpoints[:domain.EndpointCohort] {
		x.Endpoints[i].read(&r)
	}
	if version > 1 {
		x.Accepted, x.Deferred = uint32(r.Uint()), uint32(r.Uint())
	}
	if version > 2 {
		x.Journal = r.Uint()
	}
	if version == indexVersionDeletion {
		x.Endpoint(domain.EndpointDelete).read(&r)
		x.Deleted = uint32(r.Uint())
	}
	return r.Done()
}

// ProfileDelay is how long, in seconds, MoEngage is given to create a profile after it accepted something of a user.
// Cohort Sync silently skips users without a profile. MoEngage documents no delay.
const ProfileDelay = 60

// AwaitsProfileIn reports whether a change on the other endpoint is older than the cohort changes of a lane. Until
// it was accepted, MoEngage may have no profile of the user. Receipts are compared in whole seconds, so the changes
// of one event count as older.
func (x *PendingIndex) AwaitsProfileIn(l Lane) bool {
	for _, other := range x.Endpoint(domain.EndpointTransition).Lanes {
		if other.Due <= l.Due {
			return true
		}
	}
	return false
}

// AwaitsProfile reports whether any cohort change waits for the other endpoint.
func (x *PendingIndex) AwaitsProfile() bool {
	return slices.ContainsFunc(x.Endpoint(domain.EndpointCohort).Lanes, x.AwaitsProfileIn)
}

// ProfileCreated notes that MoEngage accepted an attribute or an event of the user at a unix second. If cohort
// changes waited for it, they are deferred until the profile exists.
func (x *PendingIndex) ProfileCreated(at uint32, waiting bool) {
	x.Accepted = at
	if waiting {
		x.Deferred = max(x.Deferred, at+ProfileDelay)
	}
}

// Defer has cohort changes that were received at due wait until the profile exists.
func (x *PendingIndex) Defer(due uint32) {
	if known := x.Accepted + ProfileDelay; x.Accepted != 0 && known > due {
		x.Deferred = max(x.Deferred, known)
	}
}

// cohortPlaces appends the user's places in the due index of the cohort endpoint: one in the lane of retries while
// there is a moment to wait for, else one for each lane.
func (x *PendingIndex) cohortPlaces(list []DuePlace) []DuePlace {
	rh := x.Endpoint(domain.EndpointCohort)
	if len(rh.Lanes) == 0 {
		return list
	}
	if wait := max(rh.Retry, x.Deferred); wait != 0 {
		return append(list, DuePlace{domain.EndpointCohort, rh.retryLane(false), wait})
	}
	for _, l := range rh.Lanes {
		due := l.Due
		if x.AwaitsProfileIn(l) {
			due = NotYet
		}
		list = append(list, DuePlace{domain.EndpointCohort, l.Number, due})
	}
	return list
}

// barredUntil returns the unix second until which nothing of the user leaves but a delete: NotYet while one is pending,
// 0 for nearly every user.
func (x *PendingIndex) barredUntil() uint32 {
	if len(x.Endpoint(domain.EndpointDelete).Lanes) > 0 {
		return NotYet
	}
	return x.Deleted
}

// barredPlaces appends the places in the due index of a user whom MoEngage is to delete, or may delete still. The delete
// has a place of its own; everything else waits for its end.
func (x *PendingIndex) barredPlaces(list []DuePlace, until uint32) []DuePlace {
	for _, endpoint := range [...]domain.Endpoint{domain.EndpointTransition, domain.EndpointCohort} {
		if len(x.Endpoint(endpoint).Lanes) > 0 {
			list = append(list, DuePlace{endpoint, LaneBarred, until})
		}
	}
	rh := x.Endpoint(domain.EndpointDelete)
	switch {
	case len(rh.Lanes) > 0 && rh.Retry != 0:
		list = append(list, DuePlace{domain.EndpointDelete, LaneRetry, rh.Retry})
	case len(rh.Lanes) > 0:
		list = append(list, DuePlace{domain.EndpointDelete, rh.Lanes[0].Number, rh.Lanes[0].Due})
	}
	return list
}
