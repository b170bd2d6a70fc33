package term

import (
	"io"
	"strings"
)

// tableWidth is the width of a table and of the lines beside it on the narrowest terminal.
const tableWidth = 80

// minFlexible is the least width to which a column is cut.
const minFlexible = 8

// Column is one column of a table.
type Column struct {
	Title    string
	Flexible bool // may be cut to fit; never for an id or a key, which people type again
	Right    bool // numbers
	Least    int  // least width, for rows that come later
	paint    func(string) string
}

// Table prints rows for people. The first rows decide the widths of the columns, so that a long listing stays aligned
// and need not be kept in memory.
type Table struct {
	out     io.Writer
	Columns []Column
	fit     int // width of the table in characters; 0 is unlimited
	paint   palette
	widths  []int
}

// Print writes rows, and the titles before the first ones. Without rows it writes nothing.
func (t *Table) Print(rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	for _, row := range rows {
		for i := range row {
			row[i] = Plain(row[i])
		}
	}
	if t.widths == nil {
		t.measure(rows)
		if err := t.line(t.titles(), true); err != nil {
			return err
		}
	}
	for _, row := range rows {
		if err := t.line(row, false); err != nil {
			return err
		}
	}
	return nil
}

func (t *Table) titles() []string {
	titles := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		titles[i] = c.Title
	}
	return titles
}

// measure sets the widths of the columns: those of the rows, with the widest flexible column cut until all fit.
func (t *Table) measure(rows [][]string) {
	t.widths = make([]int, len(t.Columns))
	total := 2 * (len(t.Columns) - 1)
	for i := range t.Columns {
		t.widths[i] = max(width(t.Columns[i].Title), t.Columns[i].Least)
		for _, row := range rows {
			t.widths[i] = max(t.widths[i], width(row[i]))
		}
		total += t.widths[i]
	}
	for ; t.fit > 0 && total > t.fit; total-- {
		widest := -1
		for i, c := range t.Columns {
			if c.Flexible && t.widths[i] > minFlexible && (widest < 0 || t.widths[i] > t.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		t.widths[widest]--
	}
}

func (t *Table) line(cells []string, title bool) error {
	var b strings.Builder
	for i, cell := range cells {
		c := t.Columns[i]
		if t.fit > 0 && c.Flexible {
			cell = cut(cell, t.widths[i])
		}
		gap := strings.Repeat(" ", max(0, t.widths[i]-width(cell)))
		switch {
		case title:
			cell = t.paint.Bold(cell)
		case c.paint != nil:
			cell = c.paint(cell)
		}
		if c.Right {
			cell, gap = gap+cell, ""
		}
		b.WriteString(cell)
		if i < len(cells)-1 {
			b.WriteString(gap + "  ")
		}
	}
	_, err := io.WriteString(t.out, strings.TrimRight(b.String(), " ")+"\n")
	return err
}

// cut shortens s to n columns. The last one shows that s was cut.
func cut(s string, n int) string {
	if width(s) <= n {
		return s
	}
	taken := 0
	for i, r := range s {
		if taken += width(string(r)); taken > n-1 {
			return s[:i] + "…"
		}
	}
	return s
}
