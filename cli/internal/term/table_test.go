package term

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// printTable prints pages as on a terminal of so many columns; 0 is a pipe.
func printTable(t *testing.T, w *Terminal, terminal int, pages ...[][]string) string {
	t.Helper()
	table := w.NewTable(false, Column{Title: "ID"}, Column{Title: "NOTE", Flexible: true}, Column{Title: "WHY", Flexible: true}, Column{Title: "N", Right: true})
	table.fit = terminal
	for _, rows := range pages {
		if err := table.Print(rows); err != nil {
			t.Fatal(err)
		}
	}
	return w.Out.(*strings.Builder).String()
}

func TestTableLinesUp(t *testing.T) {
	got := printTable(t, testTerminal(), tableWidth,
		[][]string{{"1", "ann", "", "7"}, {"22", "bob", "http_503", "1,000"}},
		[][]string{{"3", "a later page", "stays in line", "5"}})
	want := `ID  NOTE  WHY           N
1   ann                 7
22  bob   http_503  1,000
3   a l…  stays i…      5
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestTableFitsItsTerminal(t *testing.T) {
	long := [][]string{{"id", strings.Repeat("ü", 300), strings.Repeat("y", 60), "1"}}
	for _, line := range strings.Split(printTable(t, testTerminal(), tableWidth, long), "\n") {
		if n := utf8.RuneCountInString(line); n > tableWidth {
			t.Errorf("a line of %d columns", n)
		}
	}
}

func TestCharactersThatTakeTwoColumnsFitToo(t *testing.T) {
	wide := [][]string{{"id", strings.Repeat("会員", 60), strings.Repeat("한국", 40), "1"}, {"id", "e\u0301va", "🙂🙂", "22"}}
	lines := strings.Split(strings.TrimSpace(printTable(t, testTerminal(), tableWidth, wide)), "\n")
	for _, line := range lines {
		if n := width(line); n > tableWidth {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	if last := lines[len(lines)-1]; width(last) != width(lines[0]) {
		t.Errorf("out of line:\n%s", strings.Join(lines, "\n"))
	}
}

func TestTableWithoutRowsIsNothing(t *testing.T) {
	if got := printTable(t, testTerminal(), tableWidth, nil); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestColoursAreForTerminals(t *testing.T) {
	if p := newPalette(new(strings.Builder), func(string) string { return "" }); p.On {
		t.Error("colours without a terminal")
	}
	if got := (palette{}).Red("x"); got != "x" {
		t.Errorf("got %q", got)
	}
	if got := (palette{On: true}).Red("x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("got %q", got)
	}
}

func testTerminal() *Terminal { return &Terminal{Out: new(strings.Builder), Err: new(strings.Builder)} }
