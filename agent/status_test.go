package agent

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"personasync/agent/condition"
	"personasync/agent/config"
	"personasync/store"
	"personasync/store/domain"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// The names that scripts rely on. More may be added to them; none may go.
const statusContract = `{
  "ready": true, "version": "1.0", "uptime_s": 90, "received": 11, "rejected": 2, "unapplied": 1,
  "pending": 8, "held": 9, "parked": 17, "delivered": 2, "oldest_pending_s": 30, "users": 5, "audiences": 6,
  "next_flush": "2026-03-14T10:00:00Z",
  "events": {"accepted": 1, "transitions": 2, "unchanged": 3, "duplicate": 4, "stale": 5, "ignored": 6, "parked": 7, "discarded": 8, "lost": 9},
  "changes": {"created": 1, "delivered": 2, "superseded": 3, "cancelled": 4, "dropped": 5, "expired": 6, "forgotten": 7, "pending": 8, "held": 9, "parked": 10},
  "moengage": {"state": "ok", "last_error": "", "since": "2026-03-14T09:00:00Z"}
}`

func TestStatusKeepsItsNames(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 30, 0, 0, time.UTC)
	s := condition.NewStatus(domain.Counts{
		Received: 11, Unapplied: 1, Rejected: 2, Users: 5, Audiences: 6,
		Events:        domain.EventLedger{Accepted: 1, Transitions: 2, Unchanged: 3, Duplicate: 4, Stale: 5, Ignored: 6, Parked: 7, Discarded: 8, Lost: 9},
		Changes:       domain.ChangeLedger{Created: 1, Delivered: 2, Superseded: 3, Cancelled: 4, Dropped: 5, Expired: 6, Forgotten: 7, Pending: 8, Held: 9, Parked: 10},
		OldestPending: now.Add(-30 * time.Second),
	}, nil, condition.Process{
		Started:   now.Add(-90 * time.Second),
		NextFlush: time.Date(2026, 3, 14, 12, 0, 0, 0, time.FixedZone("", 2*60*60)),
		MoEngage:  condition.Reachability{State: "ok", Since: domain.Timestamp(now.Add(-30 * time.Minute))},
	}, config.MoEngage{}, "1.0", now)
	holds(t, s, statusContract)
}

func TestStatusOfAStoppedAgent(t *testing.T) {
	s := condition.NewStatus(domain.Counts{}, nil, condition.Stopped(false), config.MoEngage{}, "1.0", time.Now())
	holds(t, s, `{"ready": false, "uptime_s": 0, "oldest_pending_s": 0, "next_flush": null,
		"moengage": {"state": "unknown", "last_error": "", "since": ""}}`)
}

func TestStatusAddsUpWhatLeft(t *testing.T) {
	s := condition.NewStatus(domain.Counts{}, []domain.SentSecond{{Users: 1, Events: 2}, {Users: 3}}, condition.Process{}, config.MoEngage{}, "", time.Now())
	if want := (condition.Sent{Users: 4, Events: 2}); s.SentLastMinute != want {
		t.Errorf("%+v left, want %+v", s.SentLastMinute, want)
	}
}

func TestTheForecastIsOfTheLimitThatTakesLongest(t *testing.T) {
	limits := config.Default().MoEngage
	for want, b := range map[string]domain.Backlog{
		`{"seconds": 2460, "limit": "users", "per_minute": 10000}`: {Users: 410_000, Events: 30_000},
		`{"seconds": 120, "limit": "events", "per_minute": 30000}`: {Users: 10_000, Events: 60_000},
		`{"seconds": 75, "limit": "cohorts", "per_minute": 300}`:   {Users: 1, Members: 1_000_000},
	} {
		s := condition.NewStatus(domain.Counts{Backlog: b}, nil, condition.Process{}, limits, "", time.Now())
		holds(t, s.Drain, want)
	}
	if s := condition.NewStatus(domain.Counts{}, nil, condition.Process{}, limits, "", time.Now()); s.Drain != nil {
		t.Errorf("a forecast without anything to send: %+v", s.Drain)
	}
}

// holds fails unless every field of want stands in v's JSON with that value.
func holds(t *testing.T, v any, want string) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var got, wanted map[string]any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	within(t, "", got, wanted)
}

func within(t *testing.T, path string, got, want map[string]any) {
	t.Helper()
	for name, w := range want {
		g, ok := got[name]
		if !ok {
			t.Errorf("%s%s is missing", path, name)
			continue
		}
		if object, nested := w.(map[string]any); nested {
			part, _ := g.(map[string]any)
			within(t, path+name+".", part, object)
			continue
		}
		if g != w {
			t.Errorf("%s%s is %v, want %v", path, name, g, w)
		}
	}
}

func TestSilenceIsOfOneAmongOthers(t *testing.T) {
	now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	list := func(ages ...time.Duration) (l []domain.ComputationInfo) {
		for _, a := range ages {
			l = append(l, domain.ComputationInfo{LastEvent: domain.Timestamp(now.Add(-a))})
		}
		return append(l, domain.ComputationInfo{Key: "never seen"})
	}
	for _, tc := range []struct {
		list   []domain.ComputationInfo
		silent []bool
	}{
		{list(), nil},
		{list(time.Hour, 47*time.Hour), []bool{false, false}},
		{list(time.Hour, 49*time.Hour), []bool{false, true}},
		{list(50*time.Hour, 49*time.Hour), []bool{false, false}}, // Segment sends nothing at all: that is another trouble
	} {
		got := condition.StalenessOf(tc.list, now)
		if len(got) != len(tc.silent) {
			t.Fatalf("%+v", got)
		}
		for i := range got {
			if got[i].Silent != tc.silent[i] {
				t.Errorf("%d s: silent %v", got[i].AgeS, got[i].Silent)
			}
		}
	}
}

// The names of the other listings, likewise.
func TestListingsKeepTheirNames(t *testing.T) {
	change := domain.UserChange{ChangeInfo: domain.ChangeInfo{Value: json.RawMessage("true")}}
	for name, c := range map[string]struct {
		item any
		keys string
	}{
		"outbox list":      {change.ChangeInfo, "id state kind user computation transition value event_time received_at attempts next_attempt reason"},
		"audience list":    {domain.ComputationInfo{}, "key id space class members entered exited held last_event"},
		"audience members": {domain.MemberInfo{}, "user since"},
		"user show":        {domain.UserInfo{}, "user memberships traits pending history"},
		"a membership":     {domain.MembershipInfo{}, "computation in since delivered"},
		"a user's change":  {change, "id state kind user computation transition value event_time received_at attempts next_attempt reason"},
		"tail":             {store.ActivityEntry{}, "at what state kind user computation transition id reason changes message_id attempts"},
		"outbox stats":     {domain.StatLine{}, "state kind computation reason cause count first last samples"},
	} {
		text, err := json.Marshal(c.item)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]json.RawMessage)
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for _, key := range strings.Fields(c.keys) {
			if _, there := got[key]; !there {
				t.Errorf("%s has lost %q: %s", name, key, text)
			}
		}
	}
}
