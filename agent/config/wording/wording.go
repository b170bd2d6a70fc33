// Package wording has the phrases that error messages about names share: the known name that was probably meant,
// a list of alternatives, and a long value cut short.
package wording

import (
	"fmt"
	"strings"
)

// Nearest returns the candidate with the smallest distance to word, or "" if more than a third of the letters
// differ.
func Nearest(word string, candidates []string) string {
	return Within(max(1, len(word)/3), word, candidates)
}

// Within returns the first of the candidates with the smallest distance to word, or "" if each differs by more than
// most letters.
func Within(most int, word string, candidates []string) string {
	if len(word) > longestWord {
		return ""
	}
	best, least := "", most+1
	for _, c := range candidates {
		if d := distance(word, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// longestWord exceeds any key. It limits the comparison, which takes quadratic time.
const longestWord = 100

// distance counts the letters to insert, delete, replace or swap with their neighbour to turn a into b.
func distance(a, b string) int {
	// Three rows of the usual table: the two before, and the current one.
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(last[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// Hint asks whether name was meant, written in format. It returns "" if name is empty.
func Hint(name, format string) string {
	if name == "" {
		return ""
	}
	return ": did you mean " + fmt.Sprintf(format, name) + "?"
}

// Either joins words as "a, b or c".
func Either(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// Shorten cuts a text to 120 bytes, at a whole character, for a message.
func Shorten(s string) string {
	const limit = 120
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
