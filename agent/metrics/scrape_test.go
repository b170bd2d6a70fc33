package metrics

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/agent/ingest"
	"personasync/scheduler"
	"personasync/store"
	syncer "personasync/sync"
)

// inspector answers with a status, or with an error.
type inspector struct {
	api.Inspector
	status condition.Status
	err    error
}

func (i *inspector) Status(context.Context) (condition.Status, error) { return i.status, i.err }

// source reads an empty store.
func source(t *testing.T, i api.Inspector) Source {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(t.TempDir(), store.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return Source{
		Version: "1.2.3", Config: config.Default, Store: s, Inspect: i, Ingest: ingest.New(ingest.Config{}, s, log),
		Plan: func() []scheduler.Planned {
			return []scheduler.Planned{{Job: "nightly", Last: scheduler.Run{Missed: 4}, Next: time.Unix(1_800_000_000, 0)}}
		},
		Health:       func() syncer.Health { return syncer.Health{State: "failing", Stopped: true} },
		Deleting:     func() syncer.Health { return syncer.Health{State: "ok"} },
		Unready:      func() string { return "" },
		Refused:      func() *condition.RefusedReload { return &condition.RefusedReload{} },
		LinesDropped: func() uint64 { return 9 }, Receivers: func() []condition.Receiver {
			return []condition.Receiver{{Name: "url", Sent: 3, Failed: 2, Failures: 1}}
		},
		ParkedByReason: func() map[string]uint64 { return map[string]uint64{"anonymous": 5} },
	}
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("a scrape is answered %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestAScrapeReadsItsSource(t *testing.T) {
	m := New()
	m.Read(source(t, &inspector{status: condition.Status{Backup: &condition.Backup{Made: "2026-03-01T01:30:00Z", AgeS: 90, Bytes: 7}, Conditions: []condition.Condition{{Name: "lag", Severity: condition.Critical}}}}))
	m.Ingest(ingest.RouteWebhook, 200, time.Millisecond)
	m.Post(syncer.Report{Code: "accepted", Users: 3, Events: 2, Bytes: 700})
	text := scrape(t, m)
	for _, line := range []string{
		`personasync_build_info{version="1.2.3",goversion="`,
		`personasync_ready 1`,
		`personasync_backup_age_seconds 90`,
		`personasync_backup_bytes 7`,
		`personasync_backup_failed 0`,
		`personasync_condition{name="lag",severity="critical"} 1`,
		`personasync_condition{name="behind",severity="warning"} 0`,
		`personasync_config_reload_refused 1`,
		`personasync_log_lines_dropped_total 9`,
		`personasync_moengage_failing 1`,
		`personasync_moengage_stopped 1`,
		`personasync_moengage_elements_total{kind="users"} 3`,
		`personasync_moengage_elements_total{kind="events"} 2`,
		`personasync_moengage_sent_bytes_total 700`,
		`personasync_ingest_requests_total{route="webhook",code="200"} 1`,
		`personasync_parked{cause="anonymous"} 5`,
		`personasync_job_missed_runs_total{job="nightly"} 4`, `personasync_notify_messages_total{receiver="url",result="sent"} 3`,
		`personasync_notify_messages_total{receiver="url",result="failed"} 2`, `personasync_notify_failing{receiver="url"} 1`,
		`personasync_scrape_errors_total 0`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %s", line)
		}
	}
}

// TestAStoreThatGivesNoAnswerIsACondition: an alert goes by it, and the scrape still has the rest.
func TestAStoreThatGivesNoAnswerIsACondition(t *testing.T) {
	m := New()
	m.Read(source(t, &inspector{err: errors.New("the disk is gone")}))
	scrape(t, m)
	text := scrape(t, m)
	for _, line := range []string{
		`personasync_condition{name="store_unreadable",severity="critical"} 1`,
		`personasync_condition{name="lag",severity="critical"} 0`,
		`personasync_ready 1`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(text, "personasync_scrape_errors_total 0") {
		t.Error("the failed scrape is not counted")
	}
	if strings.Contains(text, "personasync_changes_open") {
		t.Error("figures of a store that gave no answer")
	}
}
