package inspect

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/agent/sending"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// TestTheSentenceOnAWaitingChangeSaysWhatItWaitsFor, in UTC, and what to type where only an operator helps.
func TestTheSentenceOnAWaitingChangeSaysWhatItWaitsFor(t *testing.T) {
	oslo, err := time.LoadLocation("Europe/Oslo")
	if err != nil {
		t.Fatal(err)
	}
	daily, err := scheduler.Parse("0 3 * * *", oslo)
	if err != nil {
		t.Fatal(err)
	}
	next := time.Date(2026, 3, 15, 3, 0, 0, 0, oslo)
	plan := []Planned{
		{Schedule: daily, Planned: scheduler.Planned{Job: sending.JobTitle("computation:vip"), Spec: "0 3 * * *", Next: next}},
		{Schedule: daily, Planned: scheduler.Planned{Job: sending.JobTitle("computation:off"), Spec: "0 3 * * *"}},
	}
	change := func(c domain.ChangeInfo) domain.ChangeInfo { c.ID = "00000001-7-0"; return c }
	for name, tt := range map[string]struct {
		c    domain.UserChange
		want string
	}{
		"in flight":      {domain.UserChange{Wait: domain.WaitUnderWay}, "it is in a request under way"},
		"behind another": {domain.UserChange{Wait: domain.WaitBehind, Behind: "00000001-3-0"}, "an earlier event of this user goes first: 00000001-3-0"},
		"after one failure": {domain.UserChange{Wait: domain.WaitRetry, ChangeInfo: change(domain.ChangeInfo{Attempts: 1, Reason: "http_503", NextAttempt: "2026-03-14T12:00:05Z"}), Answer: &domain.Answer{Status: 503}},
			"1 attempt failed, the last with http_503; tried again from 2026-03-14 12:00:05 UTC on"},
		"after failures with another answer": {domain.UserChange{Wait: domain.WaitRetry, ChangeInfo: change(domain.ChangeInfo{Attempts: 3, Reason: "overloaded", NextAttempt: "2026-03-14T12:00:05Z"}), Answer: &domain.Answer{Status: 503}},
			"3 attempts failed, the last with overloaded (HTTP 503); tried again from 2026-03-14 12:00:05 UTC on"},
		"after failures without an answer": {domain.UserChange{Wait: domain.WaitRetry, ChangeInfo: change(domain.ChangeInfo{Attempts: 2})},
			"2 attempts failed, the last with no answer; tried again from now on"},
		"a cohort":       {domain.UserChange{Wait: domain.WaitAccount}, "a cohort takes users that MoEngage knows: it leaves 60 s after the user's other changes were accepted"},
		"parked":         {domain.UserChange{Wait: domain.WaitParked, ChangeInfo: change(domain.ChangeInfo{Kind: "event", Reason: "data_refused"})}, "it could not be delivered: data_refused; remove the cause, then `personasync outbox retry 00000001-7-0`"},
		"a parked event": {domain.UserChange{Wait: domain.WaitParked, Sentence: "Nothing says so.", ChangeInfo: change(domain.ChangeInfo{Kind: "received", Reason: "undetermined"})}, "it could not be used: Nothing says so.; remove the cause, then `personasync outbox retry 00000001-7-0`"},
		"a schedule":     {domain.UserChange{Wait: domain.WaitDue, Job: "computation:vip"}, "(0 3 * * *), next at 2026-03-15 02:00 UTC, there 03:00 +0100"},
		"no next run":    {domain.UserChange{Wait: domain.WaitDue, Job: "computation:off"}, "it waits for the schedule " + sending.JobTitle("computation:off")},
	} {
		if got := waitText(&tt.c, plan); !strings.HasSuffix(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// TestAFlushTakesTheChangesOfItsJobAlone, due or not.
func TestAFlushTakesTheChangesOfItsJobAlone(t *testing.T) {
	now, nightly := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC), "nightly"
	for _, tt := range []struct {
		job  *string
		of   string
		want time.Time
	}{{nil, "", now}, {nil, "nightly", now}, {&nightly, "nightly", now}, {&nightly, "", time.Time{}}, {&nightly, "weekly", time.Time{}}} {
		o := flushOptions(domain.EndpointCohort, tt.job, 7, now)
		if got := o.Due(tt.of); !got.Equal(tt.want) || !o.Force || o.MaxUsers != 7 || o.MaxEvents != 7 || o.Endpoint != domain.EndpointCohort || !o.Now.Equal(now) || !o.Fit(domain.UserChanges{}) {
			t.Errorf("of %q: due %v, %+v", tt.of, got, o)
		}
	}
}

// TestAChangePageOfEachKindShowsItsRequest, or says why there is none.
func TestAChangePageOfEachKindShowsItsRequest(t *testing.T) {
	at := time.Date(2026, 3, 14, 9, 0, 0, 0, time.FixedZone("far", 7200))
	s := syncer.Config{BaseURL: "https://moengage.example", WorkspaceID: "WS", APIKey: "key"}
	for kind, want := range map[domain.Kind]string{
		domain.KindAttribute: "/v1/transition/WS", domain.KindEvent: "/v1/transition/WS", domain.KindList: "/v1/transition/WS", domain.KindCohort: "cohortsync",
		domain.KindReceived: "has nothing to send", domain.Kind(99): "cannot be shown",
	} {
		c := &domain.Change{
			ID: domain.ID{Epoch: 1, Seq: 7}, Kind: kind, User: "ann", Name: "vip", Value: domain.JSONTrue, Transition: domain.TransitionEnter, EventTime: at, Received: at,
			Successor: domain.ID{Epoch: 1, Seq: 9}, Answer: domain.Answer{Status: 400, At: at}, Computation: "vip", ComputedBy: "aud_1", Sentence: "No.",
		}
		of := s
		of.Endpoint = endpointOf(kind)
		p := newChangePage(c, []byte(`{ "a": 1 }`), of)
		shown := p.NoRequest
		if p.Request != nil {
			shown = p.Request.URL
		}
		if !strings.Contains(shown, want) || (p.Request == nil) != (p.NoRequest != "") || of.Endpoint == domain.EndpointCohort && kind != domain.KindCohort {
			t.Errorf("kind %d shows %q, want %q", kind, shown, want)
		}
		if p.SupersededBy != c.Successor.String() || p.Answer == nil || p.Answer.At.Location() != time.UTC || !p.Answer.At.Equal(at) || string(p.Event) != `{"a":1}` || p.ComputationID != "aud_1" || p.Sentence != "No." {
			t.Errorf("kind %d: %+v", kind, p)
		}
	}
	bare := newChangePage(&domain.Change{ID: domain.ID{Epoch: 1, Seq: 7}, Kind: domain.KindReceived}, nil, s)
	if bare.SupersededBy != "" || bare.Answer != nil || string(bare.Event) != "null" || string(bare.Value) != "null" {
		t.Errorf("%+v", bare)
	}
}

func TestAnEventIsShownAsJSONToADepth(t *testing.T) {
	for depth, want := range map[int]byte{1: '[', 256: '[', 257: '"'} {
		raw := strings.Repeat("[", depth) + strings.Repeat("]", depth)
		if got := printable([]byte(raw)); got[0] != want || !json.Valid(got) {
			t.Errorf("%d nested arrays are shown as %.20s", depth, got)
		}
	}
	wide := "[" + strings.Repeat("[],", 300) + "[]]"
	if got := printable([]byte(wide)); got[0] != '[' {
		t.Errorf("many arrays beside each other are shown as %.20s", got)
	}
}

// TestTheJournalOfAUserSaysWhyEachOpenChangeWaits.
func TestTheJournalOfAUserSaysWhyEachOpenChangeWaits(t *testing.T) {
	l := filled(t, false)
	page, err := l.Journal(t.Context(), domain.JournalFilter{User: "ann"})
	if err != nil || len(page.Items) != 1 || len(page.Items[0].Told) == 0 {
		t.Fatalf("%+v, %v", page, err)
	}
	for _, told := range page.Items[0].Told {
		if told.Open == nil || !strings.Contains(told.Waits, "it is due") {
			t.Errorf("%+v waits: %q", told, told.Waits)
		}
	}
	if page, err := l.Journal(t.Context(), domain.JournalFilter{}); err != nil || len(page.Items) != 2 {
		t.Errorf("of everybody: %+v, %v", page, err)
	}
}

// TestABackupThatIsScheduledIsShown, wherever its job stands in the list.
func TestABackupThatIsScheduledIsShown(t *testing.T) {
	daily, err := scheduler.Parse("0 3 * * *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	job := func(name string) Planned {
		return Planned{Schedule: daily, Planned: scheduler.Planned{Job: name, Spec: "0 3 * * *"}}
	}
	for want, plan := range map[int][]Planned{0: {job("[verify]")}, 1: {job(condition.BackupJob)}, 2: {job("[verify]"), job(condition.BackupJob)}} {
		l := filled(t, false, func(s *Source) { s.Plan = func(*store.View) ([]Planned, error) { return plan, nil } })
		st, err := l.Status(t.Context())
		if err != nil || (st.Backup != nil) != (want > 0) {
			t.Errorf("with %d jobs: %+v, %v", len(plan), st.Backup, err)
		}
	}
}
