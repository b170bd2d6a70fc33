package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A document is decoded in two steps, because a typed decode stops at the first type error and strict mode
// reports only unknown keys. First the library reads it into an untyped map, which checks the syntax and
// duplicate keys. Then its syntax tree is flattened into entries with line numbers.

// entry is one statement: a key with its value, or a section header.
type entry struct {
	path    []string // "log", "level", whether nested or dotted
	section int      // number of the [[computation]] from 1; path is relative to it
	header  bool     // path names a section; there is no value
	array   bool     // the header is written [[…]]
	value   value
	line    int
}

// key returns the path as TOML, so that ["a.b"] and ["a", "b"] differ.
func (e entry) key() string { return joinKey(e.path) }

func joinKey(path []string) string {
	parts := make([]string, len(path))
	for i, part := range path {
		parts[i] = bareKey(part)
	}
	return strings.Join(parts, ".")
}

var bare = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// bareKey returns one part of a key as TOML, quoted if necessary.
func bareKey(name string) string {
	if bare.MatchString(name) {
		return name
	}
	return strconv.Quote(name)
}

// parse returns the statements of a document in order, or its first syntax fault.
func parse(doc []byte) ([]entry, *Fault) {
	if fault := checkSyntax(doc); fault != nil {
		return nil, fault
	}
	w := &walker{doc: doc, line: 1}
	w.parser.Reset(doc)
	for w.parser.NextExpression() {
		w.expression(w.parser.Expression())
	}
	if err := w.parser.Error(); err != nil {
		return nil, &Fault{Problem: err.Error()} // unreachable: checkSyntax has reported it
	}
	return w.entries, nil
}

// computations is the name of the only array of tables.
const computations = "computation"

type walker struct {
	parser  unstable.Parser
	doc     []byte
	offset  int // lines are counted up to here
	line    int // of offset
	table   []string
	section int // of table, 0 outside a [[computation]]
	count   int // of [[computation]] so far
	entries []entry
}

func (w *walker) expression(n *unstable.Node) {
	path, line := w.path(n.Key())
	switch n.Kind {
	case unstable.Table:
		w.table, w.section = path, 0
		if len(path) > 1 && path[0] == computations && w.count > 0 {
			w.table, w.section = path[1:], w.count // [computation.x] belongs to the last [[computation]]
		}
		w.header(w.table, w.section, line)
	case unstable.ArrayTable:
		w.table, w.section = path, 0
		if len(path) == 1 && path[0] == computations {
			w.count++
			w.table, w.section = nil, w.count
		}
		w.entries = append(w.entries, entry{path: w.table, section: w.section, header: true, array: true, line: line})
	case unstable.KeyValue:
		w.assign(slices.Concat(w.table, path), w.section, n.Value(), line)
	}
}

// assign records a value. It flattens an inline table, which is a section on one line.
func (w *walker) assign(path []string, section int, n *unstable.Node, line int) {
	if section == 0 && len(path) == 1 && path[0] == computations && w.inlineSections(n, line) {
		return
	}
	if n.Kind != unstable.InlineTable {
		w.entries = append(w.entries, entry{path: path, section: section, value: toValue(n), line: line})
		return
	}
	w.header(path, section, line)
	w.members(path, section, n)
}

func (w *walker) members(path []string, section int, table *unstable.Node) {
	for it := table.Children(); it.Next(); {
		key, line := w.path(it.Node().Key())
		w.assign(slices.Concat(path, key), section, it.Node().Value(), line)
	}
}

// inlineSections reads computation = [{…}, {…}], which is equivalent to [[computation]] sections.
func (w *walker) inlineSections(n *unstable.Node, line int) bool {
	if n.Kind != unstable.Array {
		return false
	}
	for it := n.Children(); it.Next(); {
		if it.Node().Kind != unstable.InlineTable {
			return false
		}
	}
	for it := n.Children(); it.Next(); {
		w.count++
		w.header(nil, w.count, line)
		w.members(nil, w.count, it.Node())
	}
	return true
}

