package memberlist

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"personasync/store/domain"
	syncer "personasync/sync"
)

// List is a file of an audience's members: CSV with a title line, or one id a line. It is for one goroutine.
//
// A file is CSV if its name ends in .csv or .tsv, or Column is set. It is also CSV if its first line contains a
// comma or a tab, begins with a quote, or has an id column when split at semicolons or bars.
//
// Ids are read from Column. If it is empty, they are read from the id column with the best name. A CSV file
// without an id column is refused, because a title or an address must not become a member. A line without an id
// is skipped.
//
// A list without members is refused: an empty export would remove every member.
type List struct {
	Name   string
	Key    string // the audience's key; a column with this name flags its members
	Column string
	Input  io.Reader

	// Skipped is called for each skipped line, with the reason as a sentence.
	Skipped func(line int, sentence string)

	// Read describes how the file has been read so far.
	Read Reading

	separator rune // between columns
	before    int  // lines before the CSV reader's first
}

// Reading names the column that the ids were read from and the first two ids. Column is "" for one id a line.
type Reading struct {
	Column string
	First  []string
}

// Users yields the ids. An error is the last element; it names the file, the line and the reason.
func (l *List) Users() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		l.Read, l.before = Reading{}, 0
		in, err := listText(l.Input)
		if err != nil {
			yield("", l.fault(1, "%v", err))
			return
		}
		named := 0
		err = l.form(in)(in, func(line int, id string) error {
			id = domain.CleanID(id) // the same normalization as for an event
			sentence, refused := judgeID(id)
			switch {
			case sentence == "":
				if named++; named <= 2 {
					l.Read.First = append(l.Read.First, id)
				}
				if !yield(id, nil) {
					return errEnough
				}
			case refused:
				return l.fault(line, "%s", sentence)
			default:
				l.skip(line, sentence)
			}
			return nil
		})
		if err == nil && named == 0 {
			err = fmt.Errorf("%s %w; nothing was changed. To remove every member, use `personasync audience close KEY`", filepath.Base(l.Name), ErrEmpty)
		}
		if err != nil && !errors.Is(err, errEnough) {
			yield("", err)
		}
	}
}

func (l *List) skip(line int, sentence string) {
	if l.Skipped != nil {
		l.Skipped(line, sentence)
	}
}

// form chooses the parser by the first line.
func (l *List) form(in *bufio.Reader) func(*bufio.Reader, func(int, string) error) error {
	first := firstLine(in)
	if sep, ok := bytes.CutPrefix(bytes.ToLower(bytes.TrimSpace(first)), []byte("sep=")); ok && len(sep) <= 1 { // a hint for Excel
		l.separator = '\t'
		if len(sep) == 1 {
			l.separator = rune(sep[0])
		}
		l.before, _ = 1, discardLine(in)
		return l.records
	}
	if l.separator = l.separatorOf(first); l.separator == 0 {
		return l.lines
	}
	return l.records
}

func firstLine(in *bufio.Reader) []byte {
	first, _ := in.Peek(64 << 10)
	first, _, _ = bytes.Cut(bytes.TrimLeft(first, "\n"), []byte("\n"))
	return first
}

func discardLine(in *bufio.Reader) error {
	_, err := in.ReadSlice('\n')
	return err
}

// separatorOf returns the column separator of a file, or 0 if it has one id a line.
func (l *List) separatorOf(first []byte) rune {
	for _, sep := range ",\t;|" {
		titles := cells(first, sep)
		if len(titles) > 1 && slices.ContainsFunc(titles, l.names) {
			return sep
		}
	}
	ext := strings.ToLower(filepath.Ext(l.Name))
	switch {
	case bytes.ContainsRune(first, ','):
		return ','
	case bytes.ContainsRune(first, '\t'), ext == ".tsv":
		return '\t'
	case ext == ".csv" && bytes.ContainsRune(first, ';'):
		return ';'
	case ext == ".csv", l.Column != "", bytes.HasPrefix(first, []byte(`"`)):
		return ','
	}
	return 0
}

// cells splits a title line. It need not parse quotes correctly, only find a title.
func cells(line []byte, sep rune) (titles []string) {
	for cell := range strings.SplitSeq(string(line), string(sep)) {
		titles = append(titles, plainTitle(cell))
	}
	return titles
}

// names reports whether a plain title belongs to an id column.
func (l *List) names(title string) bool {
	return slices.Contains(idTitles, title) || title == externalIDs || l.Column != "" && title == plainTitle(l.Column)
}

