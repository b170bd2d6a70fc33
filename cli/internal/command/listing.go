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

// Print prints up to n items, as a table or as JSON.
func (l *Listing[T]) Print(w *term.Terminal, c *urfave.Context, n int) error {
	t := w.NewTable(c.Bool("wide"), l.Columns...)
	list := &term.JSONList{W: w.Out}
	for shown := 0; ; {
		page, more, err := l.Fetch(min(n-shown, pageSize))
		if err != nil {
			return err
		}
		if c.Bool("json") {
			err = addAll(list, page)
		} else {
			err = t.Print(l.rows(page))
		}
		if err != nil {
			return err
		}
		shown += len(page)
		if more && shown < n && len(page) > 0 {
			continue
		}
		if c.Bool("json") {
			err = list.End()
		} else if shown == 0 {
			w.Remark("none")
		}
		if err == nil && shown == 0 && l.Empty != nil {
			err = l.Empty()
		}
		if more {
			w.Remark("these are the first %d: --limit shows more", shown)
		}
		return err
	}
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
