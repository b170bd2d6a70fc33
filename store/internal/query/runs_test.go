package query

import (
	"testing"
	"time"

	"personasync/store/domain"
	"personasync/store/internal/state"
)

// TestRecordsOfLastRunsAreReadByTheirKind. One that cannot be read is an error that says which, and none is none.
func TestRecordsOfLastRunsAreReadByTheirKind(t *testing.T) {
	r := newRoom(t, domain.SendNone)
	none := func() {
		t.Helper()
		pause, err := r.Pause()
		r.Must(err)
		backup, err := r.GoodBackup()
		r.Must(err)
		notices, err := r.Notices()
		r.Must(err)
		jobs, err := r.JobRuns()
		r.Must(err)
		if pause != nil || backup != nil || len(notices)+len(jobs) != 0 {
			t.Errorf("of nothing there are %+v, %+v, %+v, %+v", pause, backup, notices, jobs)
		}
	}
	none()
	r.Put(state.BucketRuns, []byte(PauseKey), []byte(`{"since":"2026-03-14T09:00:00Z","why":"freeze","by":"ann"}`))
	r.Put(state.BucketRuns, []byte(BackupKey), []byte(`{"file":"/b/1","bytes":7}`))
	r.Put(state.BucketRuns, []byte(RunOfNotices+"url"), []byte(`{"receiver":"url","last":{"condition":"lag","told":"began"},"open":[{"condition":"lag"}]}`))
	r.Put(state.BucketRuns, []byte(RunOfNotices+"command"), []byte(`{"receiver":"command","open":[]}`))
	r.Put(state.BucketRuns, []byte(RunOfJob+"nightly"), []byte(`{"job":"nightly","missed":3}`))
	if p, err := r.Pause(); err != nil || p == nil || p.Why != "freeze" || p.By != "ann" || !p.Since.Equal(time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)) {
		t.Errorf("the pause is %+v, %v", p, err)
	}
	if b, err := r.GoodBackup(); err != nil || b == nil || b.File != "/b/1" || b.Bytes != 7 {
		t.Errorf("the backup is %+v, %v", b, err)
	}
	if n, err := r.Notices(); err != nil || len(n) != 2 || n[0].Receiver != "command" || n[1].Last == nil || n[1].Last.Condition != "lag" || len(n[1].Open) != 1 {
		t.Errorf("the notices are %+v, %v", n, err)
	}
	if runs, err := r.JobRuns(); err != nil || len(runs) != 1 || runs[0].Job != "nightly" || runs[0].Missed != 3 {
		t.Errorf("the runs are %+v, %v", runs, err)
	}
	for _, key := range []string{PauseKey, BackupKey, RunOfNotices + "url", RunOfJob + "nightly"} {
		r.Put(state.BucketRuns, []byte(key), []byte("{"))
	}
	_, pause := r.Pause()
	_, backup := r.GoodBackup()
	_, notices := r.Notices()
	_, jobs := r.JobRuns()
	for what, err := range map[string]error{"pause": pause, "backup": backup, "notices": notices, "jobs": jobs} {
		if err == nil {
			t.Errorf("%s: half a record was read", what)
		}
	}
}

// TestALineOfActivityNamesItsChange: it can be looked up by the id that the line shows, after a restore too.
func TestALineOfActivityNamesItsChange(t *testing.T) {
	r := newRoom(t, domain.SendAttribute)
	r.receive(enter("ann", "vip", 1), enter("bob", "vip", 2, func(e *domain.Event) { e.Fault = "undetermined" }))
	r.settle(r.take(domain.EndpointTransition), delivered)
	a, err := r.Activity(ActivityFilter{Limit: 100})
	r.Must(err)
	looked := map[string]bool{}
	for _, line := range a.Items {
		if line.State == "" && line.What != "parked" {
			continue // an event that is not kept
		}
		id, err := domain.ParseID(line.ID)
		r.Must(err)
		if _, _, err := r.Change(id); err != nil {
			t.Errorf("%s of %s: %v", line.What, line.User, err)
		}
		looked[line.What] = true
	}
	if !looked["sent"] || !looked["parked"] {
		t.Errorf("the lines are %+v", a.Items)
	}
}
