package verify

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"personasync/agent/api"
	"personasync/store"
	syncer "personasync/sync"
)

func TestWhatMoEngageDoesNotHoldIsADifference(t *testing.T) {
	held := syncer.Held{Known: true, Attributes: map[string]json.RawMessage{
		"vip": json.RawMessage("true"), "score": json.RawMessage("450.0"), "audiences": json.RawMessage(`["vip","gold"]`),
	}}
	for _, c := range []struct {
		name string
		told store.Told
		why  string // "": no difference
	}{
		{"it holds the value", store.Told{Name: "vip", Value: json.RawMessage("true")}, ""},
		{"it holds the number, written in another way", store.Told{Name: "score", Value: json.RawMessage("450")}, ""},
		{"it holds another value", store.Told{Name: "vip", Value: json.RawMessage("false")}, "other_value"},
		{"it holds none", store.Told{Name: "city", Value: json.RawMessage(`"Bergen"`)}, "missing"},
		{"the list has the entry", store.Told{Name: "audiences", Entry: "gold", Value: json.RawMessage("true")}, ""},
		{"the list lacks the entry", store.Told{Name: "audiences", Entry: "new", Value: json.RawMessage("true")}, "missing"},
		{"the list has an entry that was removed", store.Told{Name: "audiences", Entry: "vip", Value: json.RawMessage("false")}, "other_value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := &verification{report: &api.VerifyReport{}}
			v.note(differences(store.ToldUser{Attributes: []store.Told{c.told}}, held), held)
			switch list := v.report.Differences; {
			case c.why == "" && len(list) > 0:
				t.Errorf("a difference: %+v", list)
			case c.why != "" && (len(list) != 1 || list[0].Why != c.why || list[0].Got == nil):
				t.Errorf("found %+v, want %s", list, c.why)
			}
		})
	}
}

// TestAReportListsSoManyDifferences and no more: it is one answer over the socket.
func TestAReportListsSoManyDifferences(t *testing.T) {
	v := &verification{report: &api.VerifyReport{}}
	one := []store.Told{{Name: "vip", Value: json.RawMessage("true")}}
	for range api.MaxDifferences + 2 {
		v.note(one, syncer.Held{})
	}
	if n := len(v.report.Differences); n != api.MaxDifferences || v.report.Differences[0].Why != "unknown_user" {
		t.Errorf("%d differences, the first of them %+v", n, v.report.Differences[0])
	}
}

func TestTheNightlyVerificationIsOneJob(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(t.TempDir(), store.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	v := New(s, syncer.Config{}, log)
	defer v.Close()
	sample := func() int { return 10 }
	if list, err := v.Jobs("", time.UTC, sample); err != nil || len(list) != 0 {
		t.Errorf("without a schedule: %+v, %v", list, err)
	}
	if _, err := v.Jobs("never", time.UTC, sample); err == nil || !strings.Contains(err.Error(), Job) {
		t.Errorf("a schedule that is none: %v", err)
	}
	list, err := v.Jobs("0 3 * * *", time.UTC, sample)
	if err != nil || len(list) != 1 || list[0].Name != Job {
		t.Fatalf("%+v, %v", list, err)
	}
	if err := list[0].Do(t.Context(), time.Now()); err != nil {
		t.Errorf("without a computation: %v", err)
	}
	if _, err := v.Verify(t.Context(), api.VerifyOrder{Key: "nobody"}, nil); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("of a computation that is not known: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := v.Verify(ended, api.VerifyOrder{Key: "nobody"}, nil); err == nil {
		t.Error("it goes on after its end")
	}
}
