package store

import (
	"bytes"
	"cmp"
	"strconv"
	"strings"

	"personasync/store/domain"
)

// A channel is a way of telling a membership that has a memory of its own: what the cohort, or the list,
// was last told, and what waits for it. So each is a field beside the computation's own, found by a
// column that no SQL trait has. Its entry in a user's row holds no Assertion, only what is told and
// what waits; everything that holds of an attribute change holds of its changes, too: they collapse to
// the net difference, are in one request at a time, and are parked, held and settled alike.
//
//	the computation   statements, and the attribute
//	"\x00cohort"      a cohort, on an endpoint of its own
//	"\x00list"        an entry of the list attribute, on the endpoint of attributes
const (
	targetMark   = "\x00"
	cohortColumn = targetMark + "cohort"
	listColumn   = targetMark + "list"
)

// kind is what the changes of a field become that are kept in its row.
func (f *field) kind() domain.Kind {
	switch {
	case f.forwarded():
		return domain.KindAttribute
	case f.column == cohortColumn:
		return domain.KindCohort
	case f.column == listColumn:
		return domain.KindList
	}
	return domain.KindAttribute
}

func (f *field) endpoint() domain.Endpoint {
	if f.kind() == domain.KindCohort {
		return domain.EndpointCohort
	}
	return domain.EndpointTransition
}

// sqlColumn is the column of a SQL trait's row, "" when there is none.
func (f *field) sqlColumn() string {
	if f.kind() != domain.KindAttribute {
		return ""
	}
	return f.column
}

// beside returns the field of a computation's column or channel, nil before it was first used.
func (r *registry) beside(f *field, column string) *field {
	for _, x := range r.byName[fieldName{f.space, f.key, column}] {
		if x.id == f.id {
			return x
		}
	}
	return nil
}

// targetFields returns the fields by which a computation ever told its membership: its own, and its targets.
func (r *registry) targetFields(f *field) []*field {
	list := []*field{f}
	for _, column := range [...]string{cohortColumn, listColumn} {
		if x := r.beside(f, column); x != nil {
			list = append(list, x)
		}
	}
	return list
}

// speaker returns the computation whose channel f is, and f itself if it is none.
func (r *registry) speaker(f *field) *field {
	if f.kind() == domain.KindAttribute {
		return f
	}
	return cmp.Or(r.beside(f, ""), f)
}

// targets returns the fields by which computation f tells its membership besides its attribute.
func (b *batch) targets(f *field, p *domain.Policy) (fields []*field) {
	if p.Send.Has(domain.SendCohort) {
		fields = append(fields, b.beside(f, cohortColumn, f.class))
	}
	if p.Send.Has(domain.SendList) {
		fields = append(fields, b.beside(f, listColumn, f.class))
	}
	return fields
}

// updateTargets has the cohort and the list told of a membership as it is now. They know but one, where
// a computation may keep identify and track apart: what moved one of the two may move nothing here, and
// a repeat of the one may, being newer than the other.
func (b *batch) updateTargets(u *user, f *field, p *domain.Policy, en *entry, c *cause) {
	t, want := en.membership()
	for _, channel := range b.targets(f, p) {
		e := b.entry(u, channel.number)
		if e.expects(t, want, p.UnknownExit) {
			continue
		}
		b.wantAttribute(u, channel, p, e, c, t, want)
		b.write(u, channel.number)
	}
}

// membership returns what there is to tell of a membership as it is now.
func (e *entry) membership() (domain.Transition, []byte) {
	if e.newest().IsIn() {
		return domain.TransitionEnter, domain.JSONTrue
	}
	return domain.TransitionExit, domain.JSONFalse
}

// expects reports whether what is told, once what waits has left, is what is wanted.
func (e *entry) expects(t domain.Transition, want []byte, unknownExit bool) bool {
	if e.waiting.pending() {
		return bytes.Equal(e.waiting.value, want)
	}
	return e.waiting.id.IsZero() && e.inFlight.id.IsZero() && needless(e, t, want, unknownExit)
}

// A request speaks of one cohort and either adds or removes. So on the endpoint of cohorts a lane is a job,
// a cohort and a direction: who leaves together stands together in the due index. Older files name such a
// lane like a job; so do very many jobs or fields, for which a lane's number has no room.
func cohortLane(job string, f *field, t domain.Transition) string {
	direction := "+"
	if t == domain.TransitionExit {
		direction = "-"
	}
	return job + targetMark + strconv.FormatUint(uint64(f.number), 10) + direction
}

// jobOfLane returns the job in a lane's name.
func jobOfLane(name string) string {
	job, _, _ := strings.Cut(name, targetMark)
	return job
}

// introduction is how long, in seconds, MoEngage is given to know a user that it was told of. Cohort
// Sync passes over users whom it does not know, without a word; how long after a 200 a user is known
// is documented nowhere.
const introduction = 60

// strangers reports whether a change waits on the other endpoint that is older than the cohort changes of
// a lane: until it was accepted, MoEngage may not know the user. Receipt is compared in whole seconds,
// so that what one event brought about counts as older.
func (h *head) strangers(l lane) bool {
	for _, other := range h.endpoint(domain.EndpointTransition).lanes {
		if other.due <= l.due {
			return true
		}
	}
	return false
}

// stranger reports whether any cohort change waits for the other endpoint.
func (h *head) stranger() bool {
	for _, l := range h.endpoint(domain.EndpointCohort).lanes {
		if h.strangers(l) {
			return true
		}
	}
	return false
}

// introduce notes that MoEngage accepted something of the user on the endpoint of attributes and events.
// waiting says that cohort changes were waiting for just that.
func (h *head) introduce(at uint32, waiting bool) {
	h.accepted = at
	if waiting {
		h.aside = max(h.aside, at+introduction)
	}
}

// setAside has cohort changes received at due wait until the user is known.
func (h *head) setAside(due uint32) {
	if known := h.accepted + introduction; h.accepted != 0 && known > due {
		h.aside = max(h.aside, known)
	}
}

// notYet is the second under which a cohort change stands in the due index while an older change of its
// user waits on the other endpoint.
const notYet = ^uint32(0)

// cohortStands appends where a user stands in the due index of the cohort endpoint: once in the lane of
// retries while there is a moment to wait for, else once a lane.
func (h *head) cohortStands(list []stand) []stand {
	rh := h.endpoint(domain.EndpointCohort)
	if len(rh.lanes) == 0 {
		return list
	}
	if wait := max(rh.retry, h.aside); wait != 0 {
		return append(list, stand{domain.EndpointCohort, rh.retryLane(false), wait})
	}
	for _, l := range rh.lanes {
		due := l.due
		if h.strangers(l) {
			due = notYet
		}
		list = append(list, stand{domain.EndpointCohort, l.number, due})
	}
	return list
}

// ripen moves the users whose wait is over into the lanes of their cohorts. An operator's flush ends
// the wait for a retry, and not the one for being known.
func (d *leaser) ripen() {
	for _, lane := range [...]uint32{laneRetry, laneRetryBulk} {
		for _, at := range d.due(lane, classRetry) {
			d.ripenOne(at)
		}
	}
}

func (d *leaser) ripenOne(at dueEntry) {
	u := d.b.user(at.user)
	if d.strays(u, at.stand) {
		return
	}
	u.head.endpoint(domain.EndpointCohort).retry = 0
	if d.isDue(laneRetry, u.head.aside) && !d.o.Force || int64(u.head.aside) <= d.o.Now.Unix() {
		u.head.aside = 0
	}
	u.dirty = true
	d.b.reindex(u)
	u.was = u.head.stands(u.was[:0])
}
