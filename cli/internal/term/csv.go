package term

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"personasync/store/domain"
)

// CSVList writes CSV as RFC 4180 has it, in UTF-8. Its items come page by page. The first line holds the names that the
// fields of T have in JSON, and each item is a line. null is an empty cell; a list or an object is JSON. Control
// characters are written as in JSON, because the reader may be a terminal. No cell is a formula: see domain.SheetCell.
type CSVList[T any] struct {
	w      *csv.Writer
	titled bool
}

// NewCSVList returns a list that is written to w. T is a struct, and each of its fields has a name in JSON.
func NewCSVList[T any](w io.Writer) *CSVList[T] {
	l := &CSVList[T]{w: csv.NewWriter(w)}
	l.w.UseCRLF = true
	return l
}

// Add writes a page of items, and the titles before the first page.
func (l *CSVList[T]) Add(page []T) error {
	fields := slices.DeleteFunc(reflect.VisibleFields(reflect.TypeFor[T]()), func(f reflect.StructField) bool { return f.Tag.Get("json") == "" }) // of an embedded struct its fields
	row := make([]string, len(fields))
	if !l.titled {
		l.titled = true
		for i := range fields {
			row[i], _, _ = strings.Cut(fields[i].Tag.Get("json"), ",")
		}
		if err := l.w.Write(row); err != nil {
			return err
		}
	}
	for i := range page {
		v := reflect.ValueOf(page[i])
		for f := range fields {
			cell, err := cellOf(v.FieldByIndex(fields[f].Index).Interface())
			if err != nil {
				return err
			}
			row[f] = cell
		}
		if err := l.w.Write(row); err != nil {
			return err
		}
	}
	l.w.Flush()
	return l.w.Error()
}

// cellOf returns a value as a cell.
func cellOf(v any) (string, error) {
	text, err := JSONLine(v)
	if err != nil {
		return "", err
	}
	cell := strings.TrimSuffix(string(text), "\n")
	switch {
	case cell == "null":
		return "", nil
	case strings.HasPrefix(cell, `"`):
		if err := json.Unmarshal(text, &cell); err != nil {
			return "", err
		}
	}
	var b strings.Builder
	for _, r := range cell {
		if unicode.IsControl(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return domain.SheetCell(b.String()), nil
}
