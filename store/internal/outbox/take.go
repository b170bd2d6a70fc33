package outbox

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
	"personasync/store/internal/turn"
)

// leaser is a Take in progress.
type leaser struct {
	tx      *state.Tx
	o       domain.TakeOptions
	Lease   *domain.Lease
	list    []state.LeasedUser
	taken   map[string]bool
	users   int // users with attributes so far
	events  int // users with an event so far
	full    bool
	more    bool             // some lane was not read to its end
	most    int              // limit of Visited in this class
	latest  map[uint32]int64 // by job: the unix second up to which changes are due; -1: closed
	Visited int
	fields  []uint32 // see pack
	selects bool     // some computation tells some users alone, or did, and may hold changes of others still
}

// AheadOfClock is how far ahead of now a receipt is still believed. A later one was written before the clock was set
// back, and its change is due at once: the clock may take years to reach it.
const AheadOfClock = time.Minute

// visits bounds how many users one Take reads, in each class.
const visits = 8192

// Take leases the due changes, in fair turns (package turn), and writes the lease. f is nil when nothing is due.
// more says that it stopped before it had read everything that is due.
func Take(tx *state.Tx, o domain.TakeOptions) (f *domain.Lease, more bool) {
	d := NewLeaser(tx, o)
	d.Gather()
	if len(d.Lease.Users) == 0 {
		return nil, d.more
	}
	d.Remember()
	return d.Lease, d.more
}

// TakeUser is Take of one user, wherever they stand in the turns. It is nil when nothing of them is due.
func TakeUser(tx *state.Tx, o domain.TakeOptions, user string) *domain.Lease {
	d, u := NewLeaser(tx, o), tx.User(user)
	for _, at := range slices.Clone(u.WasDue) {
		if at.Lane == state.LaneBarred && at.Endpoint == o.Endpoint && d.isDue(at.Lane, at.Second) {
			d.unbar(dueEntry{user, at})
		}
	}
	if o.Endpoint == domain.EndpointCohort {
		for _, at := range slices.Clone(u.WasDue) {
			if at.Endpoint == o.Endpoint && state.IsRetry(at.Lane) {
				d.promoteOne(dueEntry{user, at})
			}
		}
	}
	for _, at := range slices.Clone(u.WasDue) {
		if at.Endpoint == o.Endpoint && d.isDue(at.Lane, at.Second) && !d.taken[user] && !d.inFlight(user) {
			d.visit(u, at.Lane, at)
		}
	}
	if len(d.list) == 0 {
		return nil
	}
	d.Remember()
	return d.Lease
}

// NewLeaser returns a leaser that has read nothing yet. Take, TakeUser and tests use it.
func NewLeaser(tx *state.Tx, o domain.TakeOptions) *leaser {
	d := &leaser{tx: tx, o: o, Lease: &domain.Lease{Endpoint: o.Endpoint}, latest: make(map[uint32]int64), taken: make(map[string]bool)}
	d.selects = tx.State.Rules.Selects() || tx.State.Ledger.Changes.Held > 0 && state.IsComparing(tx)
	d.latest[state.LaneRetry] = o.Now.Unix()
	if o.Force {
		d.latest[state.LaneRetry] = 1<<32 - 1
	}
	return d
}

// Gather reads the lanes, class by class, each in its turn.
func (d *leaser) Gather() {
	d.most = visits
	for _, at := range d.due(state.LaneBarred, turn.ClassRetry) {
		d.unbar(at)
	}
	if d.o.Endpoint == domain.EndpointCohort {
		d.promote()
	}
	waiting := d.turns()
	d.wantLanes(&waiting)
	for _, class := range d.tx.State.Shares[d.o.Endpoint-1].Order(&waiting) {
		d.most = d.Visited + visits
		for _, lane := range waiting[class] {
			if d.full || d.o.Endpoint == domain.EndpointCohort && len(d.list) > 0 {
				return // a request is about one cohort
			}
			d.collect(class, lane)
		}
	}
}

// behindUsers is behind the key of every user, which begins with their partition.
var behindUsers = []byte{0xff}

