package command

import (
	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/term"
)

// pageSize is the number of items of one question.
const pageSize = 500

// Listing is a list whose items are read page by page.
type Listing[T any] struct {
	Columns []term.Column
	Row     func(T) []string // an item as a row of the table
	Empty   func() error     // called if there is no item, for a better message; may be nil

	// fetch returns at most want further items, and whether there are more.
	Fetch func(want int) (page []T, more bool, err error)
}

// Print prints up to n items, as a table, as JSON or as CSV.
func (l *Listing[T]) Print(w *term.Terminal, c *urfave.Context, n int) error {
	add, end := l.form(w, c)
	for shown := 0; ; {
		page, more, err := l.Fetch(min(n-shown, pageSize))
		if err == nil {
			err = add(page)
		}
		if err != nil {
			return err
		}
		shown += len(page)
		if more && shown < n && len(page) > 0 {
			continue
		}
		err = end(shown)
		if err == nil && shown == 0 && l.Empty != nil {
			err = l.Empty()
		}
		if more {
			w.Remark("these are the first %d: --limit shows more", shown)
		}
		return err
	}
}

// form returns what prints a page, and what ends the list.
func (l *Listing[T]) form(w *term.Terminal, c *urfave.Context) (add func([]T) error, end func(shown int) error) {
	none := func(shown int) error {
		if shown == 0 {
			w.Remark("none")
		}
		return nil
	}
	switch {
	case c.Bool("json"):
		list := &term.JSONList{W: w.Out}
		return func(page []T) error { return addAll(list, page) }, func(int) error { return list.End() }
	case c.Bool("csv"):
		return term.NewCSVList[T](w.Out).Add, none
	}
	t := w.NewTable(c.Bool("wide"), l.Columns...)
	return func(page []T) error { return t.Print(l.rows(page)) }, none
}

// PrintData prints a list as JSON or as CSV if a flag asks for it. printed is false if none does.
func PrintData[T any](w *term.Terminal, c *urfave.Context, list []T) (printed bool, err error) {
	switch {
	case c.Bool("json"):
		return true, term.PrintJSON(w.Out, list)
	case c.Bool("csv"):
		return true, term.NewCSVList[T](w.Out).Add(list)
	}
	return false, nil
}

func (l *Listing[T]) rows(page []T) [][]string {
	rows := make([][]string, len(page))
	for i := range page {
		rows[i] = l.Row(page[i])
	}
	return rows
}

func addAll[T any](list *term.JSONList, page []T) error {
	for i := range page {
		if err := list.Add(page[i]); err != nil {
			return err
		}
	}
	return nil
}
