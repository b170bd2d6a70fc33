package demo

import (
	"errors"
	"strings"
	"testing"

	"personasync/cli/internal/term"
)

// The demo must be able to fail, or its success says nothing.
func TestDemoNoticesWhatGoesWrong(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, c := range []struct {
		name string
		harm func(*story)
		want string
	}{
		{"an event is missing", func(s *story) {
			s.expected.learn(membership(track, "usr_ana", shoppers, false), exits)
		}, "MoEngage saw of usr_ana the events"},
		{"an attribute differs", func(s *story) { s.expected.attributes["usr_ben"][shoppers] = "false" }, "MoEngage holds high_value_shoppers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := newWorld("test")
			if err != nil {
				t.Fatal(err)
			}
			s := &story{world: w, narrator: newNarrator(&term.Terminal{Out: new(strings.Builder), Err: new(strings.Builder)})}
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
