package sandbox

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Each field that MoEngage's documents require is missed by name, and each has its type.
func TestEachRequiredFieldIsMissed(t *testing.T) {
	pair := `{"merged_user":"user-1","retained_user":"user-2"}`
	for _, tt := range []struct {
		read func([]byte) (content, *refusal)
		body string
		want string // the message; "" if it is accepted
	}{
		{readCohort, fineCohort, ""},
		{readCohort, `{"action":"remove_members","partner":"p","parameters":{"cohort_name":"A","cohort_id":"c1","members":[{"uid":"u1"},{"uid":"u2"}]}}`, ""},
		{readCohort, `{"action":"add_members"}`, "partner is not found"},
		{readCohort, `{"action":"add_members","partner":"p"}`, "parameters is not found"},
		{readCohort, `{"action":"add_members","partner":"p","parameters":{"cohort_name":"A"}}`, "cohort_id is not found"},
		{readCohort, `{"action":"add_members","partner":"p","parameters":{"cohort_id":"c1"}}`, "cohort_name is not found"},
		{readCohort, strings.Replace(fineCohort, `"A"`, `"A|B"`, 1), "not allowed"},
		{readCohort, strings.Replace(fineCohort, "uid", "id", 1), "uid is not found"},
		{readCohort, strings.Replace(fineCohort, `"user-1"`, "1", 1), "expected string"},

		{readExport, `{"data":{"identifiers":[{"identifier_type":"customer_id","identifier":"u1"}],"user_fields_to_export":["a"]}}`, ""},
		{readExport, `{"data":{}}`, "identifiers is not found"},
		{readExport, `{"data":{"identifiers":[{"identifier_type":"moengage_id","identifier":"u1"}]}}`, "identifier_type should be customer_id"},
		{readExport, `{"data":{"identifiers":[{"identifier_type":"customer_id","identifier":1}]}}`, "expected string"},

		{readDeletion, `{"identity_type":"customer_id","identity_value":"u1"}`, ""},
		{readDeletion, `{"identity_value":"u1"}`, "identity_type is not found"},
		{readDeletion, `{"identity_type":"moengage_id","identity_value":"u1"}`, "identity_type should be customer_id"},
		{readDeletion, `{"identity_type":"customer_id","identity_value":""}`, "expected string"},

		{readMerger, `{"merge_data":[` + pair + `]}`, ""},
		{readMerger, `{"merge_data":[` + strings.Repeat(pair+",", maxPairs-1) + pair + `]}`, ""},
		{readMerger, `{"merge_data":[` + strings.Repeat(pair+",", maxPairs) + pair + `]}`, "max limit allowed is 50"},
		{readMerger, `{"merge_data":[]}`, "merge_data is not found"},
		{readMerger, `{"merge_data":[{"merged_user":"u1"}]}`, "retained_user is not found"},
		{readMerger, `{"merge_data":[{"merged_user":1}]}`, "expected string"},

		{readPartner, `{"type":"identify","user_id":"u1","traits":{}}`, ""},
		{readPartner, `{"type":"identify","anonymous_id":"u1"}`, ""},
		{readPartner, `{"type":"identify","user_id":"u1","traits":[]}`, "expected object"},
		{readPartner, `{"type":"identify"}`, "user_id is not found"},
		{readPartner, `{"type":"track","user_id":"u1"}`, "event is not found"},
		{readPartner, `{"type":"page","user_id":"u1"}`, "type should be identify/track"},

		{readBulk, bulkBody(fine), ""},
		{readBulk, `{"type":"transition","elements":{}}`, "'elements cannot be empty array"},
		{readBulk, `{"type":"bulk","elements":[{}]}`, "type should be transition"},
	} {
		_, got := tt.read([]byte(tt.body))
		if (got == nil) != (tt.want == "") || got != nil && !strings.Contains(got.message, tt.want) {
			t.Errorf("%.120s: %+v, want %q", tt.body, got, tt.want)
		}
	}
}

// The record counts the users that were read before a refusal.
func TestARefusedBodyHasTheUsersThatWereRead(t *testing.T) {
	c, r := readCohort([]byte(strings.Replace(fineCohort, `{"uid":"user-1"}`, `{"uid":"user-1"},{"uid":"user-2"},{"uid":3}`, 1)))
	if r == nil || len(c.elements) != 2 || c.cohort != (cohortChange{add: true, id: "c1", name: "A"}) {
		t.Errorf("%+v, %+v", c, r)
	}
}

