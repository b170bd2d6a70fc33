package domain

import "testing"

func TestNoCellIsAFormulaAndEachComesBack(t *testing.T) {
	for s, want := range map[string]string{
		"":                           "",
		"ann":                        "ann",
		"'ann":                       "'ann",
		"a=b":                        "a=b",
		"=1+1":                       "'=1+1",
		"=HYPERLINK(\"x\")":          "'=HYPERLINK(\"x\")",
		"@SUM(A1)":                   "'@SUM(A1)",
		"+cmd|' /C calc'!A0":         "'+cmd|' /C calc'!A0",
		"-2+3":                       "'-2+3",
		"＝1":                         "'＝1",
		"'=1":                        "''=1",
		"''=1":                       "'''=1",
		"+4712345678":                "+4712345678",
		"-12.5":                      "-12.5",
		"-1e-5":                      "-1e-5",
		"'-5":                        "'-5",
		"-Inf":                       "'-Inf",
		"-":                          "'-",
		"\u202e=1":                   "\u202e=1",
		"\U0001f469\u200d\U0001f4bb": "\U0001f469\u200d\U0001f4bb",
	} {
		if got := SheetCell(s); got != want || FromSheetCell(got) != s {
			t.Errorf("%q is the cell %q, want %q, and comes back as %q", s, got, want, FromSheetCell(got))
		}
	}
}

func FuzzSheetCell(f *testing.F) {
	f.Add("'=1")
	f.Fuzz(func(t *testing.T, s string) {
		if back := FromSheetCell(SheetCell(s)); back != s {
			t.Errorf("%q comes back as %q", s, back)
		}
	})
}