// wantLanes has the beginnings of the lanes read at once; see engine.Bucket.
func (d *leaser) wantLanes(waiting *turn.DueLanes) {
	d.tx.Due.Want(func(yield func(from, to []byte) bool) {
		lanes := state.Lanes(d.tx, d.o.Endpoint)
		for class, list := range waiting {
			for _, lane := range list {
				from := state.DueKey(d.o.Endpoint, lane, max(d.from(turn.Class(class)), lanes[lane].First), nil)
				if !yield(from, state.DueKey(d.o.Endpoint, lane, state.NotYet, behindUsers)) {
					return
				}
			}
		}
	})
}

// until returns the unix second up to which the changes of a lane are due, -1 while its schedule is closed.
func (d *leaser) until(lane uint32) int64 {
	if lane == state.LaneBarred { // not even by force
		return d.o.Now.Unix()
	}
	job := state.LaneJob(lane)
	if s, known := d.latest[job]; known {
		return s
	}
	s := int64(-1)
	if d.o.Due != nil {
		if t := d.o.Due(d.tx.State.Job(lane)); !t.IsZero() {
			s = t.Unix()
		}
	}
	d.latest[job] = s
	return s
}

// beyond returns the unix second after which the times of a lane are not believed, so that their changes are due.
func (d *leaser) beyond(lane uint32) int64 {
	switch {
	case lane == state.LaneBarred:
		return d.o.Now.Add(domain.DeletionBuffer + AheadOfClock).Unix()
	case !state.IsRetry(lane) && d.until(lane) >= 0:
		return d.o.Now.Add(AheadOfClock).Unix()
	case state.IsRetry(lane) && d.o.Longest > 0:
		return d.o.Now.Add(d.o.Longest + AheadOfClock).Unix()
	}
	return int64(state.NotYet)
}

// isDue reports whether a change of a lane is due.
func (d *leaser) isDue(lane, due uint32) bool {
	return int64(due) <= d.until(lane) || int64(due) > d.beyond(lane) && due != state.NotYet
}

// collect adds the due users of one lane until the lease is full or has no room for the next user. A lane that gave
// something, or had nothing to give, has had its turn.
func (d *leaser) collect(c turn.Class, lane uint32) {
	before, stopped := len(d.list), false
	due := d.due(lane, c)
	for i, at := range due {
		if d.full {
			break
		}
		if i%visitsAhead == 0 {
			d.want(due[i:min(i+visitsAhead, len(due))])
		}
		if d.taken[at.user] {
			continue // leased from another lane by this Take
		}
		if stopped = !d.visit(d.tx.User(at.user), lane, at.DuePlace); stopped {
			break
		}
	}
	d.served(c, lane, len(d.list)-before, stopped)
}

// visitsAhead is how many users are read at once, where that is quicker. Not all: the lease may be full before.
const visitsAhead = 512

// want has users read at once who are about to be visited.
func (d *leaser) want(list []dueEntry) {
	wantUsers(d.tx, d.o.Endpoint, func(yield func(string) bool) {
		for _, at := range list {
			if !d.taken[at.user] && !yield(at.user) {
				return
			}
		}
	})
}

// dueEntry is an entry of the due index.
type dueEntry struct {
	user string
	state.DuePlace
}

// due lists the entries of a lane that a class reads: those whose second has come, and those whose second is not
// believed, at the other end of the lane. The latter are never fresh. An entry is listed once.
func (d *leaser) due(lane uint32, c turn.Class) []dueEntry {
	last := d.until(lane)
	list := d.dueWithin(nil, lane, d.from(c), last)
	if from := max(last, d.beyond(lane)) + 1; c != turn.ClassFresh && from < int64(state.NotYet) {
		list = d.dueWithin(list, lane, uint32(from), int64(state.NotYet)-1)
	}
	return list
}

// dueWithin appends the entries of a lane from a second up to another. It removes an entry without a user id, which
// only corruption explains.
func (d *leaser) dueWithin(list []dueEntry, lane, from uint32, last int64) []dueEntry {
	var torn [][]byte
	known, room := state.Lanes(d.tx, d.o.Endpoint)[lane], d.o.MaxUsers-d.users+d.o.MaxEvents-d.events
	if known == nil {
		return list // the lane has no entries
	}
	c := d.tx.Due.Cursor()
	c.Within(state.DueKey(d.o.Endpoint, lane, 0, nil)[:5])
	k, _ := c.Seek(state.DueKey(d.o.Endpoint, lane, max(from, known.First), nil))
	if from <= known.First {
		known.Note(d.o.Endpoint, lane, k)
	}
	for ; len(k) > 9; k, _ = c.Next() {
		l, second, _ := state.DueParts(k)
		if domain.Endpoint(k[0]) != d.o.Endpoint || l != lane || int64(second) > last || len(list) > room {
			break
		}
		if d.Visited++; d.Visited > d.most {
			d.more = true
			break
		}
		switch id, _, ok := state.UserOf(k[9:]); {
		case !ok:
			torn = append(torn, bytes.Clone(k))
		case d.o.Skip != nil && d.o.Skip(id):
		case !d.inFlight(id):
			list = append(list, dueEntry{id, state.DuePlace{Endpoint: d.o.Endpoint, Lane: lane, Second: second}})
		}
	}
	for _, k := range torn {
		d.tx.Contradiction("an entry of the due index without a user id")
		d.tx.Remove(d.tx.Due, k)
		known.Gone = true
	}
	return list
}

