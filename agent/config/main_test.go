package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// readDoc reads a document as agent.toml of the working directory.
func readDoc(doc string, environ ...string) (*Config, error) {
	return newLoader("agent.toml", environ, false).read([]byte(doc))
}

func mustRead(t testing.TB, doc string, environ ...string) *Config {
	t.Helper()
	c, err := readDoc(doc, environ...)
	if err != nil {
		t.Fatalf("refused: %v\n%s", err, doc)
	}
	return c
}

// faultsOf returns the faults of a document, one string each.
func faultsOf(t testing.TB, doc string, environ ...string) []string {
	t.Helper()
	c, err := readDoc(doc, environ...)
	if err == nil {
		t.Fatalf("accepted:\n%s", doc)
	}
	if c != nil {
		t.Fatal("a configuration came with its faults")
	}
	faults, ok := err.(*Faults)
	if !ok {
		t.Fatalf("a %T came back: %v", err, err)
	}
	var all []string
	for _, f := range faults.All {
		all = append(all, f.String())
	}
	return all
}

// writeFile writes a private file and returns its path.
func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }
