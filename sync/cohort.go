package syncer

import (
	"unicode/utf8"

	"personasync/store/domain"
)

// Cohort Sync (POST /v1/integrations/cohortsync) adds to one custom segment or removes from it, many
// users a request:
//
//	{"action":"add_members","partner":"personasync","parameters":{"cohort_name":"High value",
//	 "cohort_id":"High value","members":[{"uid":"user-1001"},{"uid":"user-1002"}]}}
//
// The id is the name: two computations that resolve to one name are one cohort to whoever runs the
// configuration, and a computation that was re-created in Segment under another id goes on with its
// cohort. The segment is made by its first request. Users that MoEngage does not know are passed over
// without a word; the outbox sees to it that they were told first, where anything else of them is told.
const cohortTail = `]}}`

// cohortPartner is who speaks, in MoEngage's books.
const cohortPartner = "personasync"

// What MoEngage's page "Cohort Sync" allows.
const (
	CohortCallsPerMinute = 300     // requests a minute and workspace
	CohortRequestBytes   = 128_000 // "128 KB", read the careful way
)

func cohortHead(c *domain.Change) string {
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

// appendMember appends one member. On error b holds a torn one; the caller cuts it.
func appendMember(b []byte, user string) ([]byte, error) {
	if !utf8.ValidString(user) {
		return b, errUnencodable
	}
	b = append(b, `{"uid":`...)
	return append(appendString(b, user), '}'), nil
}