// inFlight reports whether a user must be left out because of a request that is not answered. A delete also waits for the
// requests of the other endpoints: what arrives after it makes the user again.
func (d *leaser) inFlight(user string) bool {
	if d.o.Endpoint != domain.EndpointDelete {
		return d.tx.State.InFlight[state.LeaseKey{Endpoint: d.o.Endpoint, User: user}] != nil
	}
	return InFlight(d.tx, user)
}

// InFlight reports whether a request with a user is not answered yet, on any endpoint.
func InFlight(tx *state.Tx, user string) bool {
	for endpoint := range domain.Endpoint(domain.Endpoints) {
		if tx.State.InFlight[state.LeaseKey{Endpoint: endpoint + 1, User: user}] != nil {
			return true
		}
	}
	return false
}

// strays removes an entry of the due index that the user's pending index does not have, which only corruption
// explains, and reports whether it was one.
func (d *leaser) strays(u *state.User, at state.DuePlace) bool {
	if slices.Contains(u.WasDue, at) {
		return false
	}
	d.tx.Contradiction("a user is due at a second that their pending index does not have")
	d.tx.RemoveDue(at, u.Key)
	return true
}

// visit adds the due changes of one user, and reports whether the lane can go on.
func (d *leaser) visit(u *state.User, lane uint32, at state.DuePlace) (goOn bool) {
	if d.strays(u, at) {
		return true
	}
	rh := u.Index.Endpoint(d.o.Endpoint)
	if !d.tx.Dry {
		holdSwept(d.tx, u)
		if d.selects {
			WithholdOpen(d.tx, u, d.o.Now)
			HoldOpen(d.tx, u, d.o.Now)
			letTold(d.tx, u)
		}
	}
	changes, seats := d.pack(u, lane)
	if len(changes.Attributes) == 0 && changes.Event == nil {
		if state.IsRetry(lane) {
			rh.Retry = 0
		}
		Retime(d.tx, u, d.o.Endpoint)
		return true
	}
	if d.o.Pass != nil && d.o.Pass(changes) {
		return true
	}
	if len(changes.Attributes) > 0 && d.users >= d.o.MaxUsers || changes.Event != nil && d.events >= d.o.MaxEvents {
		return false // another lane may have changes that this limit has room for
	}
	if !d.o.Fit(changes) {
		d.full = true
		return false
	}
	d.add(changes, seats)
	return true
}

func (d *leaser) add(changes domain.UserChanges, leased state.LeasedUser) {
	if len(changes.Attributes) > 0 {
		d.users++
	}
	if changes.Event != nil {
		d.events++
	}
	d.Lease.Users = append(d.Lease.Users, changes)
	d.list = append(d.list, leased)
	d.taken[changes.User] = true
	d.full = d.users >= d.o.MaxUsers && d.events >= d.o.MaxEvents
}

// Remember writes the lease, and counts it against the rate limits.
func (d *leaser) Remember() {
	st := d.tx.State
	st.LastLease++
	d.Lease.ID = st.LastLease
	f := &state.Lease{Number: st.LastLease, Endpoint: d.o.Endpoint, Second: uint64(d.o.Now.Unix()), List: d.list}
	st.AddLease(f)
	d.tx.Put(d.tx.Bucket(state.BucketMeta), state.MetaLastLease, state.NumberKey(f.Number))
	d.tx.Put(d.tx.Bucket(state.BucketLeases), state.NumberKey(f.Number), f.Encode())
	countSent(d.tx, f.Second, f.Counts())
}

