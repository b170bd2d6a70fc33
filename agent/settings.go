package agent

import (
	syncer "personasync/sync"

	"log/slog"

	"personasync/agent/config"
	"personasync/agent/ingest"
	"personasync/store"
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
		Journal:       c.History.Keep.Duration,
		JournalBytes:  uint64(c.History.MaxBytes),
		MaxDataBytes:  c.Retention.MaxDataBytes,
	}
}

func ingestConfig(c *config.Config) ingest.Config {
	rules := c.Rules()
	return ingest.Config{
		SharedSecrets: c.Ingest.SharedSecret,
		BearerTokens:  c.Ingest.BearerToken,
		WriteKeys:     c.Ingest.WriteKeys,
		AuthRequired:  c.Ingest.Auth != "off",
		MaxBodyBytes:  c.Ingest.MaxBodyBytes,
		CheckID:       syncer.CheckID,
		AsksConsent:   rules.AsksConsent(),
	}
}
