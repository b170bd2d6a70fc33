package sending

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"personasync/agent/config"
	"personasync/store/domain"
)

// configured is the default configuration with changes made to it.
func configured(change func(*config.Config)) *config.Config {
	c := config.Default()
	change(c)
	return c
}

func TestOnlyWhatHasAScheduleWaitsForOne(t *testing.T) {
	c := configured(func(c *config.Config) {
		c.Computations = []config.Computation{{Key: "vip"}, {Key: "weekly", Schedule: "@weekly"}}
	})
	if got := slices.Sorted(maps.Keys(SchedulesByJob(c))); !slices.Equal(got, []string{c.Computations[1].Name()}) {
		t.Errorf("in real time %q have a schedule", got)
	}
	c.Schedule.Mode, c.Schedule.Cron = "cron", "0 3 * * *"
	list, err := Schedules(c)
	if err != nil || len(list) != 2 || list[0].Job != "" || JobTitle(list[0].Job) != DefaultJob {
		t.Errorf("with a cron: %+v, %v", list, err)
	}
	c.Computations[1].Schedule = "never"
	if _, err := Schedules(c); err == nil || !strings.Contains(err.Error(), "schedule of "+c.Computations[1].Name()) {
		t.Errorf("a schedule that is none: %v", err)
	}
	c.Computations[1].Schedule, c.Schedule.Cron = "@weekly", "never"
	if list, err := Schedules(c); err == nil || list != nil || !strings.Contains(err.Error(), DefaultJob) {
		t.Errorf("a default schedule that is none: %+v, %v", list, err)
	}
	if all := SchedulesByJob(c); all != nil {
		t.Errorf("of a configuration that is not in force there are %v", all)
	}
}

// TestEachEndpointHasItsOwnLimits: MoEngage counts requests of Cohort Sync, and elements of everything else.
func TestEachEndpointHasItsOwnLimits(t *testing.T) {
	c := configured(func(c *config.Config) { c.MoEngage.CohortsPerMinute = 7 })
	transition, cohort := Config(c, domain.EndpointTransition), Config(c, domain.EndpointCohort)
	if transition.CallsPerMinute != 0 || transition.UsersPerMinute != c.MoEngage.UsersPerMinute {
		t.Errorf("transitions: %d requests, %d users a minute", transition.CallsPerMinute, transition.UsersPerMinute)
	}
	if cohort.CallsPerMinute != 7 || cohort.UsersPerMinute != 0 || cohort.EventsPerMinute != 0 {
		t.Errorf("cohorts: %d requests, %d users, %d events a minute", cohort.CallsPerMinute, cohort.UsersPerMinute, cohort.EventsPerMinute)
	}
	if cohort.MaxRequestBytes <= transition.MaxRequestBytes {
		t.Errorf("a request of a cohort has at most %d bytes, one of transitions %d", cohort.MaxRequestBytes, transition.MaxRequestBytes)
	}
	// A proxy on the way takes no more of the one than of the other.
	c.MoEngage.MaxRequestBytes /= 2
	if got := Config(c, domain.EndpointCohort).MaxRequestBytes; got != c.MoEngage.MaxRequestBytes {
		t.Errorf("below a lower limit a cohort's request has %d bytes", got)
	}
}

// TestRealTimeIsOfTheDefaultJobAlone: a computation with a schedule of its own waits for it.
func TestRealTimeIsOfTheDefaultJobAlone(t *testing.T) {
	c := configured(func(*config.Config) {})
	if s := Config(c, domain.EndpointTransition); !s.Realtime("") || s.Realtime("weekly") {
		t.Error("in real time")
	}
	c.Schedule.Mode = "cron"
	if Config(c, domain.EndpointTransition).Realtime("") {
		t.Error("with a cron changes leave at once")
	}
}
