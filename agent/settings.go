package agent

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"personasync/agent/config"
	"personasync/agent/ingest"
	"personasync/agent/notify"
	"personasync/agent/page"
	"personasync/store"
	"personasync/store/domain"
	syncer "personasync/sync"
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

// sharedConfig is how the agent of a name reaches the store of c.
func sharedConfig(c *config.Config, name, version string, log *slog.Logger) store.SharedConfig {
	return store.SharedConfig{
		URL: c.Store.URL.Current(), Schema: c.Store.Schema, TTL: c.Store.Term.Duration, Replicated: c.Store.Replicated,
		Host: name, Version: version, Workspace: c.Workspace(), Log: log.With("part", "store"),
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

// notifyConfig is what notifications need of c.
func notifyConfig(c *config.Config, version string) notify.Config {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return notify.Config{
		URL: c.Notify.URL.Current(), Headers: c.Notify.Headers, Format: c.Notify.Format, RoutingKey: c.Notify.RoutingKey.Current(),
		Command: c.Notify.Command, After: c.Notify.After.Duration,
		HeartbeatURL: c.Notify.HeartbeatURL.Current(), HeartbeatEvery: c.Notify.HeartbeatEvery.Duration, HeartbeatLag: c.Notify.HeartbeatLag.Duration,
		Host: host, Version: version, Shared: c.Store.OnPostgres(),
	}
}

// setup says what Segment needs to reach an agent. Without TLS of its own, or on loopback, a proxy has the address that
// Segment reaches, and the agent does not know it.
func setup(c *config.Config) page.Setup {
	s := page.Setup{
		URL: "https://YOUR-HOST" + ingest.PathWebhook, Local: true, Listen: c.Ingest.Listen,
		Secret: len(c.Ingest.SharedSecret) > 0, Token: len(c.Ingest.BearerToken) > 0, Open: c.Ingest.Auth == "off",
	}
	host, port, err := net.SplitHostPort(c.Ingest.Listen)
	ip, _ := netip.ParseAddr(host)
	if err != nil || ip.IsLoopback() || host == "localhost" || c.Ingest.BehindProxy || c.Ingest.TLSCert == "" {
		return s
	}
	if host == "" || ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			return s
		}
	}
	s.URL, s.Local = "https://"+strings.TrimSuffix(net.JoinHostPort(host, port), ":443")+ingest.PathWebhook, false
	return s
}

// packagedConfig is where commands find the configuration by themselves, whatever the folder that they are typed in.
const packagedConfig = "/etc/personasync/agent.toml"

// commandTo is what starts a command that reaches the agent of this configuration file. file is "" for none.
func commandTo(file string) string {
	if file == "" {
		return "personasync"
	}
	if absolute, err := filepath.Abs(file); err == nil {
		file = absolute
	}
	if file == packagedConfig {
		return "personasync"
	}
	return "personasync --config " + domain.ShellWord(file)
}
