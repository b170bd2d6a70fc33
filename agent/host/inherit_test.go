package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestASocketUnitThatIsEnabledIsExpected: an address that came up late made personasync.socket fail for
// good, and the agent said that all was well.
func TestASocketUnitThatIsEnabledIsExpected(t *testing.T) {
	root := t.TempDir()
	wants := filepath.Join(root, "etc/systemd/system/sockets.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"personasync.socket", `personasync@brand\x2done.socket`} {
		if err := os.Symlink("/gone/"+name, filepath.Join(wants, name)); err != nil {
			t.Fatal(err)
		}
	}
	for cgroup, want := range map[string]string{
		"0::/system.slice/personasync.service\n":                                        "personasync.socket",
		"0::/system.slice/system-personasync.slice/personasync@brand\\x2done.service\n": `personasync@brand\x2done.socket`,
		"12:cpu:/x\n1:name=systemd:/system.slice/personasync.service\n":                 "personasync.socket",
		"0::/system.slice/other.service\n":                                              "",
		"0::/user.slice/user-0.slice/session-1.scope\n":                                 "",
		"": "",
	} {
		if got := enabledSocket(root, []byte(cgroup)); got != want {
			t.Errorf("of %q it expects %q, not %q", cgroup, got, want)
		}
	}
	if err := os.Symlink(os.DevNull, filepath.Join(root, "etc/systemd/system/personasync.socket")); err != nil {
		t.Fatal(err)
	}
	if got := enabledSocket(root, []byte("0::/system.slice/personasync.service\n")); got != "" {
		t.Errorf("of a masked socket it expects %q", got)
	}
	why := missedSocket("", "", "personasync.socket")
	if !strings.Contains(why, "systemctl status personasync.socket") || !strings.Contains(why, "systemctl start personasync.socket personasync.service") {
		t.Errorf("it says %q", why)
	}
	if why := missedSocket("", "", ""); why != "" {
		t.Errorf("without a socket unit it says %q", why)
	}
}

// TestTheUnitIsThatOfTheMainProcess: a program that a service starts is in the service's control group.
func TestTheUnitIsThatOfTheMainProcess(t *testing.T) {
	for cgroup, want := range map[string]string{
		"0::/system.slice/system-personasync.slice/personasync@brand.service\n": "personasync@brand",
		"12:cpu:/x\n1:name=systemd:/system.slice/personasync.service\n":         "personasync",
		"0::/user.slice/user-0.slice/session-1.scope\n":                         "",
		"0::/\n": "",
	} {
		if got := serviceOf([]byte(cgroup)); got != want {
			t.Errorf("of %q the service is %q, not %q", cgroup, got, want)
		}
	}
	t.Setenv("SYSTEMD_EXEC_PID", "1")
	if got := Unit(); got != "" {
		t.Errorf("a child of the main process is the unit %q", got)
	}
}
