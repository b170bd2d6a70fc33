package cli_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// linked is one package that go list told of.
type linked struct {
	ImportPath, Dir              string
	Standard                     bool
	CgoFiles                     []string
	TestGoFiles, XTestGoFiles    []string
	SFiles, SysoFiles, SwigFiles []string
	Module                       *struct {
		Path string
		Main bool
	}
}

func listPackages(t *testing.T, args ...string) (list []linked) {
	t.Helper()
	c := exec.Command("go", append([]string{"list", "-json"}, args...)...)
	c.Env = append(os.Environ(), "CGO_ENABLED=1") // what would be compiled if it could
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var p linked
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// TestSupply holds docs/dependencies.md to what the binary links and the tests require.
func TestSupply(t *testing.T) {
	text, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	binary, rest, _ := strings.Cut(string(text), "## For tests")
	shipped, tests := modulesIn(binary), modulesIn(rest)

	var modules []string
	for _, p := range listPackages(t, "-deps", "personasync/cli/personasync") {
		if p.Standard || p.Module == nil || p.Module.Main {
			continue
		}
		modules = append(modules, p.Module.Path)
		if len(p.CgoFiles)+len(p.SysoFiles)+len(p.SwigFiles) > 0 {
			t.Errorf("%s in the binary is not Go alone: %v", p.ImportPath, p.CgoFiles)
		}
	}
	slices.Sort(modules)
	if modules = slices.Compact(modules); !slices.Equal(modules, shipped) {
		t.Errorf("the binary links\n%s\ndocs/dependencies.md lists\n%s", strings.Join(modules, "\n"), strings.Join(shipped, "\n"))
	}

	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(mod), -1) { // the indirect ones end in a comment
		if !slices.Contains(shipped, m[1]) && !slices.Contains(tests, m[1]) {
			t.Errorf("go.mod requires %s, for which docs/dependencies.md has no reason", m[1])
		}
	}
}

// modulesIn are the modules named in the tables of a text, sorted.
func modulesIn(text string) (modules []string) {
	for _, row := range regexp.MustCompile(`(?m)^\| (.*?) \|`).FindAllStringSubmatch(text, -1) {
		for _, m := range regexp.MustCompile("`([^`]+\\.[^`]+/[^`]+)`").FindAllStringSubmatch(row[1], -1) {
			modules = append(modules, m[1])
		}
	}
	slices.Sort(modules)
	return modules
}

// TestEveryPackageLooksForLeaks: no package's tests may leave a goroutine behind unseen.
func TestEveryPackageLooksForLeaks(t *testing.T) {
	for _, p := range listPackages(t, "personasync/...") {
		files := append(p.TestGoFiles, p.XTestGoFiles...)
		looks := len(files) == 0
		for _, name := range files {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			looks = looks || regexp.MustCompile(`(?s)func TestMain\(.*goleak\.`).Match(text)
		}
		if !looks {
			t.Errorf("%s has tests and no TestMain with goleak", p.ImportPath)
		}
	}
}
