package testdir

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTestsAreInMemoryUnlessSomebodySaysOtherwise has the folder of a test follow what the environment asks for.
func TestTestsAreInMemoryUnlessSomebodySaysOtherwise(t *testing.T) {
	elsewhere := t.TempDir()
	for _, tc := range []struct {
		name, tmpdir string
		arguments    []string
		want         string
	}{
		{name: "the ordinary tests", want: memory},
		{name: "a folder is named", tmpdir: elsewhere, want: elsewhere},
		{name: "benchmarks", arguments: []string{"-test.run=^$", "-test.bench=."}, want: ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.want == memory && !fit(memory) {
				t.Skipf("NOT TESTED: %s has no room here", memory)
			}
			t.Setenv("TMPDIR", tc.tmpdir)
			was := os.Args
			t.Cleanup(func() { os.Args = was })
			os.Args = append([]string{"x.test"}, tc.arguments...)
			InMemory()
			if got := os.Getenv("TMPDIR"); got != tc.want {
				t.Errorf("TMPDIR is %q, want %q", got, tc.want)
			}
		})
	}
	for _, dir := range []string{"/proc", strings.Repeat("/none", 3)} {
		if fit(dir) {
			t.Errorf("%s is taken for a place for tests", dir)
		}
	}
}
