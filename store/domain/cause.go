package domain

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Said separates our explanation from the words of the other side in a sentence.
const Said = " It said: "

// causeLength bounds a cause, in characters.
const causeLength = 120

// Cause says why a change is parked, in a form that is equal for changes parked for the same reason: the reason code,
// and MoEngage's words without the user, addresses and numbers.
func (c *Change) Cause() string {
	_, words, found := strings.Cut(c.Sentence, Said)
	if !found {
		return c.Reason
	}
	if len(c.User) > 1 {
		words = strings.ReplaceAll(words, c.User, "…")
	}
	var b strings.Builder
	b.WriteString(c.Reason)
	b.WriteByte(':')
	for word := range strings.FieldsSeq(words) {
		b.WriteByte(' ')
		b.WriteString(normalWord(word))
	}
	return shortened(strings.TrimRight(b.String(), " .:"), causeLength)
}

// normalWord replaces what differs from one change to the next.
func normalWord(word string) string {
	core := strings.TrimFunc(word, unicode.IsPunct)
	switch {
	case core == "":
		return word
	case strings.Contains(core, "@"), isHex(core):
		return strings.Replace(word, core, "…", 1)
	}
	var b strings.Builder
	digits := false
	for _, r := range word {
		if !unicode.IsDigit(r) {
			b.WriteRune(r)
		} else if !digits {
			b.WriteByte('#')
		}
		digits = unicode.IsDigit(r)
	}
	return b.String()
}

// isHex reports whether word is an id of hexadecimal digits, in groups or not.
func isHex(word string) bool {
	digits := 0
	for _, r := range word {
		switch {
		case r >= '0' && r <= '9':
			digits++
		case r >= 'a' && r <= 'f', r >= 'A' && r <= 'F', r == '-':
		default:
			return false
		}
	}
	return len(word) >= 8 && digits > 0
}

func shortened(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}
