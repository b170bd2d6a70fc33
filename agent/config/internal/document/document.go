// Package document reads a TOML document into statements with their lines, and writes keys and texts as TOML. It
// knows neither the keys of the configuration nor their types.
package document

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"personasync/agent/config/wording"
)

// A document is decoded in two steps, because a typed decode stops at the first type error and strict mode
// reports only unknown keys. First the library reads it into an untyped map, which checks the syntax and
// duplicate keys. Then its syntax tree is flattened into entries with line numbers.

// Entry is one statement: a key with its value, or a section header.
type Entry struct {
	Path    []string // "log", "level", whether nested or dotted
	Section int      // number of the [[computation]] from 1; Path is relative to it
	Header  bool     // Path names a section; there is no value
	Array   bool     // the header is written [[…]]
	Value   Value
	Line    int
}

// Key returns the path as TOML, so that ["a.b"] and ["a", "b"] differ.
func (e Entry) Key() string { return JoinKey(e.Path) }

// JoinKey writes a path as TOML.
func JoinKey(path []string) string {
	parts := make([]string, len(path))
	for i, part := range path {
		parts[i] = BareKey(part)
	}
	return strings.Join(parts, ".")
}

// BareKey returns one part of a key as TOML, quoted if necessary.
func BareKey(name string) string {
	if name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == "" {
		return name
	}
	return strconv.Quote(name)
}

// SplitKey splits a full key before its last part.
func SplitKey(key string) (section, word string) {
	i := strings.LastIndex(key, ".")
	if i < 0 {
		return "", key
	}
	return key[:i], key[i+1:]
}

// SyntaxError is the first place where a document is not TOML.
type SyntaxError struct {
	Line, Column int    // from 1, the column in bytes; both 0 if the parser does not know the place
	Problem      string // in the parser's words, without the document's text
}

// Parse returns the statements of a document in order. If the syntax is invalid it returns only the error.
func Parse(doc []byte) ([]Entry, *SyntaxError) {
	if fault := checkSyntax(doc); fault != nil {
		return nil, fault
	}
	w := &walker{doc: doc, line: 1}
	w.parser.Reset(doc)
	for w.parser.NextExpression() {
		w.expression(w.parser.Expression())
	}
	if err := w.parser.Error(); err != nil {
		return nil, &SyntaxError{Problem: err.Error()} // unreachable: checkSyntax has reported it
	}
	return w.entries, nil
}

// Computations is the name of the only array of tables.
const Computations = "computation"

type walker struct {
	parser  unstable.Parser
	doc     []byte
	offset  int // lines are counted up to here
	line    int // of offset
	table   []string
	section int // of table, 0 outside a [[computation]]
	count   int // of [[computation]] so far
	entries []Entry
}

func (w *walker) expression(n *unstable.Node) {
	path, line := w.path(n.Key())
	switch n.Kind {
	case unstable.Table:
		w.table, w.section = path, 0
		if len(path) > 1 && path[0] == Computations && w.count > 0 {
			w.table, w.section = path[1:], w.count // [computation.x] belongs to the last [[computation]]
		}
		w.header(w.table, w.section, line)
	case unstable.ArrayTable:
		w.table, w.section = path, 0
		if len(path) == 1 && path[0] == Computations {
			w.count++
			w.table, w.section = nil, w.count
		}
		w.entries = append(w.entries, Entry{Path: w.table, Section: w.section, Header: true, Array: true, Line: line})
	case unstable.KeyValue:
		w.assign(slices.Concat(w.table, path), w.section, n.Value(), line)
	}
}

// assign records a value. It flattens an inline table, which is a section on one line.
func (w *walker) assign(path []string, section int, n *unstable.Node, line int) {
	if section == 0 && len(path) == 1 && path[0] == Computations && w.inlineSections(n, line) {
		return
	}
	if n.Kind != unstable.InlineTable {
		w.entries = append(w.entries, Entry{Path: path, Section: section, Value: toValue(n), Line: line})
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
	w.entries = append(w.entries, Entry{Path: path, Section: section, Header: true, Line: line})
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

func toValue(n *unstable.Node) Value {
	switch n.Kind {
	case unstable.String:
		return Value{Kind: Text, Text: string(n.Data)}
	case unstable.Integer:
		return Value{Kind: Integer, Text: string(n.Data)}
	case unstable.Bool:
		return Value{Kind: Boolean, Text: string(n.Data)}
	case unstable.Array:
		v := Value{Kind: list}
		for it := n.Children(); it.Next(); {
			v.items = append(v.items, toValue(it.Node()))
		}
		return v
	case unstable.InlineTable:
		return Value{Kind: Other, Text: "{…}"}
	}
	return Value{Kind: Other, Text: string(n.Data)} // numbers with a fraction, dates and times
}

// Value is the value of a key before conversion to the key's type.
type Value struct {
	Kind  Kind
	Text  string // as written, without quotes
	items []Value
}

// Kind is the TOML type of a value.
type Kind uint8

// The kinds. A list has its items instead of a text.
const (
	Untyped Kind = iota // from the environment: has the type of its key
	Text
	Integer
	Boolean
	list
	Other // a TOML type that no key has
)

// String returns the value as TOML, shortened.
func (v Value) String() string {
	return wording.Shorten(v.literal())
}

func (v Value) literal() string {
	switch v.Kind {
	case Text, Untyped:
		return fmt.Sprintf("%q", v.Text)
	case list:
		items := make([]string, len(v.items))
		for i, item := range v.items {
			items[i] = item.literal()
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return v.Text
}

// Texts reads a list of texts. In the environment it is comma-separated, and "" is an empty list.
func (v Value) Texts() ([]string, error) {
	var items []string
	switch v.Kind {
	case Untyped:
		if strings.TrimSpace(v.Text) == "" {
			return nil, nil
		}
		for item := range strings.SplitSeq(v.Text, ",") {
			items = append(items, strings.TrimSpace(item))
		}
		return items, nil
	case list:
		for _, item := range v.items {
			if item.Kind != Text {
				return nil, errNotTexts
			}
			items = append(items, item.Text)
		}
		return items, nil
	}
	return nil, errNotTexts
}

var errNotTexts = errors.New(`must be a list of texts, like ["one", "two"]`)

// QuoteAll returns texts as a TOML array.
func QuoteAll(items []string) string {
	quoted := make([]string, len(items))
	for i, item := range items {
		quoted[i] = strconv.Quote(item)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// checkSyntax returns the first syntax error of doc, or nil.
func checkSyntax(doc []byte) *SyntaxError {
	err := toml.Unmarshal(doc, &map[string]any{})
	if err == nil {
		return nil
	}
	problem := strings.TrimPrefix(err.Error(), "toml: ")
	problem, _, _ = strings.Cut(problem, ": strconv.") // the rest quotes the number, which may be an unquoted secret
	switch {
	case strings.HasPrefix(problem, "table ") && strings.HasSuffix(problem, " already exists"):
		problem += ": move what stands below it to the section of that name above"
	case strings.HasPrefix(problem, "key ") && strings.HasSuffix(problem, " is already defined"):
		problem += ": leave one of the two lines"
	}
	var at *toml.DecodeError
	if !errors.As(err, &at) {
		return &SyntaxError{Problem: problem}
	}
	line, column := at.Position()
	return &SyntaxError{Line: line, Column: column, Problem: problem}
}
