package condition

import (
	"slices"
	"testing"
)

// TestCommandsAreForWhatRunsTheAgent: in a container status advised systemctl, which is not there, and on a host with a
// second agent it named the first one's unit.
func TestCommandsAreForWhatRunsTheAgent(t *testing.T) {
	list := []string{"personasync config check", "systemctl start personasync", "systemctl reload personasync", "systemctl restart personasync", "systemctl restart systemd-journald"}
	for _, tt := range []struct {
		runner *Runner
		want   []string
	}{
		{nil, list},
		{&Runner{Unit: "personasync@brand", PID: 7}, []string{"personasync config check", "systemctl start personasync@brand", "systemctl reload personasync@brand",
			"systemctl restart personasync@brand", "systemctl restart systemd-journald"}},
		{&Runner{Unit: `personasync@a\x2db`}, []string{"personasync config check", `systemctl start 'personasync@a\x2db'`, `systemctl reload 'personasync@a\x2db'`,
			`systemctl restart 'personasync@a\x2db'`, "systemctl restart systemd-journald"}},
		{&Runner{PID: 7}, []string{"personasync config check", "personasync run", "kill -HUP 7", "kill 7", "personasync run", "systemctl restart systemd-journald"}},
		{&Runner{}, []string{"personasync config check", "personasync run", "personasync run", "personasync run", "systemctl restart systemd-journald"}}, // never kill 0
	} {
		if got := tt.runner.commands(list); !slices.Equal(got, tt.want) {
			t.Errorf("of %+v they are %q, want %q", tt.runner, got, tt.want)
		}
	}
}
