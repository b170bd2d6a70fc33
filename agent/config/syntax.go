package config

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"personasync/agent/config/internal/document"
	"personasync/agent/config/internal/field"
	"personasync/agent/config/wording"
)

// syntaxFault returns the fault for a syntax error in the file at path. It quotes the line as far as the line
// cannot contain a secret.
func syntaxFault(path string, doc []byte, err *document.SyntaxError) Fault {
	fault := Fault{
		Source:  fmt.Sprintf("%s:%d:%d", path, err.Line, err.Column),
		Line:    err.Line,
		Problem: err.Problem,
	}
	if err.Line == 0 {
		return fault
	}
	shown, whole := excerpt(doc, err.Line)
	fault.Problem += "\n    " + shown
	if whole {
		fault.Problem += "\n    " + pointer(shown, err.Column)
	}
	return fault
}

// opening matches the header of a section, or the bare key that a line begins with.
var opening = pattern(`^\s*(\[\[?[\w .-]*\]?\]?\s*$|[\w.-]+)`)

// excerpt returns the part of a faulty line that cannot contain a secret. Without a valid syntax any line may
// be inside a secret, so only a line with a known key is shown whole. After a similar key the rest is cut.
func excerpt(doc []byte, line int) (shown string, whole bool) {
	lines := bytes.Split(doc, []byte("\n"))
	if line < 1 || line > len(lines) {
		return "", false
	}
	text := printable(strings.TrimRight(string(lines[line-1]), "\r"))
	start := opening().FindString(text)
	_, word := document.SplitKey(strings.TrimSpace(start))
	switch {
	case strings.HasPrefix(strings.TrimSpace(start), "["):
		return text, true
	case isPlainKey(word) && !mentionsSecret(text) && len(text) <= 200:
		return text, true
	case wording.Nearest(word, keyWords()) != "":
		return start + " …", false
	}
	return "…", false
}

// printable replaces characters that could corrupt a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, s)
}

// pointer returns a line with a mark below the column. Columns are in bytes from 1.
func pointer(line string, column int) string {
	n := min(max(column-1, 0), len(line))
	before := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, line[:n])
	return before + "^"
}

// keyWords returns the last parts of all keys.
func keyWords() []string {
	var words []string
	for _, f := range everyField() {
		_, word := document.SplitKey(f.Key)
		words = append(words, word)
	}
	return words
}

// isPlainKey reports whether word is the last part of a key that is not a secret.
func isPlainKey(word string) bool {
	return slices.ContainsFunc(everyField(), func(f field.Field) bool {
		_, w := document.SplitKey(f.Key)
		return w == word && !f.IsSecret()
	})
}

// mentionsSecret reports whether text contains the name of a secret's key.
func mentionsSecret(text string) bool {
	return slices.ContainsFunc(everyField(), func(f field.Field) bool {
		_, word := document.SplitKey(f.Key)
		return f.IsSecret() && strings.Contains(text, word)
	})
}

// pattern returns a regular expression that is compiled when it is first used. Most commands use none, and to compile those of
// all packages takes 0.7 ms of every start.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
