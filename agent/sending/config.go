package sending

import (
	"personasync/agent/config"
	"personasync/store/domain"
	syncer "personasync/sync"
)

// Config is what the sender of an endpoint needs of a configuration.
func Config(c *config.Config, to domain.Endpoint) syncer.Config {
	realtime := c.Schedule.Mode != "cron"
	m := &c.MoEngage
	s := syncer.Config{
		Endpoint: to,
		BaseURL:  c.BaseURL(), WorkspaceID: m.WorkspaceID, APIKey: m.APIKey.Current(), ForwardedFor: m.ForwardedFor, Region: m.DataCenter,
		Timeout: m.Timeout.Duration, Concurrency: m.Concurrency,
		UsersPerMinute: m.UsersPerMinute, EventsPerMinute: m.EventsPerMinute, MaxRequestBytes: m.MaxRequestBytes,
		UpdateExistingOnly: m.UpdateExistingOnly, RealTimeAction: m.RealTimeAction,
		MinBackoff: c.Retry.MinBackoff.Duration, MaxBackoff: c.Retry.MaxBackoff.Duration, MaxAttempts: c.Retry.MaxAttempts,
		Realtime: func(job string) bool { return realtime && job == "" },
		MaxDelay: c.Schedule.MaxDelay.Duration,
	}
	if to == domain.EndpointDelete { // at once, whatever the schedule, and one at a time: an outage makes one uncertain
		s.Off = !m.DeleteUsers
		s.UsersPerMinute, s.EventsPerMinute, s.CallsPerMinute = 0, 0, syncer.DeletesPerMinute
		s.Concurrency, s.MaxDelay, s.Realtime, s.MaxAttempts = 1, 0, nil, 0
	}
	if to == domain.EndpointCohort {
		s.UsersPerMinute, s.EventsPerMinute, s.CallsPerMinute = 0, 0, m.CohortsPerMinute
		if m.MaxRequestBytes >= config.Default().MoEngage.MaxRequestBytes { // else something on the way takes no more
			s.MaxRequestBytes = syncer.CohortRequestBytes
		}
	}
	return s
}
