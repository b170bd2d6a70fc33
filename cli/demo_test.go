package cli

import (
	"errors"
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

// The demo must be able to fail, or its success says nothing.
func TestDemoNoticesWhatGoesWrong(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, c := range []struct {
		name string
		harm func(*story)
		want string
	}{
		{"an event is missing", func(s *story) {
			s.expected.learn(s.membership(track, "usr_ana", shoppers, false), exits)
		}, "MoEngage saw of usr_ana the events"},
		{"an attribute differs", func(s *story) { s.expected.attributes["usr_ben"][shoppers] = "false" }, "MoEngage holds high_value_shoppers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := newWorld()
			if err != nil {
				t.Fatal(err)
			}
			s := &story{world: w, narrator: newNarrator(testShell().Terminal)}
			defer func() {
				if err := w.close(); err != nil {
					t.Error(err)
				}
			}()
			if err := errors.Join(s.opening(t.Context()), s.everyday(t.Context())); err != nil {
				t.Fatal(err)
			}
			c.harm(s)
			err = s.compare(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it was not noticed: %v", err)
			}
		})
	}
}