func TestUnsettingsMatchAsTheySay(t *testing.T) {
	all := readUnsettings([]byte(`[{"type":"equals","attr":"Plan","case_sensitive":true},{"type":"prefix","attr":"tmp_"},{"type":"suffix","attr":"_old"},{"type":"contains","attr":"DRAFT"},{"type":"regexp","attr":".*"}]`))
	for name, want := range map[string]bool{
		"Plan": true, "plan": false, "TMP_a": true, "a_tmp_": false, "a_OLD": true, "_old_a": false, "my_draft_1": true, "other": false,
	} {
		if got := unsets(all, name); got != want {
			t.Errorf("%s is unset: %v", name, got)
		}
	}
}

func TestTimesOfEvents(t *testing.T) {
	want := time.Date(2026, 8, 1, 12, 34, 56, 0, time.UTC)
	for raw, known := range map[string]bool{
		`"2026-08-01T12:34:56Z"`: true, `"2026-08-01T14:34:56+02:00"`: true, `"2026-08-01T12:34:56"`: true,
		fmt.Sprint(want.Unix()): true, fmt.Sprint(want.UnixMilli()): true, `"` + fmt.Sprint(want.Unix()) + `"`: true,
		`"yesterday"`: false, `{}`: false,
	} {
		if got, ok := eventTime([]byte(raw)); ok != known || ok && !got.Equal(want) {
			t.Errorf("%s is %v, %v", raw, got, ok)
		}
	}
	if got, ok := eventTime([]byte(`"2026-08-01"`)); !ok || !got.Equal(want.Truncate(24*time.Hour)) {
		t.Errorf("a day is %v, %v", got, ok)
	}
}

// Merging keeps the retained user's values, moves the events, and skips a pair with an unknown user.
func TestMerging(t *testing.T) {
	s := serve(t, Options{KeepAll: true})
	wantStatus(t, s.bulk(customerOf("user-1", `{"a":1,"b":1}`), eventOf("user-1", `{"action":"x"}`), customerOf("user-2", `{"b":2}`)), 200)
	wantStatus(t, s.post(mergePath, `{"merge_data":[{"merged_user":"user-1","retained_user":"user-2"},{"merged_user":"nobody","retained_user":"user-2"},{"merged_user":"user-2","retained_user":"user-2"}]}`), 200)
	wantRules(t, s.Sandbox, UnknownUID, UnknownUID)
	wantAttribute(t, s.Sandbox, "user-2", "a", "1")
	wantAttribute(t, s.Sandbox, "user-2", "b", "2")
	if _, known := s.User("user-1"); known || len(s.Events("user-2")) != 1 {
		t.Errorf("user-1 is known: %v; %d events", known, len(s.Events("user-2")))
	}
	if s.Events("user-1") != nil {
		t.Error("events of a user who is not known")
	}
}

// All limits that a request can meet.
func TestEachEndpointHasItsLimit(t *testing.T) {
	s := serve(t, Options{UsersPerMinute: 2, EventsPerMinute: 1, CohortsPerMinute: 1, ExportsPerMinute: 1})
	wantStatus(t, s.bulk(customerOf("user-1", `{}`), customerOf("user-2", `{}`)), 200)
	wantStatus(t, s.bulk(eventOf("user-1", `{"action":"x"}`)), 200)
	for path, body := range map[string]string{cohortsPath: fineCohort, exportPath: exportBody("user-1"), bulkPath: bulkBody(eventOf("user-1", `{"action":"x"}`)), customerPath: customerOf("user-1", `{}`)} {
		got := s.post(path, body)
		if path == cohortsPath || path == exportPath {
			wantStatus(t, got, 200)
			got = s.post(path, body)
		}
		wantStatus(t, got, 429)
		if left := got.header.Get(remainingHeader); left != "0" {
			t.Errorf("%s: %s are left", path, left)
		}
	}
	if n := s.Stats().Limited; n != 4 {
		t.Errorf("%d requests over a limit, want 4", n)
	}
	if got := s.Stats(); got.MaxUsersInWindow != 2 || got.MaxEventsInWindow != 1 || got.MaxCohortsInWindow != 1 || got.Profiles != 2 || got.Cohorts != 1 {
		t.Errorf("stats %+v", got)
	}
}
