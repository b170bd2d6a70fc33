package agent

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

	"personasync/store"
	syncer "personasync/sync"
)

// List is a file with the members of an audience: CSV, or one id a line.
//
// It is CSV when its name ends in .csv or .tsv, or its first line has a comma or a tab or begins with a
// quote. Where the first line has no comma, tabs separate, and in a .csv semicolons do, as where the
// comma stands in numbers. The ids stand in the column named Column, else in the first one whose title
// is a usual one, else in the first. A title of that kind in the first line is no id.
//
// A list of nobody is refused: a file that an export left empty would have every member leave.
type List struct {
	Name   string
	Column string
	Input  io.Reader

	// Skipped is told of each id that MoEngage ignores, with the line and a sentence.
	Skipped func(line int, sentence string)

	separator rune // of the columns
}

// titles are what a column of ids is usually called, in lower case without spaces and underscores.
var titles = []string{"userid", "user", "id", "customerid", "externalid", "uniqueid"}

func isTitle(word string) bool {
	return slices.Contains(titles, strings.ToLower(strings.NewReplacer(" ", "", "_", "", "-", "").Replace(word)))
}

// Users reads the file. Its error names the line, and what is wrong with it; nothing follows.
func (l *List) Users() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		in := bufio.NewReaderSize(l.Input, 256<<10)
		if start, _ := in.Peek(3); bytes.Equal(start, []byte("\xef\xbb\xbf")) {
			in.Discard(3)
		}
		first, _ := in.Peek(64 << 10)
		first, _, _ = bytes.Cut(first, []byte("\n"))
		each, named := l.lines, 0
		if l.separator = separatorOf(l.Name, first); l.separator != 0 {
			each = l.records
		}
		err := each(in, func(line int, id string) error {
			sentence, refused := judgeID(id)
			switch {
			case sentence == "":
				if named++; !yield(id, nil) {
					return errEnough
				}
			case refused:
				return l.fault(line, "%s", sentence)
			case l.Skipped != nil:
				l.Skipped(line, sentence)
			}
			return nil
		})
		if err == nil && named == 0 {
			err = fmt.Errorf("%s names nobody; nothing was changed: `personasync audience close KEY` has every member leave", filepath.Base(l.Name))
		}
		if err != nil && !errors.Is(err, errEnough) {
			yield("", err)
		}
	}
}

// separatorOf returns what separates the columns of a file, 0 if it has one id a line.
func separatorOf(name string, first []byte) rune {
	ext := strings.ToLower(filepath.Ext(name))
	switch {
	case bytes.ContainsRune(first, ','):
		return ','
	case bytes.ContainsRune(first, '\t'), ext == ".tsv":
		return '\t'
	case ext == ".csv" && bytes.ContainsRune(first, ';'):
		return ';'
	case ext == ".csv", bytes.HasPrefix(first, []byte(`"`)):
		return ','
	}
	return 0
}

var errEnough = errors.New("enough")

func (l *List) fault(line int, format string, args ...any) error {
	return fmt.Errorf("%s, line %d: %s; nothing was changed", filepath.Base(l.Name), line, fmt.Sprintf(format, args...))
}

// judgeID says what is wrong with an id, and whether the list cannot be meant with it. MoEngage's
// placeholders are in many exports.
func judgeID(id string) (sentence string, refused bool) {
	if strings.ContainsRune(id, 0) {
		return "a zero byte: this is no text file", true
	}
	switch fault := syncer.CheckID(id); fault {
	case "":
		return "", false
	case "id_too_long":
		return fmt.Sprintf("an id of %d bytes, and the longest has %d", len(id), store.MaxUserID), true
	case "id_invalid_utf8":
		return "an id that is not valid UTF-8: convert the file", true
	case "id_too_short":
		return fmt.Sprintf("%q is left out: MoEngage needs an id of two characters or more", id), false
	default:
		return fmt.Sprintf("%q is left out: MoEngage ignores this id", id), false
	}
}

// lines reads one id a line. Empty lines are passed over.
func (l *List) lines(in *bufio.Reader, take func(line int, id string) error) error {
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return l.fault(n, "longer than any id")
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", filepath.Base(l.Name), err)
		}
		id := strings.TrimRight(string(line), "\r\n")
		if id != "" && (n > 1 || !isTitle(id)) {
			if err := take(n, id); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// records reads a column of CSV.
func (l *List) records(in *bufio.Reader, take func(line int, id string) error) error {
	bound := &boundRecord{in: in}
	r := csv.NewReader(bound)
	r.ReuseRecord, r.FieldsPerRecord, r.Comma = true, -1, l.separator
	for column, n, line := -1, 0, 0; ; n++ {
		bound.left = maxRecord
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, errLongRecord) {
			return l.fault(line+1, "%v", err)
		}
		if bad := (*csv.ParseError)(nil); errors.As(err, &bad) {
			return l.fault(bad.Line, "%v", bad.Err)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", filepath.Base(l.Name), err)
		}
		line, _ = r.FieldPos(0)
		if n == 0 {
			titled := false
			if column, titled = l.column(record); column < 0 {
				return l.fault(line, "no column is called %q: there are %s", l.Column, strings.Join(record, ", "))
			}
			if titled {
				continue
			}
		}
		if column >= len(record) || record[column] == "" {
			return l.fault(line, "no id in column %d", column+1)
		}
		if err := take(line, record[column]); err != nil {
			return err
		}
	}
}

// A quote that is never closed makes the rest of the file one record, and would take as much memory.
const maxRecord = 1 << 20

var errLongRecord = errors.New("a record of more than a megabyte: is a quote not closed?")

// boundRecord reads no further than left.
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

// column finds the ids in the first record, and says whether that is a line of titles.
func (l *List) column(first []string) (column int, titled bool) {
	if l.Column != "" {
		column = slices.IndexFunc(first, func(title string) bool { return strings.EqualFold(title, l.Column) })
		return column, true
	}
	if column = slices.IndexFunc(first, isTitle); column >= 0 {
		return column, true
	}
	return 0, false
}
