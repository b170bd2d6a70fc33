package crashpoint_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"personasync/store/crashpoint"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A registered function is called with each point in turn, and no longer after its removal.
func TestReachCallsWhatIsRegistered(t *testing.T) {
	var reached []crashpoint.Point
	crashpoint.OnPoint(func(p crashpoint.Point) { reached = append(reached, p) })
	crashpoint.Reach("one")
	crashpoint.Reach("two")
	crashpoint.OnPoint(nil)
	crashpoint.Reach("three")
	if want := []crashpoint.Point{"one", "two"}; !slices.Equal(reached, want) {
		t.Fatalf("reached %q, want %q", reached, want)
	}
}

func TestReachCostsNoAllocation(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { crashpoint.Reach("anywhere") }); n != 0 {
		t.Fatalf("%v allocations at a point that nobody listens to", n)
	}
}

// Each point is reached at exactly one place in the code. With none, its tests kill nothing. With two, a test
// that counts how often it is reached kills at the wrong one.
func TestEachPointIsReachedAtOnePlace(t *testing.T) {
	reached := map[string]int{}
	for _, dir := range []string{"..", "../../sync"} {
		visit(t, dir, func(f *ast.File) { countPoints(f, reached) })
	}
	names := map[string]bool{}
	visit(t, ".", func(f *ast.File) { listPoints(f, names) })
	if len(names) == 0 {
		t.Fatal("no points found in this package")
	}
	for name := range names {
		if reached[name] != 1 {
			t.Errorf("%s is reached at %d places, want 1", name, reached[name])
		}
	}
}

// visit parses the non-test sources below dir.
func visit(t *testing.T, dir string, do func(*ast.File)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err == nil {
			do(f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// countPoints counts calls of crashpoint.Reach(crashpoint.X) by X.
func countPoints(f *ast.File, reached map[string]int) {
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 1 || selected(call.Fun) != "Reach" {
			return true
		}
		reached[selected(call.Args[0])]++
		return true
	})
}

// selected returns X for the expression crashpoint.X, and "" for any other.
func selected(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok && x.Name == "crashpoint" {
			return s.Sel.Name
		}
	}
	return ""
}

// listPoints lists the constants of type Point.
func listPoints(f *ast.File, names map[string]bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Point" {
				for _, name := range v.Names {
					names[name.Name] = true
				}
			}
		}
		return true
	})
}
