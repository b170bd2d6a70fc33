package cli

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// TestFilesThatTheArchitectureNamesExist: a name without a folder is in the folder of the last file before it on the line.
func TestFilesThatTheArchitectureNamesExist(t *testing.T) {
	text, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for line := range strings.Lines(string(text)) {
		folder := ""
		for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
			name := m[1]
			first, _, deep := strings.Cut(name, "/")
			_, err := os.Stat(filepath.Join("..", first))
			switch {
			case deep && err == nil && !strings.Contains(name, "…"):
				if strings.HasSuffix(name, ".go") {
					folder = path.Dir(name)
				}
			case !deep && strings.HasSuffix(name, ".go"):
				name = path.Join(folder, name)
			default:
				continue
			}
			checked++
			if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(name))); err != nil {
				t.Errorf("docs/architecture.md names a file that does not exist: %v", err)
			}
		}
	}
	if checked < 60 {
		t.Errorf("only %d names were found", checked)
	}
}
