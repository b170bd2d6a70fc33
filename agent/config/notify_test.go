package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// notifyFile writes a file that only its owner can read, and returns its path.
func notifyFile(t *testing.T, text string, mode os.FileMode) string {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHeadersAreATableOrLines(t *testing.T) {
	want := []string{"Authorization: Bearer a, b:c", "X-Team: growth"}
	for name, doc := range map[string]string{
		"an inline table": lines("[notify]", `headers = {Authorization = "Bearer a, b:c", "X-Team" = "growth"}`),
		"a section":       lines("[notify.headers]", `Authorization = "Bearer a, b:c"`, `X-Team = "growth"`),
		"dotted keys":     lines(`notify.headers.Authorization = "Bearer a, b:c"`, `notify.headers.X-Team = "growth"`),
		"a list":          lines("[notify]", `headers = ["Authorization: Bearer a, b:c", "X-Team: growth"]`),
		"a file":          lines("[notify]", `headers_file = "`+notifyFile(t, "Authorization: Bearer a, b:c\nX-Team: growth\n", 0o600)+`"`),
	} {
		c := mustRead(t, doc)
		if !slices.Equal(c.Notify.Headers, want) {
			t.Errorf("%s: %q", name, []string(c.Notify.Headers))
		}
		for _, s := range c.Effective() {
			if strings.Contains(s.Value+s.Origin, "Bearer") {
				t.Errorf("%s is shown as %s", s.Key, s.Value)
			}
		}
	}
	if c := mustRead(t, lines("[notify]", "headers = {}")); len(c.Notify.Headers) != 0 || c.Receivers() != nil {
		t.Errorf("an empty table is %v", c.Receivers())
	}
}

func TestWhatIsWrongInNotifyIsRefused(t *testing.T) {
	dir, plain := t.TempDir(), notifyFile(t, "#!/bin/sh\n", 0o600)
	slack, pager := `url = "https://hooks.slack.com/services/hunter2"`, `url = "https://events.pagerduty.com/v2/enqueue"`
	for _, c := range []struct{ doc, want string }{
		{`url = "hooks.slack.com/services/hunter2"`, "notify.url: must be a whole address that begins with https://"},
		{`url = "ftp://example.com/hunter2"`, "notify.url: must be a whole address"},
		{`url = "https://"`, "notify.url: must be a whole address"},
		{`url = "https://u:hunter2@example.com"`, "notify.url: must not hold a user or password"},
		{`url = "https://example.com/#hunter2"`, "notify.url: must end before any #"},
		{`heartbeat_url = "hc-ping.com/hunter2"`, "notify.heartbeat_url: must be a whole address"},
		{`headers = {Authorization = "Bearer hunter2\nX: y"}`, "notify.headers.Authorization = (hidden): must not have a line break"},
		{`headers = {Authorization = 5}`, "notify.headers.Authorization = (hidden): must be text in double quotes"},
		{`headers = {Authorization = ["hunter2", "b"]}`, "must be text in double quotes"},
		{`headers = {"a b" = "hunter2"}`, `notify.headers: "a b" is not the name of a header`},
		{`headers = {Host = "hunter2"}`, "notify.headers: Host cannot be set"},
		{`headers = {"content-length" = "hunter2"}`, "content-length cannot be set"},
		{`headers = {X = " "}`, "X has no value"},
		{`headers = {X = "hunter2\u0007"}`, "the value of X has a control character"},
		{`headers = ["hunter2"]`, "has a line without a name"},
		{`headers = {a.b = "hunter2"}`, "notify.headers.a"},
		{`heders = {X = "hunter2"}`, "[notify.headers]"},
		{`format = "slack"`, "json"},
		{`format = "pagerduty"`, "notify.routing_key: must be set"},
		{slack + "\nformat = \"teams\"", `notify.format = "teams": must be "json" for the address in notify.url, which is of Slack`},
		{pager, `notify.format = "json": must be "pagerduty" for the address in notify.url`},
		{strings.Replace(pager, "/v2/enqueue", "/hunter2", 1) + "\nformat = \"pagerduty\"\nrouting_key = \"hunter2\"", "notify.url: must end in /v2/enqueue"},
		{`command = [""]`, "must begin with a program"},
		{`command = ["./page"]`, "must begin with an absolute path"},
		{`command = ["` + dir + `"]`, "is a folder"},
		{`command = ["` + dir + `/none"]`, "cannot be run (no such file or directory): install it"},
		{`command = ["no-such-program"]`, "cannot be run (executable file not found in $PATH)"},
		{`command = ["` + plain + `"]`, "may not be run by this user: chmod +x it; the packaged unit"},
		{`command = ["/bin/sh -c true"]`, "write each argument by itself"},
		{`command = "/bin/true"`, "must be a list of texts"},
		{`after = "-1s"`, "must not be negative"},
		{`heartbeat_every = "0s"`, "must be from 1s to 24h"},
	} {
		faults := strings.Join(faultsOf(t, lines("[notify]", c.doc)), "\n")
		if !strings.Contains(faults, c.want) || strings.Contains(faults, "hunter2") {
			t.Errorf("%s\nis refused by\n%s\nwant\n%s", c.doc, faults, c.want)
		}
	}
}

func TestWarningsOfNotify(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{`headers = {X = "y"}`, "notify.headers is not used"},
		{`format = "teams"`, "notify.format is not used"},
		{`routing_key = "hunter2"`, `notify.routing_key is not used, because notify.format is "json"`},
		{`heartbeat_lag = "1h"`, "because notify.heartbeat_url is not set"},
		{`url = "http://alerts.example.com/hunter2"`, "notify.url is plain http"},
		{`heartbeat_url = "http://10.0.0.1/hunter2"`, "notify.heartbeat_url is plain http"},
		{`url = "https://prod-1.westeurope.logic.azure.com/workflows/hunter2"`, `set notify.format = "teams"`},
		{`url = "http://127.0.0.1:9/hunter2"`, ""},
		{`heartbeat_url = "https://hc-ping.com/hunter2"` + "\nheartbeat_lag = \"1h\"", ""},
	} {
		got := strings.Join(mustRead(t, complete+lines("[notify]", c.doc)).Warnings(), "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || strings.Contains(got, "hunter2") {
			t.Errorf("%s\nwarns\n%s\nwant\n%s", c.doc, got, c.want)
		}
	}
}

// TestReceiversAreKnownWithoutTheirSecrets: a command that may not read them shows the same status.
func TestReceiversAreKnownWithoutTheirSecrets(t *testing.T) {
	secret := notifyFile(t, "https://example.com/hunter2\n", 0o600)
	path := filepath.Join(t.TempDir(), "agent.toml")
	if err := os.WriteFile(path, []byte(lines("[notify]", `url_file = "`+secret+`"`, `command = ["/bin/true"]`, `heartbeat_url = "https://example.com"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, load := range map[string]func(string, []string) (*Config, error){"with": Load, "without": LoadWithoutSecrets} {
		c, err := load(path, nil)
		if err != nil || strings.Join(c.Receivers(), " ") != "url command heartbeat" {
			t.Errorf("%s secrets: %v, %v", name, c.Receivers(), err)
		}
	}
}
