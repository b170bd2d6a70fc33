package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"personasync/cli/internal/argv"
)

var (
	// quotedCommand is a command in a sentence, of a document or of a message; lineCommand one of a code block.
	quotedCommand = regexp.MustCompile("`(?:\\./|sudo )?personasync ([^`\n\"]+)")
	lineCommand   = regexp.MustCompile(`(?m)^(?:\./|sudo )?personasync ([^\n#]+)`)
	exampleLine   = regexp.MustCompile(`Example: (?:sudo (?:-u \w+ )?)?(?:\./)?personasync ([^"\\\n]+)`)
)

// TestCommandsThatAreNamedExist: whatever command a document, a message, an example or an alert names can be
// typed as it stands there.
func TestCommandsThatAreNamedExist(t *testing.T) {
	app := newApp(testShell())
	checked := 0
	for path, text := range sources(t) {
		var found [][]string
		for _, pattern := range []*regexp.Regexp{quotedCommand, exampleLine} {
			found = append(found, pattern.FindAllStringSubmatch(text, -1)...)
		}
		if strings.HasSuffix(path, ".md") {
			found = append(found, lineCommand.FindAllStringSubmatch(text, -1)...)
		}
		for _, m := range found {
			command := m[1]
			for _, end := range []string{" |", " >", " &&", ";", "'"} {
				command, _, _ = strings.Cut(command, end)
			}
			words := slices.DeleteFunc(strings.Fields(command), func(w string) bool { return strings.ContainsAny(w, "[…") })
			if len(words) == 0 || strings.Contains(words[0], "|") || strings.HasPrefix(words[0], "%") { // a list, or a name that the program puts in
				continue
			}
			checked++
			if _, err := argv.Arrange(app, append([]string{"personasync"}, words...)); err != nil {
				t.Errorf("%s names `personasync %s`: %v", path, command, err)
			}
		}
	}
	if checked < 150 {
		t.Errorf("only %d commands were found", checked)
	}
}

// sources reads the documents and all that may show a message to a person.
func sources(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != ".." || d.Name() == "testdata" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case d.IsDir(), strings.HasSuffix(path, "_test.go"):
			return nil
		case !slices.Contains([]string{".go", ".md", ".yml", ".js"}, filepath.Ext(path)):
			return nil
		}
		text, err := os.ReadFile(path)
		texts[filepath.ToSlash(path)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// TestMessagesOfTroubleshootingExist: a reader who searches the page for what is on the screen finds just that.
func TestMessagesOfTroubleshootingExist(t *testing.T) {
	texts := sources(t)
	page := texts["../docs/troubleshooting.md"]
	var all strings.Builder
	for path, text := range texts {
		if !strings.HasSuffix(path, ".md") {
			all.WriteString(text)
		}
	}
	code, checked := all.String(), 0
	for _, line := range strings.Split(page, "\n") {
		cell, _, isRow := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if !strings.HasPrefix(line, "| ") || !isRow {
			continue
		}
		for _, span := range codeSpan.FindAllStringSubmatch(cell, -1) {
			for _, part := range strings.Split(span[1], "…") {
				if part = strings.TrimSpace(part); len(part) < 3 {
					continue
				}
				checked++
				if !strings.Contains(code, part) {
					t.Errorf("docs/troubleshooting.md explains %q, which nothing says", part)
				}
			}
		}
	}
	if checked < 30 {
		t.Errorf("only %d messages were found", checked)
	}
}

// TestEveryAlertHasAPageOfTheRunbook, and every page its alert.
func TestEveryAlertHasAPageOfTheRunbook(t *testing.T) {
	texts := sources(t)
	names := func(pattern, path string) (list []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(texts[path], -1) {
			list = append(list, m[1])
		}
		slices.Sort(list)
		return list
	}
	alerts := names(`(?m)^ *- alert: (\w+)`, "../packaging/prometheus/rules.yml")
	pages := names(`(?m)^### (Personasync\w+)`, "../docs/operating.md")
	if len(alerts) < 8 || !slices.Equal(alerts, pages) {
		t.Errorf("alerts %v, pages %v", alerts, pages)
	}
}

// TestExamplesNameOneComputation: the examples are tried one after the other, with one agent. A key that comes
// with another id, or in another space, is a key conflict, and the second one seems to do nothing.
func TestExamplesNameOneComputation(t *testing.T) {
	full := regexp.MustCompile(`"computation_id":"(\w+)","computation_key":"(\w+)","space_id":"(\w+)"`)
	short := regexp.MustCompile(`personas\('(\w+)', '(\w+)'\)`)
	space := regexp.MustCompile(`space_id: '(\w+)'`)
	type where struct{ id, space, path string }
	known := map[string]where{}
	note := func(key string, w where) {
		if was, twice := known[key]; twice && (was.id != w.id || was.space != w.space) {
			t.Errorf("%s is %s in %s by %s, and %s in %s by %s", key, was.id, was.space, was.path, w.id, w.space, w.path)
		}
		known[key] = w
	}
	n := 0
	for path, text := range sources(t) {
		if !strings.HasSuffix(path, ".md") {
			continue
		}
		for _, m := range full.FindAllStringSubmatch(text, -1) {
			note(m[2], where{m[1], m[3], path})
			n++
		}
		for _, m := range short.FindAllStringSubmatch(text, -1) {
			note(m[1], where{m[2], space.FindStringSubmatch(text)[1], path})
			n++
		}
	}
	if n < 3 {
		t.Errorf("only %d examples were found", n)
	}
}
