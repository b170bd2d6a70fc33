package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"personasync/cli/internal/command"
)

// TestTheAgentOfTheServiceIsAskedWithoutAConfiguration: an operator who may use the socket need not be able to
// read agent.toml, and one that was lost does not hide the agent that runs on it.
func TestTheAgentOfTheServiceIsAskedWithoutAConfiguration(t *testing.T) {
	m := newHost(t)
	m.startHeard(regexp.MustCompile("msg=ready"))
	packaged := command.ServiceSocket
	command.ServiceSocket = filepath.Join(m.dir, "s")
	t.Cleanup(func() { command.ServiceSocket = packaged })
	t.Chdir(t.TempDir())
	run := func(args ...string) (int, string, string) {
		var out, said bytes.Buffer
		code := Run(t.Context(), append([]string{"personasync"}, args...), Streams{Out: &out, Err: &said})
		return code, out.String(), said.String()
	}
	if code, out, said := run("status"); code != 0 || !strings.Contains(out, "accepted, up") || !strings.Contains(said, "no agent.toml found") || !strings.Contains(said, command.ServiceSocket) {
		t.Errorf("it ended with %d:\n%s%s", code, out, said)
	}
	m.stop()
	must(t, os.WriteFile(command.ServiceSocket, nil, 0o600)) // as a crash leaves it, but for its kind
	if code, _, said := run("user", "forget", "--yes", "usr_ann"); code == 0 {
		t.Errorf("the files of nobody knows which agent were worked on: %s", said)
	}
	must(t, os.Remove(command.ServiceSocket))
	if code, _, said := run("status"); code != 2 || !strings.Contains(said, "no agent.toml found") {
		t.Errorf("without that socket it ended with %d: %s", code, said)
	}
}
