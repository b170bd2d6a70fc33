package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A reload must not accept a file that is safe for the address it names but exposes the address in use.
func TestNewFileIsCheckedAgainstTheAddressThatStaysOpen(t *testing.T) {
	const (
		proxied = "[ingest]\nlisten = \"0.0.0.0:8480\"\nbehind_proxy = true\n"
		socket  = "[ingest]\nlisten = \"unix:/run/in.sock\"\n"
		local   = "[ingest]\nlisten = \"127.0.0.1:8480\"\n"
	)
	for _, c := range []struct {
		name, running, next string
		fault               string
	}{
		{"from a public address to a local one without auth", proxied, local + "auth = \"off\"\nbehind_proxy = true\n",
			`agent.toml:3: ingest.auth = "off": is allowed on a loopback address only, and ingest.listen is "0.0.0.0:8480": anyone could post events`},
		{"from a public address to a socket without auth", proxied, socket + "auth = \"off\"\nbehind_proxy = true\n",
			`agent.toml:3: ingest.auth = "off": is allowed on a loopback address only, and ingest.listen is "0.0.0.0:8480": anyone could post events`},
		{"from a public address, the proxy gone", proxied, local,
			`agent.toml:2: ingest.listen = "0.0.0.0:8480": is reachable from other machines: set ingest.tls_cert and ingest.tls_key, or ingest.behind_proxy = true if a proxy provides TLS for it`},
		{"the page moved to the address that deliveries keep", local, "[ingest]\nlisten = \"127.0.0.1:1\"\n[admin]\nlisten = \"127.0.0.1:8480\"\n", ""},
		{"from a socket to a local address without auth", socket, local + "auth = \"off\"\n", ""},
		{"from a local address to a public one behind a proxy", local, proxied, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			running := mustRead(t, c.running)
			next := mustRead(t, c.next)
			kept, err := next.Succeed(running)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.fault {
				t.Errorf("refused with %q, want %q", got, c.fault)
			}
			if next.Ingest.Listen != running.Ingest.Listen || !strings.Contains(strings.Join(kept, " "), "ingest.listen") {
				t.Errorf("it would listen on %s, and names %v", next.Ingest.Listen, kept)
			}
		})
	}
}

func TestSuccessorKeepsWhatOnlyARestartChanges(t *testing.T) {
	running := mustRead(t, lines(`data_dir = "/a"`, "[admin]", `socket = "/a/s"`))
	next := mustRead(t, lines(`data_dir = "/b"`, "[schedule]", `mode = "cron"`, "[admin]", `listen = ""`, `socket = "/b/s"`))
	kept, err := next.Succeed(running)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"data_dir", "admin.socket", "admin.listen"}, kept); diff != "" {
		t.Error(diff)
	}
	if next.DataDir != "/a" || next.Admin != running.Admin || next.Schedule.Mode != "cron" {
		t.Errorf("it became %s, %+v, %+v", next.DataDir, next.Admin, next.Schedule)
	}
	if again, err := next.Succeed(running); err != nil || len(again) != 0 {
		t.Errorf("the second time it keeps %v, %v", again, err)
	}
}

// TestNoReloadLosesTheLastCredentialOfARoute: it was put in force, and the route answered 503 from then on.
func TestNoReloadLosesTheLastCredentialOfARoute(t *testing.T) {
	for _, c := range []struct{ running, next, says string }{
		{`shared_secret = "a"`, ``, "neither ingest.shared_secret nor ingest.bearer_token is set any more"},
		{`shared_secret = "a"`, `bearer_token = "b"`, ""},
		{"shared_secret = \"a\"\nbearer_token = \"b\"", `bearer_token = "b"`, ""},
		{"shared_secret = \"a\"\nwrite_keys = [\"k\"]", `write_keys = ["k"]`, "POST /segment/webhook would answer 503"},
		{"shared_secret = \"a\"\nwrite_keys = [\"k\"]", `shared_secret = "a"`, "ingest.write_keys is not set any more"},
		{`shared_secret = "a"`, `auth = "off"`, ""},
		{`auth = "off"`, ``, "neither ingest.shared_secret"},
		{`auth = "off"`, `write_keys = ["k"]`, ""},
		{``, ``, ""},
	} {
		err := mustRead(t, "[ingest]\n"+c.next).LosesCredentials(mustRead(t, "[ingest]\n"+c.running))
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("from %q to %q: %v, want %q", c.running, c.next, err, c.says)
		}
	}
}

// Renewed certificates may have new paths. Only whether there is one is fixed.
func TestCertificateMayMove(t *testing.T) {
	with := func(cert string) *Config {
		c := Default()
		c.blind = true // the files do not exist
		if cert != "" {
			c.Ingest.TLSCert, c.Ingest.TLSKey = cert, cert+".key"
		}
		return c
	}
	for _, c := range []struct{ running, next, want string }{
		{"old", "new", "new"}, {"old", "", "old"}, {"", "new", ""},
	} {
		next := with(c.next)
		kept, err := next.Succeed(with(c.running))
		if err != nil || next.Ingest.TLSCert != c.want || next.Ingest.TLSKey == "" != (c.want == "") {
			t.Errorf("from %q to %q: it is %q with %q, %v", c.running, c.next, next.Ingest.TLSCert, next.Ingest.TLSKey, err)
		}
		if moved := c.next == c.want; moved != (len(kept) == 0) {
			t.Errorf("from %q to %q: for a restart it keeps %v", c.running, c.next, kept)
		}
	}
}

// An inherited socket may listen elsewhere than agent.toml says, so the checks of its address are repeated.
func TestAnInheritedAddressIsChecked(t *testing.T) {
	c := mustRead(t, lines("[ingest]", `auth = "off"`))
	if err := c.ListenAt("127.0.0.1:9000"); err != nil || c.Ingest.Listen != "127.0.0.1:9000" {
		t.Errorf("%q, %v", c.Ingest.Listen, err)
	}
	err := Default().ListenAt("0.0.0.0:80")
	if err == nil || !strings.HasPrefix(err.Error(), `the socket unit of systemd: ingest.listen = "0.0.0.0:80": is reachable from other machines`) {
		t.Errorf("%v", err)
	}
}
