package domain

import (
	"strconv"
	"strings"
)

// SheetCell returns s as a cell of CSV that no spreadsheet takes for a formula. User ids, names and values come from outside,
// and a formula among them would run with the rights of the person who opens the file. A text that begins with =, +, - or @,
// of either width, gets an apostrophe before it unless it is a plain number. FromSheetCell takes it away again.
func SheetCell(s string) string {
	if formula(s) {
		return "'" + s
	}
	return s
}

// FromSheetCell returns what SheetCell was given.
func FromSheetCell(cell string) string {
	if s, guarded := strings.CutPrefix(cell, "'"); guarded && formula(s) {
		return s
	}
	return cell
}

// formula reports whether s, behind any apostrophes, may be taken for a formula.
func formula(s string) bool {
	s = strings.TrimLeft(s, "'")
	for _, sign := range []string{"=", "+", "-", "@", "＝", "＋", "－", "＠"} {
		if strings.HasPrefix(s, sign) {
			_, err := strconv.ParseFloat(s, 64)
			return err != nil || strings.Trim(s, "+-.0123456789eE") != ""
		}
	}
	return false
}
