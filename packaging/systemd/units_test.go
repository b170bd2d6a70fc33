package systemd

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTheTemplateIsTheServiceWithItsName: what is tightened in one must not stay open in the other.
func TestTheTemplateIsTheServiceWithItsName(t *testing.T) {
	named := strings.NewReplacer(
		"/etc/personasync/agent.toml", "/etc/personasync/%i.toml",
		"personasync.socket", "personasync@%i.socket",
		"Directory=personasync\n", "Directory=personasync@%i\n",
		":personasync.", ":personasync@%i.",
		"MoEngage\n", "MoEngage (%i)\n",
	)
	one := settings(named.Replace(File("personasync.service", packaged)))
	many := settings(File("personasync@.service", packaged))
	if one != many {
		t.Errorf("personasync@.service differs. From personasync.service follows:\n%s\nit says:\n%s", one, many)
	}
}

// settings leaves comments out.
func settings(unit string) string {
	var b strings.Builder
	for line := range strings.Lines(unit) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return strings.TrimSpace(b.String())
}

func TestFilesAreMadeForTheProgramsPlace(t *testing.T) {
	for _, name := range append(Units, Sysusers) {
		text := File(name, "/opt/personasync")
		if text == "" || strings.Contains(text, packaged) {
			t.Errorf("%s is for another place: %q", name, text)
		}
	}
	if !strings.Contains(File("personasync.service", "/opt/personasync"), "ExecStart=/opt/personasync run") {
		t.Error("the service starts another program")
	}
}

// TestUnitsSurviveWhatPasses: a socket for an address that comes up late failed for good, and a reload
// in the first moments of a start ended the service as if it had been stopped.
func TestUnitsSurviveWhatPasses(t *testing.T) {
	for name, want := range map[string]string{
		"personasync.socket": "FreeBind=yes", "personasync@.socket": "FreeBind=yes",
		"personasync.service": "RestartForceExitStatus=SIGHUP", "personasync@.service": "RestartForceExitStatus=SIGHUP",
	} {
		if !strings.Contains(settings(File(name, packaged))+"\n", "\n"+want+"\n") {
			t.Errorf("%s lacks %s", name, want)
		}
	}
}
