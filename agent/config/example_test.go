package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var ignoreOrigins = cmpopts.IgnoreUnexported(Config{})

func TestExampleIsTheFileAtTheRoot(t *testing.T) {
	root, err := os.ReadFile(filepath.Join("..", "..", "agent.example.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(root, Example()) {
		t.Error("agent.example.toml differs from agent/config/agent.example.toml: change both")
	}
}

func TestExampleEqualsTheDefaults(t *testing.T) {
	c := mustRead(t, string(Example()))
	want := Default()
	want.Path = "agent.toml"
	if diff := cmp.Diff(want, c, ignoreOrigins, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// The example documents every key with its default.
func TestExampleHasEveryKey(t *testing.T) {
	c := mustRead(t, string(Example()))
	for _, s := range c.Effective() {
		if !strings.HasPrefix(s.Origin, "agent.toml:") {
			t.Errorf("%s is missing", s.Key)
		}
	}
}

// The example's commented [[computation]] must be valid without its comment marks.
func TestExampleSectionIsValid(t *testing.T) {
	before, section, found := strings.Cut(string(Example()), "# [[computation]]\n")
	if !found {
		t.Fatal("there is no commented [[computation]]")
	}
	c := mustRead(t, before+"[[computation]]\n"+strings.TrimPrefix(strings.ReplaceAll(section, "\n# ", "\n"), "# "))
	if len(c.Computations) != 1 || c.Computations[0].Key != "high_value_shoppers" || c.Computations[0].ExitEvent != "Left high value" {
		t.Errorf("%+v", c.Computations)
	}
}