// freshFor is how long, in seconds, a change counts as fresh: one window of a rate limit. A cohort change may be due
// only after the user's other changes were accepted and ProfileDelay is over.
var freshFor = [domain.Endpoints]int64{60, 60 + 2*state.ProfileDelay, 60}

// turnsAtOnce bounds how many lanes of a class one Take reads.
const turnsAtOnce = 64

// turns returns the lanes in which something may be due, by class, in the order of their turns.
func (d *leaser) turns() (w turn.DueLanes) {
	lanes := state.Lanes(d.tx, d.o.Endpoint)
	for number, l := range lanes {
		if l.First == state.NotYet || int64(l.First) > d.until(number) && int64(l.Last) <= d.beyond(number) {
			continue
		}
		switch fresh := d.from(turn.ClassFresh); {
		case number == state.LaneBarred: // until unbar moves the user
		case state.IsRetry(number) && d.o.Endpoint == domain.EndpointCohort: // until promote moves the user
		case number == state.LaneRetry:
			w[turn.ClassRetry] = append(w[turn.ClassRetry], number)
		case state.IsBulk(number):
			w[turn.ClassBulk] = append(w[turn.ClassBulk], number)
		default:
			if l.Last >= fresh && int64(fresh) <= d.until(number) {
				w[turn.ClassFresh] = append(w[turn.ClassFresh], number)
			}
			if l.First < fresh || int64(l.Last) > d.beyond(number) {
				w[turn.ClassBacklog] = append(w[turn.ClassBacklog], number)
			}
		}
	}
	for c := range w {
		which := turn.Class(c).Turn()
		slices.SortFunc(w[c], func(x, y uint32) int {
			return cmp.Or(cmp.Compare(lanes[x].Served[which], lanes[y].Served[which]), cmp.Compare(x, y))
		})
		if len(w[c]) > turnsAtOnce {
			w[c], d.more = w[c][:turnsAtOnce], true
		}
	}
	return w
}

// from returns the second from which on changes belong to a class.
func (d *leaser) from(c turn.Class) uint32 {
	if c != turn.ClassFresh {
		return 0
	}
	return uint32(max(d.o.Now.Unix()-freshFor[d.o.Endpoint-1], 0))
}

// served ends a lane's turn. A lane that was stopped before it gave anything keeps its turn.
func (d *leaser) served(c turn.Class, lane uint32, n int, stopped bool) {
	st := d.tx.State
	if n == 0 && stopped {
		return
	}
	st.Turns++
	if l := state.Lanes(d.tx, d.o.Endpoint)[lane]; l != nil {
		l.Served[c.Turn()] = st.Turns
	}
	if d.o.Endpoint == domain.EndpointCohort {
		n = min(n, 1) // there the limit counts requests
	}
	st.Shares[d.o.Endpoint-1].Charge(c, n)
}

// unbar lets the changes of a user leave again, once MoEngage has deleted the user. If the time of that was a clock's
// that was ahead, they wait for a buffer from now.
func (d *leaser) unbar(at dueEntry) {
	u := d.tx.User(at.user)
	if d.strays(u, at.DuePlace) {
		return
	}
	u.Index.Deleted, u.Dirty = 0, true
	if int64(at.Second) > d.o.Now.Unix() {
		Bar(d.tx, u, d.o.Now)
	}
	d.tx.Reindex(u)
	u.WasDue = u.Index.DuePlaces(u.WasDue[:0])
}

// promote moves the users whose wait is over into the lanes of their cohorts. An operator's flush ends the wait for
// a retry, not the one for a profile.
func (d *leaser) promote() {
	for _, lane := range [...]uint32{state.LaneRetry, state.LaneRetryBulk} {
		for _, at := range d.due(lane, turn.ClassRetry) {
			d.promoteOne(at)
		}
	}
}

func (d *leaser) promoteOne(at dueEntry) {
	u := d.tx.User(at.user)
	if d.strays(u, at.DuePlace) {
		return
	}
	u.Index.Endpoint(domain.EndpointCohort).Retry = 0
	if d.isDue(state.LaneRetry, u.Index.Deferred) && !d.o.Force || int64(u.Index.Deferred) <= d.o.Now.Unix() {
		u.Index.Deferred = 0
	}
	u.Dirty = true
	d.tx.Reindex(u)
	u.WasDue = u.Index.DuePlaces(u.WasDue[:0])
}
