package term

import (
	"regexp"
	"strings"
)

// Beside wraps text after a margin to fit a terminal. In a pipe it is one line.
func (w *Terminal) Beside(text string, margin int) string {
	if !w.attached {
		return text
	}
	return strings.ReplaceAll(wrap(text, tableWidth-margin), "\n", "\n"+strings.Repeat(" ", margin))
}

// wrap breaks text at spaces into lines of at most width characters. A command between backquotes stays whole,
// whatever its width, so that it can be copied.
func wrap(text string, width int) string {
	const kept = "\x00" // a space at which text is not broken
	parts := strings.Split(text, "`")
	for i := 1; i+1 < len(parts); i += 2 {
		parts[i] = strings.ReplaceAll(parts[i], " ", kept)
	}
	text = strings.Join(parts, "`")
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+seen(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += seen(word)
	}
	return strings.ReplaceAll(b.String(), kept, " ")
}

var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

// seen returns the number of columns that a word takes on a terminal.
func seen(word string) int { return width(colour.ReplaceAllString(word, "")) }
