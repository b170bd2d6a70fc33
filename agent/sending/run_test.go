package sending

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"personasync/agent/config"
	"personasync/scheduler"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// moengage answers requests by a rule, and keeps their bodies by path.
type moengage struct {
	mu    sync.Mutex
	rule  func(path, body string) int // status
	taken []string                    // bodies of accepted requests
	asked int
}

func (m *moengage) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	status := 200
	if m.rule != nil {
		status = m.rule(r.URL.Path, string(body))
	}
	answer := `{"status":"success"}`
	if status != 200 {
		answer = `{"status":"fail","error":{"type":"x","message":"y"}}`
	} else {
		m.taken = append(m.taken, string(body))
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(answer)), Request: r}, nil
}

func (m *moengage) set(rule func(path, body string) int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rule = rule
}

// has counts accepted requests with a text.
func (m *moengage) has(text string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, body := range m.taken {
		n += min(strings.Count(body, text), 1)
	}
	return n
}

// underWay runs the senders of c over a store, in a bubble, and ends them behind do.
func underWay(t *testing.T, m *moengage, change func(c *config.Config), do func(t *testing.T, s *Senders, data *store.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		data, err := store.Open(t.TempDir(), store.Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		c := config.Default()
		c.MoEngage.WorkspaceID, c.MoEngage.BaseURL = "WS", "https://moengage.test"
		change(c)
		if err := data.SetRules(t.Context(), c.Rules()); err != nil {
			t.Fatal(err)
		}
		s := New(c, func(c *config.Config, e domain.Endpoint) syncer.Config {
			of := Config(c, e)
			of.Transport = m
			return of
		}, data, slog.New(slog.DiscardHandler))
		ctx, end := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		do(t, s, data)
		end()
		if err := errors.Join(<-ended, data.Close()); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// enters has a user enter the audience vip now.
func enters(t *testing.T, data *store.Store, user string) {
	t.Helper()
	now := time.Now()
	e := &domain.Event{
		Received: now, Time: now, MessageID: "m-" + user, Raw: []byte(`{"type":"identify"}`), Call: domain.CallIdentify, User: domain.Identifier{ID: user},
		Class: domain.ClassAudience, Space: "spa", ComputationID: "aud_1", Key: "vip", Flag: domain.FlagIn,
	}
	if err := errors.Join(data.Append(t.Context(), e), data.Applied(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// TestTheHealthIsThatOfTheEndpointThatFails: a status that called MoEngage reachable would hide that cohorts stand still.
func TestTheHealthIsThatOfTheEndpointThatFails(t *testing.T) {
	cohort := func(path string) bool { return strings.Contains(path, "cohort") }
	for name, tt := range map[string]struct {
		refused func(path string) bool
		state   string
	}{
		"both answer":            {func(string) bool { return false }, "ok"},
		"cohorts are refused":    {cohort, "failing"},
		"attributes are refused": {func(path string) bool { return !cohort(path) }, "failing"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &moengage{rule: func(path, _ string) int {
				if tt.refused(path) {
					return 401
				}
				return 200
			}}
			underWay(t, m, func(c *config.Config) { c.Defaults.Send = domain.SendAttribute | domain.SendCohort }, func(t *testing.T, s *Senders, data *store.Store) {
				if h := s.Health(); h.State != "unknown" {
					t.Errorf("before the first answer: %+v", h)
				}
				enters(t, data, "ann")
				time.Sleep(3 * time.Minute) // a cohort takes users that MoEngage has known for a minute
				if h := s.Health(); h.State != tt.state || h.Stopped != (tt.state == "failing") {
					t.Errorf("%+v", h)
				}
			})
		})
	}
}

// TestNothingLeavesDuringAPause, be it until a time, or until it is resumed.
func TestNothingLeavesDuringAPause(t *testing.T) {
	m := &moengage{}
	underWay(t, m, func(c *config.Config) { c.Defaults.Send = domain.SendAttribute }, func(t *testing.T, s *Senders, data *store.Store) {
		s.Pause(&domain.Pause{Why: "freeze"})
		enters(t, data, "ann")
		time.Sleep(3 * time.Hour)
		if n := m.asked; n != 0 {
			t.Errorf("%d requests left during a pause", n)
		}
		s.Pause(nil)
		time.Sleep(time.Minute)
		if m.has(`"ann"`) != 1 {
			t.Error("nothing left after the pause")
		}
		s.Pause(&domain.Pause{Why: "freeze", Until: time.Now().Add(time.Hour)})
		enters(t, data, "bob")
		time.Sleep(59 * time.Minute)
		if m.has(`"bob"`) != 0 {
			t.Error("it left before the end of the pause")
		}
		time.Sleep(2 * time.Minute)
		if m.has(`"bob"`) != 1 {
			t.Error("nothing left at the end of the pause")
		}
	})
}

// TestARunOfAScheduleEndsWithItsChanges, and takes those along that came before a later time of the schedule.
func TestARunOfAScheduleEndsWithItsChanges(t *testing.T) {
	m := &moengage{rule: func(_, body string) int {
		if strings.Contains(body, `"ann"`) {
			return 503
		}
		return 200
	}}
	underWay(t, m, func(c *config.Config) {
		c.Defaults.Send = domain.SendAttribute
		c.Schedule.Mode, c.Schedule.Cron = "cron", "*/10 * * * *"
	}, func(t *testing.T, s *Senders, data *store.Store) {
		enters(t, data, "ann")
		time.Sleep(time.Hour)
		if m.asked != 0 {
			t.Errorf("%d requests left before a run", m.asked)
		}
		drained := make(chan error, 1)
		go func() { drained <- s.Drain(t.Context(), "", time.Now()) }()
		time.Sleep(time.Minute)
		enters(t, data, "bob")
		time.Sleep(5 * time.Minute)
		if m.has(`"bob"`) != 0 {
			t.Error("a change left before the next time of its schedule")
		}
		m.set(nil)
		time.Sleep(30 * time.Minute)
		select {
		case err := <-drained:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("a run whose changes have left does not end")
		}
		if m.has(`"ann"`) != 1 {
			t.Errorf("ann was taken %d times", m.has(`"ann"`))
		}
		enters(t, data, "cid")
		job := ""
		s.Flush(&job)
		time.Sleep(time.Minute)
		if m.has(`"cid"`) != 1 || m.has(`"bob"`) != 1 {
			t.Error("a flush leaves changes behind")
		}
		enters(t, data, "dan")
		ended, end := context.WithCancel(t.Context())
		end()
		if err := s.Drain(ended, "", time.Now()); !errors.Is(err, context.Canceled) {
			t.Errorf("a run at a stop: %v", err)
		}
	})
}

// TestALongRunTakesLaterChangesAtTheTimesOfTheirSchedule: no other run of the job begins meanwhile.
func TestALongRunTakesLaterChangesAtTheTimesOfTheirSchedule(t *testing.T) {
	m := &moengage{}
	underWay(t, m, func(c *config.Config) {
		c.Defaults.Send = domain.SendAttribute
		c.Schedule.Mode, c.Schedule.Cron = "cron", "*/10 * * * *"
		c.MoEngage.UsersPerMinute = 60
	}, func(t *testing.T, s *Senders, data *store.Store) {
		for i := range 700 { // more than eleven minutes of them
			enters(t, data, fmt.Sprint("crowd-", i))
		}
		time.Sleep(time.Until(time.Now().Truncate(10 * time.Minute).Add(10 * time.Minute)))
		drained := make(chan error, 1)
		go func() { drained <- s.Drain(t.Context(), "", time.Now()) }()
		time.Sleep(2 * time.Minute)
		enters(t, data, "late")
		time.Sleep(7*time.Minute + 30*time.Second)
		if m.has(`"late"`) != 0 || len(drained) > 0 {
			t.Errorf("late left %d times before its time; runs ended: %d", m.has(`"late"`), len(drained))
		}
		time.Sleep(5 * time.Minute)
		if m.has(`"late"`) != 1 || len(drained) != 1 {
			t.Errorf("late left %d times; runs ended: %d", m.has(`"late"`), len(drained))
		}
	})
}

func TestTheNextTimeOfAScheduleIsLookedForEveryMinute(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 0, 30, 0, time.UTC)
	hourly, err := scheduler.Parse("0 * * * *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	minutely, err := scheduler.Parse("* * * * *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		schedule scheduler.Schedule
		want     time.Duration
	}{"hourly": {hourly, time.Minute}, "every minute": {minutely, 30 * time.Second}, "none": {scheduler.Schedule{}, time.Minute}} {
		if got := untilNext(tt.schedule, now); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
