package cli

import (
	"bytes"
	"strings"
	"testing"

	"personasync/agent/config"
)

// TestLogFollowsItsConfiguration: the loggers that the parts were given change their form too.
func TestLogFollowsItsConfiguration(t *testing.T) {
	var b bytes.Buffer
	log, follow := newLog(&b, config.Log{Level: "info", Format: "text"}, false)
	part := log.With("part", "sync").WithGroup("g").With("k", 1)
	says := func(want ...string) {
		t.Helper()
		b.Reset()
		part.Debug("quiet", "n", 2)
		part.Info("hello", "n", 2)
		for _, w := range want {
			if !strings.Contains(b.String(), w) {
				t.Errorf("no %s in %s", w, &b)
			}
		}
	}
	says(`msg=hello part=sync g.k=1 g.n=2`)
	if strings.Contains(b.String(), "quiet") {
		t.Errorf("level info shows %s", &b)
	}
	follow(config.Log{Level: "debug", Format: "json"})
	says(`"msg":"quiet"`, `"msg":"hello","part":"sync","g":{"k":1,"n":2}`)
	follow(config.Log{Level: "info", Format: "text"})
	says(`msg=hello part=sync g.k=1 g.n=2`)
}
