package metrics

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store"
	"personasync/store/domain"
)

// TestAScrapeShowsComputationsAndVerifications: members, held changes and times of each, and a verification that failed.
func TestAScrapeShowsComputationsAndVerifications(t *testing.T) {
	dir, at := t.TempDir(), time.Date(2026, 3, 14, 9, 0, 0, 500e6, time.UTC)
	s, err := store.Open(dir, store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.SetRules(t.Context(), config.Default().Rules()); err != nil {
		t.Fatal(err)
	}
	for i, user := range []string{"ann", "bob", "bob"} {
		e := &domain.Event{
			Received: at, Time: at.Add(time.Duration(i) * time.Second), MessageID: fmt.Sprint("m", i), Raw: []byte(`{}`), Call: domain.CallIdentify,
			User: domain.Identifier{ID: user}, Class: domain.ClassAudience, Space: "spa", ComputationID: "aud_1", Key: "vip", Flag: domain.FlagIn,
		}
		if i == 2 {
			e.Flag = domain.FlagOut
		}
		if err := s.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	trait := &domain.Event{
		Received: at, Time: at, MessageID: "m9", Raw: []byte(`{"traits":{"score":7}}`), Call: domain.CallIdentify, User: domain.Identifier{ID: "ann"},
		Class: domain.ClassTrait, Space: "spa", ComputationID: "tra_1", Key: "score", Columns: []domain.Column{{Name: "score", Value: domain.Span{Off: 19, Len: 1}}},
	}
	if err := s.Append(t.Context(), trait); err != nil {
		t.Fatal(err)
	}
	if err := s.Applied(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, v := range []store.Verification{
		{Key: "vip", ID: "aud_1", At: at, Compared: 20, Differ: 3}, {Key: "score", ID: "tra_1", At: at, Code: "http_401"},
	} {
		if err := s.SetVerification(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	m, src := New(), source(t, &inspector{status: condition.Status{}})
	src.Store = s
	m.Read(src)
	m.Accepted(domain.KindAttribute, 90*time.Second)
	m.Accepted(domain.KindEvent, -time.Hour) // the clock was set back
	text := scrape(t, m)
	for _, line := range []string{
		`personasync_computation_members{computation="vip",space="spa"} 1`,
		`personasync_computation_entered_total{computation="vip",space="spa"} 2`,
		`personasync_computation_exited_total{computation="vip",space="spa"} 1`,
		`personasync_computation_held{computation="vip",space="spa"} 0`,
		`personasync_computation_held{computation="score",space="spa"} 0`,
		`personasync_computation_last_event_timestamp_seconds{computation="vip",space="spa"} 1.7734788005e+09`,
		`personasync_computations{class="audience"} 1`,
		`personasync_changes_open{state="held"} 0`,
		`personasync_changes_open{state="parked"} 0`,
		`personasync_computations{class="trait"} 1`,
		`personasync_computations_unlabelled 0`,
		`personasync_verify_compared_users{computation="vip"} 20`,
		`personasync_verify_differing_users{computation="vip"} 3`,
		`personasync_verify_failed{computation="vip"} 0`,
		`personasync_verify_failed{computation="score"} 1`,
		`personasync_delivery_delay_seconds_count{method="attribute"} 1`,
		`personasync_delivery_delay_seconds_sum{method="attribute"} 90`,
		`personasync_delivery_delay_seconds_sum{method="event"} 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			var have []string
			for l := range strings.Lines(text) {
				if strings.HasPrefix(l, name) {
					have = append(have, l)
				}
			}
			t.Errorf("no line %s in\n%s", line, strings.Join(have, ""))
		}
	}
	if strings.Contains(text, `personasync_computation_members{computation="score"`) {
		t.Error("a trait has members")
	}
}
