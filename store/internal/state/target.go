package state

import (
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
	CohortColumn = targetMark + "cohort"
	ListColumn   = targetMark + "list"
)

// Kind is what the changes of a field become that are kept in its row.
func (f *Field) Kind() domain.Kind {
	switch {
	case f.forwarded():
		return domain.KindAttribute
	case f.Column == CohortColumn:
		return domain.KindCohort
	case f.Column == ListColumn:
		return domain.KindList
	}
	return domain.KindAttribute
}

func (f *Field) Endpoint() domain.Endpoint {
	if f.Kind() == domain.KindCohort {
		return domain.EndpointCohort
	}
	return domain.EndpointTransition
}

// SQLColumn is the column of a SQL trait's row, "" when there is none.
func (f *Field) SQLColumn() string {
	if f.Kind() != domain.KindAttribute {
		return ""
	}
	return f.Column
}

// Beside returns the field of a computation's column or channel, nil before it was first used.
func (r *Registry) Beside(f *Field, column string) *Field {
	for _, x := range r.ByName[FieldName{f.Space, f.Key, column}] {
		if x.ID == f.ID {
			return x
		}
	}
	return nil
}

// TargetFields returns the fields by which a computation ever told its membership: its own, and its targets.
func (r *Registry) TargetFields(f *Field) []*Field {
	list := []*Field{f}
	for _, column := range [...]string{CohortColumn, ListColumn} {
		if x := r.Beside(f, column); x != nil {
			list = append(list, x)
		}
	}
	return list
}

// Speaker returns the computation whose channel f is, and f itself if it is none.
func (r *Registry) Speaker(f *Field) *Field {
	if f.Kind() == domain.KindAttribute {
		return f
	}
	return cmp.Or(r.Beside(f, ""), f)
}

// Targets returns the fields by which computation f tells its membership besides its attribute.
func (tx *Tx) Targets(f *Field, p *domain.Policy) (fields []*Field) {
	if p.Send.Has(domain.SendCohort) {
		fields = append(fields, tx.FieldBeside(f, CohortColumn, f.Class))
	}
	if p.Send.Has(domain.SendList) {
		fields = append(fields, tx.FieldBeside(f, ListColumn, f.Class))
	}
	return fields
}

// Membership returns what there is to tell of a membership as it is now.
func (e *Entry) Membership() (domain.Transition, []byte) {
	if e.Newest().IsIn() {
		return domain.TransitionEnter, domain.JSONTrue
	}
	return domain.TransitionExit, domain.JSONFalse
}

// A request speaks of one cohort and either adds or removes. So on the endpoint of cohorts a lane is a job,
// a cohort and a direction: who leaves together stands together in the due index. Older files name such a
// lane like a job; so do very many jobs or fields, for which a lane's number has no room.
func cohortLane(job string, f *Field, t domain.Transition) string {
	direction := "+"
	if t == domain.TransitionExit {
		direction = "-"
	}
	return job + targetMark + strconv.FormatUint(uint64(f.Number), 10) + direction
}

// jobOfLane returns the job in a lane's name.
func jobOfLane(name string) string {
	job, _, _ := strings.Cut(name, targetMark)
	return job
}
