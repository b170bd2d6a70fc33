package config

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// complete is the smallest configuration without a warning.
const complete = `
ingest.shared_secret = "s"
ingest.write_keys = ["k"]
moengage.workspace_id = "W"
moengage.api_key = "a"
`

func TestWarnings(t *testing.T) {
	tests := []struct {
		name string
		doc  string
		want []string
	}{
		{"none", complete, nil},
		{"defaults", "", []string{
			"neither ingest.shared_secret nor ingest.bearer_token is set: POST /segment/webhook will answer 503",
			"ingest.write_keys is not set: the Tracking API routes (/v1/…) will answer 503",
			"moengage.workspace_id is not set: `personasync run` will not start",
			"moengage.api_key is not set: `personasync run` will not start",
		}},
		{"bearer token alone", strings.Replace(complete, "shared_secret", "bearer_token", 1), nil},
		{"no credentials wanted", complete + `ingest.auth = "off"`, []string{
			"ingest.auth is off: every program on this machine can post events"}},
		{"small bodies", complete + `ingest.max_body_bytes = 8192`, []string{
			"ingest.max_body_bytes is 8192: Segment does not send a refused body again, and a single event may have 32 KB"}},
		{"status page in the network", complete + `admin.listen = ":8481"`, []string{
			`admin.listen is ":8481": the status page has no password, and other machines can reach it`}},
		{"limits", complete +
			lines("moengage.users_per_minute = 60001", "moengage.events_per_minute = 90000", "moengage.max_request_bytes = 128000"), []string{
			"moengage.users_per_minute is 60001: MoEngage allows 60000 unless it raised your limit",
			"moengage.events_per_minute is 90000: MoEngage allows 60000 unless it raised your limit",
			"moengage.max_request_bytes is 128000: MoEngage's pages allow 100 KB, and refuse larger requests"}},
		{"plain http", complete + `moengage.base_url = "http://proxy:8080"` + "\nmoengage.data_center = \"02\"", []string{
			"moengage.data_center is not used, because moengage.base_url is set",
			"moengage.base_url is plain http: the API key and all users cross the network unencrypted"}},
		{"a private address for MoEngage", complete + `moengage.forwarded_for = "10.0.0.5"`, []string{
			"moengage.forwarded_for is 10.0.0.5, an address of a private network: MoEngage compares the public one that this host is seen under"}},
		{"a public address for MoEngage", complete + `moengage.forwarded_for = "203.0.113.7"`, nil},
		{"plain http at home", complete + `moengage.base_url = "http://[::1]:8490"`, nil},
		{"real time", complete + `moengage.real_time_action = true`, []string{
			"moengage.real_time_action: MoEngage's pages disagree about it, so try it in a test workspace first"}},
		{"cron without its mode", complete + `schedule.cron = "@daily"`, []string{
			`schedule.cron is not used, because schedule.mode is "realtime"`}},
		{"existing users only", complete + lines(`moengage.update_existing_only = true`, `defaults.send = "attribute"`,
			"[[computation]]", `key = "a"`, "[[computation]]", `key = "b"`, `send = "both"`), []string{
			`moengage.update_existing_only is on, but computation.b.send is "both": MoEngage creates unknown users for events all the same`}},
		{"existing users only, by default", complete + lines(`moengage.update_existing_only = true`, "[[computation]]", `key = "a"`), []string{
			`moengage.update_existing_only is on, but defaults.send is "as_received": MoEngage creates unknown users for events all the same`}},
		{"unset", complete + lines(`defaults.on_null = "unset"`, "[[computation]]", `key = "a"`), []string{
			`defaults.on_null is "unset": an early access feature, which MoEngage must enable for your workspace`}},
		{"odd event names", complete + lines(`defaults.exit_event = "Left: 50% & more"`, "[[computation]]", `key = "a b"`, `enter_event = "In 🎉"`), []string{
			`defaults.exit_event is "Left: 50% & more": MoEngage's naming rules forbid :%&`,
			`computation."a b".enter_event is "In 🎉": MoEngage's naming rules forbid 🎉`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, mustRead(t, tt.doc).Warnings()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWarnsOfSecretsInAnOpenFile(t *testing.T) {
	path := writeFile(t, "agent.toml", complete)
	for mode, want := range map[os.FileMode][]string{
		0o640: nil,
		0o644: {path + " holds ingest.shared_secret and is readable by everyone on this machine: type chmod o-r " + path},
	} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, c.Warnings()); diff != "" {
			t.Errorf("mode %v: %s", mode, diff)
		}
	}
}

func TestCompleteNamesMissingSettings(t *testing.T) {
	if err := mustRead(t, complete).Complete(); err != nil {
		t.Error(err)
	}
	err := Default().Complete()
	want := "configuration: 2 faults\n" +
		"  moengage.workspace_id: must be set: copy it from MoEngage: Settings, Account, APIs\n" +
		"  moengage.api_key: must be set as this key, as moengage.api_key_file or as the credential moengage_api_key: " +
		"it is the Data API key in MoEngage: Settings, Account, APIs"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}
