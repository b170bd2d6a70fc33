package agent

import (
	syncer "personasync/sync"

	"log/slog"

	"personasync/agent/config"
	"personasync/agent/ingest"
	"personasync/store"
	"personasync/store/domain"
)

// What the parts of the agent need of a configuration.

func storeOptions(c *config.Config, log *slog.Logger) store.Options {
	return store.Options{
		Log:           log.With("part", "store"),
		Delivered:     c.Retention.Delivered.Duration,
		ReceivedFor:   c.Retention.Received.Duration,
		ReceivedBytes: c.Retention.ReceivedBytes,
		Parked:        c.Retention.Parked.Duration,
		ExMembers:     c.Retention.ExMembers.Duration,
		MaxDataBytes:  c.Retention.MaxDataBytes,
	}
}

func ingestConfig(c *config.Config) ingest.Config {
	return ingest.Config{
		SharedSecrets: c.Ingest.SharedSecret,
		BearerTokens:  c.Ingest.BearerToken,
		WriteKeys:     c.Ingest.WriteKeys,
		AuthRequired:  c.Ingest.Auth != "off",
		MaxBodyBytes:  c.Ingest.MaxBodyBytes,
		CheckID:       syncer.CheckID,
	}
}

func senderConfig(c *config.Config, to domain.Endpoint) syncer.Config {
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
	if to == domain.EndpointCohort {
		s.UsersPerMinute, s.EventsPerMinute, s.CallsPerMinute = 0, 0, m.CohortsPerMinute
		if m.MaxRequestBytes >= config.Default().MoEngage.MaxRequestBytes { // else something on the way takes no more
			s.MaxRequestBytes = syncer.CohortRequestBytes
		}
	}
	return s
}
