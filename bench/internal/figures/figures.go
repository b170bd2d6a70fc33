//go:build linux

package figures

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Number formats a figure briefly: 1,234, 12.3 or 0.123.
func Number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v >= 1000:
		return thousands(int(v + 0.5))
	}
	return fmt.Sprintf("%.3g", v)
}

func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// Milliseconds returns d in milliseconds.
func Milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// Table is a Markdown table that is also readable as text.
type Table [][]string

// String pads the cells, so that columns line up.
func (t Table) String() string {
	widths := make([]int, len(t[0]))
	for _, row := range t {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var text strings.Builder
	for i, row := range t {
		for j, cell := range row {
			fmt.Fprintf(&text, "| %s%s ", cell, strings.Repeat(" ", widths[j]-len([]rune(cell))))
		}
		text.WriteString("|\n")
		if i == 0 {
			for _, w := range widths {
				text.WriteString("| " + strings.Repeat("-", w) + " ")
			}
			text.WriteString("|\n")
		}
	}
	return text.String()
}
