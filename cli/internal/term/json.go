package term

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// PrintJSON writes v as indented JSON.
func PrintJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// JSONLine writes v as one line of JSON, for listings without an end.
func JSONLine(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// JSONList writes an array whose items come page by page, in the format of PrintJSON.
type JSONList struct {
	W io.Writer
	n int
}

// Add writes the next item.
func (l *JSONList) Add(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("  ", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	before := ",\n  "
	if l.n == 0 {
		before = "[\n  "
	}
	l.n++
	_, err := fmt.Fprint(l.W, before, strings.TrimSuffix(b.String(), "\n"))
	return err
}

// End closes the array.
func (l *JSONList) End() error {
	if l.n == 0 {
		_, err := fmt.Fprintln(l.W, "[]")
		return err
	}
	_, err := fmt.Fprint(l.W, "\n]\n")
	return err
}
