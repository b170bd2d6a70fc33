package cli

import (
	"os"
	"strings"
	"testing"

	"personasync/cli/internal/exit"
)

func TestDemoKeepsItsPromises(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out, errs strings.Builder
	code := Run(t.Context(), []string{"personasync", "demo"}, Streams{Out: &out, Err: &errs})
	if code != exit.Done {
		t.Fatalf("the demo ended with %d: %s\n%s", code, errs.String(), out.String())
	}
	for _, promise := range []string{"duplicate", "stale", "parked", "refused, HTTP 401", "had answered 503", "as before", "entered, exited, entered", "Everything above was checked"} {
		if !strings.Contains(out.String(), promise) {
			t.Errorf("the demo does not show %q:\n%s", promise, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("colours without a terminal")
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("the demo left %v behind, %v", left, err)
	}
}