// ErrEmpty says that a list names nobody.
var ErrEmpty = errors.New("has no members")

var errEnough = errors.New("enough")

func (l *List) fault(line int, format string, args ...any) error {
	return fmt.Errorf("%s, line %d: %s; nothing was changed", filepath.Base(l.Name), line, fmt.Sprintf(format, args...))
}

// judgeID returns the fault of an id, and whether the whole list must be refused for it. MoEngage's
// placeholders are common in exports and only skip their line.
func judgeID(id string) (sentence string, refused bool) {
	if strings.ContainsRune(id, 0) {
		return "a zero byte: this is no text file", true
	}
	switch fault := syncer.CheckID(id); fault {
	case "":
		if !domain.Nameable(id) {
			return fmt.Sprintf("%q is left out: an id with control characters is no user's", id), false
		}
		if what := spoiltBy(id); what != "" {
			return fmt.Sprintf("%q %s", id, what), true
		}
		return "", false
	case "id_too_long":
		return fmt.Sprintf("an id of %d bytes, and the longest has %d", len(id), domain.MaxUserID), true
	case "id_invalid_utf8":
		return "an id that is not valid UTF-8: convert the file", true
	case "id_too_short":
		return fmt.Sprintf("%q is left out: MoEngage needs an id of two characters or more", id), false
	default:
		return fmt.Sprintf("%q is left out: MoEngage ignores this id", id), false
	}
}

// lines reads one id a line. It skips empty lines, and a title repeated where files were joined.
func (l *List) lines(in *bufio.Reader, take func(line int, id string) error) error {
	title, begun := "", false
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return l.fault(n, "longer than any id")
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", filepath.Base(l.Name), err)
		}
		id := plainCell(string(line))
		if id != "" && !begun {
			begun = true
			switch plain := plainTitle(id); {
			case slices.Contains(lineTitles, plain):
				title = id
			case slices.Contains(otherTitles, plain):
				return l.fault(n, "the title %q stands above no ids: say `--column %s` if they are", id, id)
			}
		}
		if id != "" && id != title {
			if err := take(n, id); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// records reads the ids of CSV.
func (l *List) records(in *bufio.Reader, take func(line int, id string) error) error {
	bound := &boundRecord{in: in}
	r := csv.NewReader(bound)
	r.ReuseRecord, r.FieldsPerRecord, r.Comma = true, -1, l.separator
	var c columns
	var ids []string
	for n, line := 0, 0; ; n++ {
		bound.left = maxRecord
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, errLongRecord) {
			return l.fault(l.before+line+1, "%v", err)
		}
		if bad := (*csv.ParseError)(nil); errors.As(err, &bad) {
			return l.fault(l.before+bad.Line, "%v", bad.Err)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", filepath.Base(l.Name), err)
		}
		line, _ = r.FieldPos(0)
		if n == 0 {
			titled := true
			if c, titled, err = l.titles(record); err != nil {
				return l.fault(l.before+line, "%v", err)
			}
			if titled {
				continue
			}
		}
		if slices.Equal(record, c.titles) {
			continue // a title repeated where files were joined
		}
		if ids, err = c.read(record, ids[:0]); err != nil {
			return l.fault(l.before+line, "%v", err)
		}
		if len(ids) == 0 {
			l.skip(l.before+line, "no id")
		}
		for _, id := range ids {
			if err := take(l.before+line, id); err != nil {
				return err
			}
		}
	}
}

// titles reads the first record. A single column of quoted ids needs no title unless the file is named as CSV.
func (l *List) titles(first []string) (c columns, titled bool, err error) {
	c, err = l.columns(first)
	l.Read.Column = c.name
	if ext := strings.ToLower(filepath.Ext(l.Name)); err == nil || len(first) > 1 || l.Column != "" || ext == ".csv" || ext == ".tsv" {
		return c, true, err
	}
	plain := plainTitle(first[0])
	if slices.Contains(otherTitles, plain) {
		return c, true, err
	}
	return columns{ids: []int{0}, external: -1, kind: -1, flag: -1, titles: make([]string, 1)}, slices.Contains(lineTitles, plain), nil
}

// maxRecord limits the bytes of one record. A quote that is never closed would read the rest of the file into
// memory.
const maxRecord = 1 << 20

var errLongRecord = errors.New("a record of more than a megabyte: is a quote not closed?")

// boundRecord is a reader that fails after left bytes.
type boundRecord struct {
	in   io.Reader
	left int
}

func (b *boundRecord) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLongRecord
	}
	n, err := b.in.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
