package agent

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/verify"
	"personasync/store"
	"personasync/store/domain"
)

func TestAVerificationRepairsWhatMoEngageLost(t *testing.T) {
	s := newSite(t)
	conf := s.load("PERSONASYNC_DEFAULTS_SEND=attribute")
	a := s.start(conf, RunOptions{})
	i, _ := open(t, conf)
	const n = 60
	var deliveries []string
	for i := range n {
		deliveries = append(deliveries, news(fmt.Sprintf("usr_%02d", i), true, time.Now()))
	}
	a.tell("[" + strings.Join(deliveries, ",") + "]")
	eventually(t, i, "everything has left", func(st condition.Status) bool { return st.Delivered == n })
	for i := range 7 {
		if !s.box.Lose(fmt.Sprintf("usr_%02d", i)) {
			t.Fatal("nothing to lose")
		}
	}
	c := i.(*api.Client)
	var far int64
	progress := func(done, total int64) { far = max(far, done) }
	r, err := c.Verify(t.Context(), api.VerifyOrder{Key: "vip", Repair: true}, progress)
	if err != nil {
		t.Fatal(err)
	}
	if r.Told != n || r.Compared != n || r.Differ != 7 || r.Repaired != 7 || len(r.Differences) != 7 || r.Agreement.Level != 1 {
		t.Errorf("report %+v", r)
	}
	if far != n && far != 20 && far != 40 { // a progress message is sent ten times a second at most
		t.Errorf("progress up to %d", far)
	}
	eventually(t, i, "the repair has left", func(st condition.Status) bool { return st.Delivered == n+7 && st.Pending == 0 })
	if r, err = c.Verify(t.Context(), api.VerifyOrder{Key: "vip", Sample: 25}, nil); err != nil || r.Asked != 25 || r.Differ != 0 || r.Agreement.Low >= 1 {
		t.Errorf("afterwards %+v, %v", r, err)
	}
}

func TestTheNightlyVerificationTellsInStatusWhatDiffers(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	conf := s.load("PERSONASYNC_DEFAULTS_SEND=attribute", "PERSONASYNC_VERIFY_SCHEDULE=@every 1s")
	a := s.start(conf, RunOptions{})
	i, _ := open(t, conf)
	a.tell(news("usr_ann", true, time.Now()))
	eventually(t, i, "the job has run", func(st condition.Status) bool { return st.Verify != nil && st.NextFlush == nil })
	a.stop()
	files, _ := open(t, conf)
	st, err := files.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Verify == nil || st.Verify.Computations != 1 || st.Verify.Worst != "" {
		t.Errorf("after the stop: %+v", st.Verify)
	}
}

// MoEngage has not enabled Get User for the workspace: the nightly verification proves nothing, and
// everything that shows it says so, with the code.
func TestARefusedVerificationDoesNotReadAsAgreement(t *testing.T) {
	t.Parallel() // it waits
	s := newSite(t)
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/customers/export" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"status":"fail","error":{"type":"BlockedClient","message":"Get User is not enabled"}}`)
			return
		}
		s.box.ServeHTTP(w, r)
	}))
	t.Cleanup(refuses.Close)
	s.url = refuses.URL
	conf := s.load("PERSONASYNC_DEFAULTS_SEND=attribute", "PERSONASYNC_VERIFY_SCHEDULE=0 0 29 2 *")
	a := s.start(conf, RunOptions{})
	i, _ := open(t, conf)
	a.tell(news("usr_ann", true, time.Now().Add(-time.Hour)))
	eventually(t, i, "it has left", func(st condition.Status) bool { return st.Delivered == 1 })
	if _, err := i.(*api.Client).Verify(t.Context(), api.VerifyOrder{Key: "vip"}, nil); err == nil || !strings.Contains(err.Error(), "Get User is not enabled") {
		t.Errorf("the order returned %v, want MoEngage's words", err)
	}
	failed := func(st condition.Status) bool { return st.Verify != nil && st.Verify.Failed == 1 }
	eventually(t, i, "the failure is known", failed)
	a.stop()
	files, _ := open(t, conf)
	st, err := files.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v := st.Verify; v == nil || v.Failed != 1 || v.FailedKey != "vip" || v.Code == "" || v.FailedAt == nil || v.Compared != 0 || !strings.Contains(v.Error, "Get User is not enabled") {
		t.Errorf("verify is %+v, want a failure of vip with its code", st.Verify)
	}
}

// A scheduled job that fails is in status with its code, running or stopped, and a metric says so.
func TestAFailedJobIsNotShownAsDone(t *testing.T) {
	s := newSite(t)
	conf := s.load("PERSONASYNC_DEFAULTS_SEND=attribute", "PERSONASYNC_VERIFY_SCHEDULE=@every 1s")
	a := s.start(conf, RunOptions{})
	i, _ := open(t, conf)
	a.tell(news("usr_ann", true, time.Now().Add(-time.Hour)))
	eventually(t, i, "it has left", func(st condition.Status) bool { return st.Delivered == 1 })
	a.stop()
	db, err := store.Open(conf.DataDir, store.Options{Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	err = db.SetJobRun(t.Context(), store.JobRun{Job: verify.Job, Started: now, Finished: now, Failed: 2, FailedAt: now, Code: "http_403", Error: "refused"})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	conf = s.load("PERSONASYNC_DEFAULTS_SEND=attribute", "PERSONASYNC_VERIFY_SCHEDULE=0 0 29 2 *")
	want := []condition.FailedJob{{Job: verify.Job, FailedAt: domain.Timestamp(now), Code: "http_403", Error: "refused", Failed: 2}}
	files, _ := open(t, conf)
	st, err := files.Status(t.Context())
	if err != nil || !slices.Equal(st.FailedJobs, want) {
		t.Errorf("stopped: %+v, %v, want %+v", st.FailedJobs, err, want)
	}
	a = s.start(conf, RunOptions{})
	i, _ = open(t, conf)
	if st, err = i.Status(t.Context()); err != nil || !slices.Equal(st.FailedJobs, want) {
		t.Errorf("running: %+v, %v, want %+v", st.FailedJobs, err, want)
	}
	found := Diagnose(t.Context(), conf, nil, "1.0")
	if !slices.ContainsFunc(found, func(f Finding) bool {
		return f.Check == "jobs" && f.State != "ok" && strings.Contains(f.Message, "http_403")
	}) {
		t.Errorf("doctor does not name the failed job: %+v", found)
	}
	resp, err := http.Get("http://" + a.Admin.String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(text), `personasync_job_failed{job="[verify]"} 1`) {
		t.Errorf("no metric says that the job failed: %v", err)
	}
}
