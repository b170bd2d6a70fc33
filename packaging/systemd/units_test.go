package systemd

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Both units must have the same restrictions.
func TestTheTemplateIsTheServiceWithItsName(t *testing.T) {
	named := strings.NewReplacer(
		"/etc/personasync/agent.toml", "/etc/personasync/%i.toml",
		"personasync.socket", "personasync@%i.socket",
		"Directory=personasync\n", "Directory=personasync@%i\n",
		"backups/personasync\n", "backups/personasync@%i\n",
		":personasync.", ":personasync@%i.",
		"MoEngage\n", "MoEngage (%i)\n",
	)
	one := settings(named.Replace(File("personasync.service", packaged)))
	many := settings(File("personasync@.service", packaged))
	if one != many {
		t.Errorf("personasync@.service differs. From personasync.service follows:\n%s\nit says:\n%s", one, many)
	}
}

// settings returns a unit without its comments.
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

// A socket for an address that appeared late had failed permanently. A reload right after a start had ended the
// service as if it had been stopped.
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

// A file moved to another package, and the release scripts went on reading its old path.
func TestScriptsNameSourcesThatExist(t *testing.T) {
	const root = "../.."
	source := regexp.MustCompile(`(?:agent|cli|scheduler|store|sync)(?:/[a-z]+)*/[a-z_]+\.go\b`)
	for _, pattern := range []string{"Makefile", "packaging/*", "packaging/*/*", "torture/*.go", "bench/*.go"} {
		scripts, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(scripts) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(scripts), err)
		}
		for _, script := range scripts {
			text, err := os.ReadFile(script)
			if err != nil {
				continue // a directory
			}
			for _, name := range source.FindAllString(string(text), -1) {
				if _, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("%s names %s: %v", script, name, err)
				}
			}
		}
	}
}
