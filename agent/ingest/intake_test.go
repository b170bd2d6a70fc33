package ingest

import (
	"testing"
	"time"

	"personasync/store/domain"
)

// TestTheIntakeForgetsCountsAfterAnHour: it keeps the time at which a route last accepted a request.
func TestTheIntakeForgetsCountsAfterAnHour(t *testing.T) {
	began := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	in := newIntake(began)
	in.answered(0, answer{status: 401}, true, true, began.Add(time.Minute))
	in.answered(0, taken, false, false, began.Add(2*time.Minute))
	in.answered(1, crowded, false, false, began.Add(2*time.Minute))
	in.answered(1, crowded, false, false, began.Add(3*time.Minute))
	in.applied(domain.EventLedger{Accepted: 90, Ignored: 80}, began)
	in.applied(domain.EventLedger{Accepted: 100, Ignored: 83}, began.Add(2*time.Minute))
	now := in.lately(began.Add(4 * time.Minute))
	if now.Settled != 10 || now.Ignored != 3 {
		t.Errorf("of ten events, three ignored: %+v", now)
	}
	if w, tr := now.Routes[0], now.Routes[1]; w.Lost != 1 || w.Strangers != 1 || w.Accepted != 1 || tr.DeferredCode != "crowded" || tr.Deferred != 2 || !tr.DeferredFrom.Equal(began.Add(2*time.Minute)) || !now.Since.Equal(began) {
		t.Errorf("lately %+v", now)
	}
	later := in.lately(began.Add(2 * time.Hour))
	if w := later.Routes[0]; w.Lost != 0 || w.Accepted != 0 || !w.LastAccepted.Equal(began.Add(2*time.Minute)) || !later.Since.Equal(began.Add(time.Hour)) {
		t.Errorf("two hours later %+v", later)
	}
}

// TestAMappingBrokenForOneAudienceIsSeen: among healthy mappings nothing showed it.
func TestAMappingBrokenForOneAudienceIsSeen(t *testing.T) {
	for raw, key := range map[string]string{
		`{"type":"identify","userId":"ann","traits":{"vip": true}}`:                  "vip",
		`{"type":"identify","userId":"ann","traits":{"vip":"false"}}`:                "vip",
		`{"type":"track","userId":"ann","event":"Audience Exited","properties":{}}`:  "",
		`{"type":"identify","userId":"ann","traits":{"plan":"vip","vip":"Tuesday"}}`: "none",
		`{"type":"identify","userId":"ann","traits":{"plan":true}}`:                  "none",
		`{"type":"track","userId":"ann","event":"Order Completed"}`:                  "none",
	} {
		in, now := newIntake(time.Now()), time.Now()
		in.know([]domain.ComputationInfo{{Key: "vip", Class: "audience"}, {Key: "plan", Class: "trait"}})
		in.webhook([]*domain.Event{{Class: domain.ClassAudience}, {Raw: []byte(raw)}, {Class: domain.ClassAudience}}, now)
		sum := in.lately(now)
		if want := key != "none"; (sum.Alike == 1) != want || want && sum.AlikeKey != key {
			t.Errorf("%s: alike %d, key %q", raw, sum.Alike, sum.AlikeKey)
		}
	}
}
