package api

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"personasync/store/domain"
)

// TestAVerifyOrderIsReadAsItWasSent: a sample of 0 is everybody, and no settling time is none.
func TestAVerifyOrderIsReadAsItWasSent(t *testing.T) {
	for query, want := range map[string]*VerifyOrder{
		"key=vip&sample=0&settle=0s":                {Key: "vip"},
		"key=vip&sample=7&settle=1m30s&repair=true": {Key: "vip", Sample: 7, Settle: 90 * time.Second, Repair: true},
		"key=vip&sample=7&settle=0s&repair=false":   {Key: "vip", Sample: 7},
		"key=vip&sample=-1&settle=0s":               nil,
		"key=vip&sample=some&settle=0s":             nil,
		"key=vip&settle=0s":                         nil,
		"key=vip&sample=0&settle=-1s":               nil,
		"key=vip&sample=0&settle=soon":              nil,
		"key=vip&sample=0":                          nil,
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readVerifyOrder(q)
		if want == nil && !errors.Is(err, ErrUsage) || want != nil && (err != nil || got != *want) {
			t.Errorf("%s: %+v, %v", query, got, err)
		}
	}
}

// TestAnActionIsByIDsOrByFilter: without a filter, a reason or "all", only the named changes are meant. A filter without a
// state takes parked ones.
func TestAnActionIsByIDsOrByFilter(t *testing.T) {
	since := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		order    ActionOrder
		filtered bool
		filter   domain.OutboxFilter
		text     string
	}{
		"ids":          {ActionOrder{IDs: []string{"a", "b"}}, false, domain.OutboxFilter{State: domain.StateParked}, "2 ids"},
		"nothing":      {ActionOrder{}, false, domain.OutboxFilter{State: domain.StateParked}, "0 ids"},
		"all":          {ActionOrder{All: true, Cursor: "c"}, true, domain.OutboxFilter{State: domain.StateParked, Cursor: "c"}, "parked"},
		"a reason":     {ActionOrder{Reason: "undetermined"}, true, domain.OutboxFilter{State: domain.StateParked, Reason: "undetermined"}, "parked reason=undetermined"},
		"an empty one": {ActionOrder{Filter: &ActionFilter{}}, true, domain.OutboxFilter{State: domain.StateParked}, "parked"},
		"a filter": {ActionOrder{Filter: &ActionFilter{State: "held", User: "ann", Computation: "vip", Reason: "mass_exit", Since: since, Until: since.Add(time.Hour)}}, true,
			domain.OutboxFilter{State: domain.StateHeld, User: "ann", Computation: "vip", Reason: "mass_exit", Since: since, Until: since.Add(time.Hour)},
			"held reason=mass_exit computation=vip since=2026-03-14T09:00:00Z until=2026-03-14T10:00:00Z of one user"},
	} {
		got, filtered, err := tt.order.Outbox()
		if err != nil || filtered != tt.filtered || filtered && got != tt.filter {
			t.Errorf("%s: %+v, %v, %v", name, got, filtered, err)
		}
		if text := tt.order.text(); text != tt.text {
			t.Errorf("%s is logged as %q", name, text)
		}
	}
	unknown := ActionOrder{Filter: &ActionFilter{State: "lost"}}
	if _, filtered, err := unknown.Outbox(); filtered || !errors.Is(err, ErrUsage) {
		t.Errorf("an unknown state: %v, %v", filtered, err)
	}
}
