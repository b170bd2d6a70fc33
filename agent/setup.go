package agent

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"personasync/agent/config"
	"personasync/agent/ingest"
	"personasync/agent/page"
	"personasync/store/domain"
)

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