func (w *walker) header(path []string, section, line int) {
	w.entries = append(w.entries, entry{path: path, section: section, header: true, line: line})
}

// path returns a dotted key and the line where it begins. It must be called in document order.
func (w *walker) path(key unstable.Iterator) (path []string, line int) {
	for key.Next() {
		if path == nil {
			line = w.lineOf(int(key.Node().Raw.Offset))
		}
		path = append(path, string(key.Node().Data))
	}
	return path, line
}

func (w *walker) lineOf(offset int) int {
	w.line += bytes.Count(w.doc[w.offset:offset], []byte("\n"))
	w.offset = offset
	return w.line
}

func toValue(n *unstable.Node) value {
	switch n.Kind {
	case unstable.String:
		return value{kind: text, text: string(n.Data)}
	case unstable.Integer:
		return value{kind: integer, text: string(n.Data)}
	case unstable.Bool:
		return value{kind: boolean, text: string(n.Data)}
	case unstable.Array:
		v := value{kind: list}
		for it := n.Children(); it.Next(); {
			v.items = append(v.items, toValue(it.Node()))
		}
		return v
	case unstable.InlineTable:
		return value{kind: other, text: "{…}"}
	}
	return value{kind: other, text: string(n.Data)} // numbers with a fraction, dates and times
}

// checkSyntax returns the syntax fault of doc with its position, or nil.
func checkSyntax(doc []byte) *Fault {
	err := toml.Unmarshal(doc, &map[string]any{})
	if err == nil {
		return nil
	}
	problem := strings.TrimPrefix(err.Error(), "toml: ")
	problem, _, _ = strings.Cut(problem, ": strconv.") // the rest quotes the number, which may be an unquoted secret
	var at *toml.DecodeError
	if !errors.As(err, &at) {
		return &Fault{Problem: problem}
	}
	line, column := at.Position()
	fault := &Fault{Line: line, column: column, Problem: problem}
	shown, whole := excerpt(doc, line)
	fault.Problem += "\n    " + shown
	if whole {
		fault.Problem += "\n    " + pointer(shown, column)
	}
	return fault
}

// opening matches the header of a section, or the bare key that a line begins with.
var opening = regexp.MustCompile(`^\s*(\[\[?[\w .-]*\]?\]?\s*$|[\w.-]+)`)

// excerpt returns the part of a faulty line that cannot contain a secret. Without a valid syntax any line may
// be inside a secret, so only a line with a known key is shown whole. After a similar key the rest is cut.
func excerpt(doc []byte, line int) (shown string, whole bool) {
	lines := bytes.Split(doc, []byte("\n"))
	if line < 1 || line > len(lines) {
		return "", false
	}
	text := printable(strings.TrimRight(string(lines[line-1]), "\r"))
	start := opening.FindString(text)
	_, word := splitKey(strings.TrimSpace(start))
	switch {
	case strings.HasPrefix(strings.TrimSpace(start), "["):
		return text, true
	case isPlainKey(word) && !mentionsSecret(text) && len(text) <= 200:
		return text, true
	case nearest(word, keyWords()) != "":
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

// value is the value of a key before conversion to the key's type.
type value struct {
	kind  kind
	text  string
	items []value
}

type kind uint8

const (
	untyped kind = iota // from the environment: has the type of its key
	text
	integer
	boolean
	list
	other // a TOML type that no key has
)

// String returns the value as TOML, shortened.
func (v value) String() string {
	return shorten(v.literal())
}

func (v value) literal() string {
	switch v.kind {
	case text, untyped:
		return fmt.Sprintf("%q", v.text)
	case list:
		items := make([]string, len(v.items))
		for i, item := range v.items {
			items[i] = item.literal()
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return v.text
}

func shorten(s string) string {
	const limit = 120
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
