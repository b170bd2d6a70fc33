package condition

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"personasync/agent/config"
	"personasync/agent/ingest"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
)

// instant is the time of these tests.
var instant = time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)

// TestOneSilentComputationAmongOthersIsSilent: Segment computes once a day at least. If it sends nothing at all, that is
// another condition.
func TestOneSilentComputationAmongOthersIsSilent(t *testing.T) {
	ago := func(key string, d time.Duration) domain.ComputationInfo {
		return domain.ComputationInfo{Key: key, ID: "aud_" + key, LastEvent: instant.Add(-d).Format(time.RFC3339Nano)}
	}
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		list   []domain.ComputationInfo
		silent []string
	}{
		"all are fresh":             {[]domain.ComputationInfo{ago("a", time.Hour), ago("b", day)}, nil},
		"one is silent":             {[]domain.ComputationInfo{ago("a", time.Hour), ago("b", 2*day+time.Second)}, []string{"b"}},
		"for exactly two days":      {[]domain.ComputationInfo{ago("a", time.Hour), ago("b", 2*day)}, nil},
		"the others are old, too":   {[]domain.ComputationInfo{ago("a", 2*day), ago("b", 5*day)}, nil},
		"the others are nearly old": {[]domain.ComputationInfo{ago("a", 2*day-time.Second), ago("b", 5*day)}, []string{"b"}},
		"one never had an event":    {[]domain.ComputationInfo{ago("a", time.Hour), {Key: "never"}}, nil},
		"none":                      {nil, nil},
	} {
		all, silent := StalenessOf(tt.list, instant), []string(nil)
		for _, s := range all {
			if s.Silent {
				silent = append(silent, s.Key)
			}
			if s.Key == "never" || s.ID != "aud_"+s.Key {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if !slices.Equal(silent, tt.silent) || all == nil {
			t.Errorf("%s: silent are %v, want %v", name, silent, tt.silent)
		}
	}
	if all := StalenessOf([]domain.ComputationInfo{ago("a", 90*time.Second)}, instant); len(all) != 1 || all[0].AgeS != 90 {
		t.Errorf("%+v", all)
	}
}

func TestGuardedAudiencesAreThoseWhoseExitsAreHeld(t *testing.T) {
	got := Guarded([]domain.ComputationInfo{{Key: "a", Held: 3}, {Key: "b", ID: "aud_b", Held: 7, ExitsHeldSince: "then"}})
	if want := []GuardedAudience{{"b", "aud_b", 7, "then"}}; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if none := Guarded(nil); none == nil || len(none) != 0 {
		t.Errorf("none is %#v", none)
	}
}

// TestTheLimitThatTakesLongestDecidesWhenABacklogIsSent: the limits are independent, and are counted a minute.
func TestTheLimitThatTakesLongestDecidesWhenABacklogIsSent(t *testing.T) {
	m := config.MoEngage{UsersPerMinute: 60, EventsPerMinute: 120, CohortsPerMinute: 6}
	for name, tt := range map[string]struct {
		backlog domain.Backlog
		limits  config.MoEngage
		want    *Drain
	}{
		"nothing":                   {domain.Backlog{}, m, nil},
		"users":                     {domain.Backlog{Users: 61, Events: 120}, m, &Drain{Seconds: 61, Limit: "users", PerMinute: 60}},
		"events":                    {domain.Backlog{Users: 60, Events: 121}, m, &Drain{Seconds: 61, Limit: "events", PerMinute: 120}},
		"as long":                   {domain.Backlog{Users: 60, Events: 120}, m, &Drain{Seconds: 60, Limit: "users", PerMinute: 60}},
		"members of one request":    {domain.Backlog{Members: 2700}, m, &Drain{Seconds: 10, Limit: "cohorts", PerMinute: 6}},
		"members of two":            {domain.Backlog{Members: 2701}, m, &Drain{Seconds: 20, Limit: "cohorts", PerMinute: 6}},
		"a limit that is not known": {domain.Backlog{Users: 5, Events: 2}, config.MoEngage{EventsPerMinute: 120}, &Drain{Seconds: 1, Limit: "events", PerMinute: 120}},
	} {
		if tt.want != nil {
			tt.want.Backlog = tt.backlog
		}
		if got := drainOf(tt.backlog, tt.limits); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

// TestAStatusJoinsTheStoreAndTheProcess, with ages in whole seconds. What is unknown is null, or 0.
func TestAStatusJoinsTheStoreAndTheProcess(t *testing.T) {
	counts := domain.Counts{
		Received: 9, Rejected: 2, Unapplied: 1, Users: 5, Audiences: 3, OldestPending: instant.Add(-90500 * time.Millisecond),
		Events: domain.EventLedger{Accepted: 8, Parked: 4}, Changes: domain.ChangeLedger{Pending: 7, Held: 6, Parked: 10, Delivered: 11},
		Backlog: domain.Backlog{Users: 60},
	}
	p := Process{Started: instant.Add(-time.Hour), NextFlush: instant.Add(1500 * time.Millisecond), MoEngage: Reachability{State: "ok"}}
	s := NewStatus(counts, []domain.SentSecond{{Users: 2, Events: 1}, {Users: 3, Events: 4}}, p, config.MoEngage{UsersPerMinute: 60}, "1.0", instant)
	if !s.Ready || s.Unready != "" || s.Version != "1.0" || s.Received != 9 || s.Rejected != 2 || s.Unapplied != 1 || s.Pending != 7 || s.Held != 6 || s.Parked != 14 || s.Delivered != 11 || s.Users != 5 || s.Audiences != 3 {
		t.Errorf("%+v", s)
	}
	if s.UptimeS != 3600 || s.OldestPendingS != 90 || s.OldestPending == nil || !s.OldestPending.Equal(counts.OldestPending) || s.SentLastMinute != (Sent{5, 5}) || s.Drain == nil || s.Drain.Seconds != 60 || s.MoEngage.State != "ok" {
		t.Errorf("%+v", s)
	}
	if s.NextFlush == nil || !s.NextFlush.Equal(instant.Add(time.Second)) || s.Refusals == nil || s.LastReceived != nil {
		t.Errorf("%+v", s)
	}
	for starting, want := range map[bool]string{true: "starting", false: "stopped"} {
		s := NewStatus(domain.Counts{}, nil, Stopped(starting), config.MoEngage{}, "1.0", instant)
		if s.Ready || s.Unready != want || s.MoEngage.State != "unknown" || s.OldestPending != nil || s.NextFlush != nil || s.Drain != nil || s.UptimeS != 0 || s.OldestPendingS != 0 {
			t.Errorf("%s: %+v", want, s)
		}
	}
	if Age(instant.Add(time.Hour), instant) != 0 || Age(time.Time{}, instant) != 0 || Age(instant, instant) != 0 || Age(instant.Add(-1999*time.Millisecond), instant) != 1 {
		t.Error("an age is whole seconds of the past")
	}
}

// TestTheChangeThatIsMostOverdueIsFound: one that waits for its schedule is due at the next run after its receipt.
func TestTheChangeThatIsMostOverdueIsFound(t *testing.T) {
	daily, err := scheduler.Parse("0 3 * * *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	schedules := map[string]scheduler.Schedule{"nightly": daily}
	at := func(hour int) time.Time { return time.Date(2026, 3, 14, hour, 0, 0, 500, time.UTC) }
	for name, tt := range map[string]struct {
		oldest map[string]time.Time
		paused bool
		want   int // hour; 0: none
	}{
		"none":                           {nil, false, 0},
		"at once":                        {map[string]time.Time{"": at(8)}, false, 8},
		"it waits for its schedule":      {map[string]time.Time{"nightly": at(4)}, false, 0},
		"it missed its schedule":         {map[string]time.Time{"nightly": at(1)}, false, 3},
		"the older of two":               {map[string]time.Time{"": at(8), "other": at(7), "nightly": at(4)}, false, 7},
		"the older of two, by its run":   {map[string]time.Time{"": at(4), "nightly": at(1)}, false, 3},
		"due in the future":              {map[string]time.Time{"": at(10)}, false, 0},
		"sending is paused by operators": {map[string]time.Time{"": at(8)}, true, 0},
	} {
		s := &Status{}
		if tt.paused {
			s.Pause = &domain.Pause{Why: "freeze"}
		}
		f := &Facts{Now: instant, Status: s, Oldest: tt.oldest, Process: Process{Schedules: schedules}}
		got := f.OldestDue()
		if (got != nil) != (tt.want > 0) || got != nil && !got.Equal(time.Date(2026, 3, 14, tt.want, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestAReceiverIsShownWithItsLastMessage: the record is on disk, and the rest is known by the running agent alone.
func TestAReceiverIsShownWithItsLastMessage(t *testing.T) {
	kept := []store.Notices{{Receiver: "url", Last: &store.Notice{Condition: "lag", Told: "began", ToldAt: instant}}, {Receiver: "gone"}}
	now := []Receiver{{Name: "url", Waiting: 2, Sent: 5}, {Name: "gone", Sent: 9}}
	got := NewNotify([]string{"url", "command"}, kept, now)
	want := &Notify{Receivers: []Receiver{{Name: "url", Told: "lag", State: "began", ToldAt: "2026-03-14T09:00:00Z", Waiting: 2, Sent: 5}, {Name: "command"}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if off := NewNotify(nil, kept, now); off != nil {
		t.Errorf("turned off it is %+v", off)
	}
	if n := NoticesOf(kept, "url"); n.Last == nil || n.Last.Condition != "lag" {
		t.Errorf("%+v", n)
	}
	if n := NoticesOf(kept, "command"); n.Receiver != "command" || n.Last != nil {
		t.Errorf("%+v", n)
	}
}

// TestAVerificationThatCannotBeRepeatedDoesNotStand: of a computation that is gone, or is not sent as an attribute any more.
func TestAVerificationThatCannotBeRepeatedDoesNotStand(t *testing.T) {
	recorded := []store.Verification{{Key: "vip", ID: "aud_1"}, {Key: "gone", ID: "aud_2"}, {Key: "vip", ID: "aud_former"}, {Key: "events", ID: "aud_3"}, {Key: "twin"}}
	known := []domain.ComputationInfo{{Key: "vip", ID: "aud_1"}, {Key: "events", ID: "aud_3"}, {Key: "twin"}}
	sends := func(id string) (bool, error) {
		if id == "twin" {
			return false, &store.AmbiguousError{Key: id}
		}
		return id == "aud_1", nil
	}
	kept, err := Standing(recorded, known, sends)
	var keys []string
	for _, k := range kept {
		keys = append(keys, k.Key+k.ID)
	}
	if err != nil || strings.Join(keys, " ") != "vipaud_1 twin" {
		t.Errorf("%v, %v", keys, err)
	}
	broken := errors.New("broken")
	if _, err := Standing(recorded, known, func(string) (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("the rules cannot be read: %v", err)
	}
}

// TestTheWorstVerificationIsTheFirstOfEqualShares, so that a status does not change by itself.
func TestTheWorstVerificationIsTheFirstOfEqualShares(t *testing.T) {
	list := []store.Verification{{Key: "a", Compared: 10}, {Key: "b", Compared: 10, Differ: 2, At: instant}, {Key: "c", Compared: 5, Differ: 1, At: instant}, {Key: "d", Compared: 100, Differ: 3}}
	s := SumVerifications(list)
	if s.Worst != "b" || s.Compared != 125 || s.Differ != 6 || s.Verified != 4 || s.Unproven != 0 || !s.At.Equal(instant) {
		t.Errorf("%+v", s)
	}
	first, second := instant.Add(-time.Hour), instant
	s = SumVerifications([]store.Verification{{Key: "a", Code: "http_401", FailedAt: &second}, {Key: "b", Code: "http_403", FailedAt: &second}, {Key: "c", Code: "failed", FailedAt: &first}, {Key: "d"}, {Key: "e", Told: 3}})
	if s.Failed != 3 || s.FailedKey != "a" || s.Code != "http_401" || s.Unproven != 2 || s.UnprovenKey != "e" {
		t.Errorf("%+v", s)
	}
	if SumVerifications(nil) != nil {
		t.Error("of none there is a sum")
	}
}

// TestTheWorstRouteDecidesHowSevereRefusalsAre: what one route takes says nothing of another. Events are lost if they are
// on one of them.
func TestTheWorstRouteDecidesHowSevereRefusalsAre(t *testing.T) {
	mild := ingest.IntakeRoute{Route: ingest.RouteWebhook, Lost: 1, Accepted: 2000}
	strangers := ingest.IntakeRoute{Route: ingest.RouteWebhook, Lost: 4, Strangers: 4, Accepted: 2000}
	refusal := func(route string) domain.Refusal {
		return domain.Refusal{Route: route, Status: 401, Code: "invalid_signature", Count: 4, Delivery: true, Last: instant.Add(-time.Minute)}
	}
	for name, tt := range map[string]struct {
		routes   []ingest.IntakeRoute
		refused  []string
		severity string
		lost     bool
	}{
		"a few of many":               {[]ingest.IntakeRoute{mild}, []string{ingest.RouteWebhook}, warning, true},
		"and all of another":          {[]ingest.IntakeRoute{mild, {Route: ingest.RouteTracking, Lost: 4}}, []string{ingest.RouteWebhook, ingest.RouteTracking}, Critical, true},
		"strangers":                   {[]ingest.IntakeRoute{strangers}, []string{ingest.RouteWebhook}, warning, false},
		"strangers, and all of one":   {[]ingest.IntakeRoute{strangers, {Route: ingest.RouteTracking, Lost: 4}}, []string{ingest.RouteWebhook, ingest.RouteTracking}, Critical, true},
		"strangers, and a few of one": {[]ingest.IntakeRoute{strangers, {Route: ingest.RouteTracking, Lost: 1, Accepted: 2000, LastAccepted: instant}}, []string{ingest.RouteWebhook, ingest.RouteTracking}, warning, true},
		"none":                        {[]ingest.IntakeRoute{mild}, nil, "", false},
	} {
		s := &Status{Intake: &ingest.Intake{Routes: tt.routes}}
		for _, route := range tt.refused {
			s.Refusals = append(s.Refusals, refusal(route))
		}
		c := (&Facts{Now: instant, Status: s, LastReceived: domain.LastReceived{Webhook: instant}}).intakeRefused()
		if (c == nil) != (tt.severity == "") || c != nil && (c.Severity != tt.severity || (c.Lost == "") != tt.lost) {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// TestEachRefusalNamesItsRemedy: the setting at fault, in Segment or in the configuration.
func TestEachRefusalNamesItsRemedy(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   string
		want   string
	}{
		{404, "not_found", "URL in Segment"}, {405, "method_not_allowed", "method in Segment"}, {413, "body_too_large", "ingest.max_body_bytes"},
		{401, "invalid_token", "ingest.bearer_token"}, {401, "invalid_write_key", "ingest.write_keys"}, {401, "invalid_signature", "ingest.shared_secret"},
		{400, "invalid_json", "The answer names their fault"},
	} {
		if got := cureOf(&domain.Refusal{Status: tt.status, Code: tt.code}); !strings.Contains(got, tt.want) {
			t.Errorf("%d %s: %q, want %s", tt.status, tt.code, got, tt.want)
		}
	}
}
