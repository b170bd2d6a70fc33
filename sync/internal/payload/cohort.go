package payload

import (
	"unicode/utf8"

	"personasync/store/domain"
)

// CohortTail ends a request of Cohort Sync, after its members.
//
// Cohort Sync (POST /v1/integrations/cohortsync) adds users to one custom segment or removes them, many per
// request:
//
//	{"action":"add_members","partner":"personasync","parameters":{"cohort_name":"High value",
//	 "cohort_id":"High value","members":[{"uid":"user-1001"},{"uid":"user-1002"}]}}
//
// The id is the name. Two computations with the same cohort name are one cohort to the operator, and a
// computation that was re-created in Segment with another id continues its cohort. The first request creates
// the segment. MoEngage silently skips unknown users, so the outbox sends a user's other changes first, if
// there are any.
const CohortTail = `]}}`

// cohortPartner is our name at MoEngage.
const cohortPartner = "personasync"

// CohortHead begins a request that adds users to the cohort of c, or removes them. Requests with the same head
// are for the same cohort in the same direction.
func CohortHead(c *domain.Change) string {
	action := "add_members"
	if c.Transition == domain.TransitionExit {
		action = "remove_members"
	}
	name := domain.CohortName(c.Name)
	b := []byte(`{"action":"` + action + `","partner":"` + cohortPartner + `","parameters":{"cohort_name":`)
	b = appendString(b, name)
	b = append(b, `,"cohort_id":`...)
	b = appendString(b, name)
	return string(append(b, `,"members":[`...))
}

// AppendMember appends one member. On an error b ends with an incomplete one, which the caller must cut off.
func AppendMember(b []byte, user string) ([]byte, error) {
	if !utf8.ValidString(user) {
		return b, errUnencodable
	}
	b = append(b, `{"uid":`...)
	return append(appendString(b, user), '}'), nil
}
