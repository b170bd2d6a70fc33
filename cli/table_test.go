package cli

import (
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"personasync/cli/internal/exit"
)

// printTable prints pages as on a terminal of so many columns; 0 is a pipe.
func printTable(t *testing.T, sh *shell, terminal int, pages ...[][]string) string {
	t.Helper()
	table := sh.newTable(false, column{title: "ID"}, column{title: "NOTE", flexible: true}, column{title: "WHY", flexible: true}, column{title: "N", right: true})
	table.fit = terminal
	for _, rows := range pages {
		if err := table.print(rows); err != nil {
			t.Fatal(err)
		}
	}
	return sh.out.(*strings.Builder).String()
}

func TestTableLinesUp(t *testing.T) {
	got := printTable(t, testShell(), tableWidth,
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
	for _, line := range strings.Split(printTable(t, testShell(), tableWidth, long), "\n") {
		if n := utf8.RuneCountInString(line); n > tableWidth {
			t.Errorf("a line of %d columns", n)
		}
	}
}

// A table that goes into a pipe or a file was cut to 80 columns, ids included.
func TestNothingIsCutInAPipe(t *testing.T) {
	sh := testShell()
	table := sh.newTable(false, changeTable...)
	row := make([]string, len(changeTable))
	for i := range row {
		row[i] = strings.Repeat("x", 100) + string(rune('a'+i))
	}
	if err := table.print([][]string{row}); err != nil {
		t.Fatal(err)
	}
	for _, cell := range row {
		if got := sh.out.(*strings.Builder).String(); !strings.Contains(got, cell) {
			t.Errorf("%q is cut:\n%s", cell, got)
		}
	}
}

// An id or a key that is cut cannot be typed again, on a terminal either.
func TestIdsAndKeysAreNeverCut(t *testing.T) {
	for name, columns := range map[string][]column{"changes": changeTable, "members": memberTable, "waiting": waitingTable, "states": stateTable, "tail": tailColumns} {
		for _, c := range columns {
			if c.flexible && slices.Contains([]string{"ID", "USER", "COMPUTATION", "KEY", "TRAIT", "ATTRIBUTE"}, c.title) {
				t.Errorf("%s: the column %s is cut to fit", name, c.title)
			}
		}
	}
}

func TestCharactersThatTakeTwoColumnsFitToo(t *testing.T) {
	wide := [][]string{{"id", strings.Repeat("会員", 60), strings.Repeat("한국", 40), "1"}, {"id", "e\u0301va", "🙂🙂", "22"}}
	lines := strings.Split(strings.TrimSpace(printTable(t, testShell(), tableWidth, wide)), "\n")
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
	if got := printTable(t, testShell(), tableWidth, nil); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestColoursAreForTerminals(t *testing.T) {
	if p := newPalette(new(strings.Builder), func(string) string { return "" }); p.on {
		t.Error("colours without a terminal")
	}
	if got := (palette{}).red("x"); got != "x" {
		t.Errorf("got %q", got)
	}
	if got := (palette{on: true}).red("x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("got %q", got)
	}
}

func TestClosedPipeEndsQuietly(t *testing.T) {
	sh := testShell()
	for _, err := range []error{syscall.EPIPE, io.ErrClosedPipe, errors.Join(syscall.EPIPE)} {
		if code := report(sh.terminal, err); code != exit.Done {
			t.Errorf("%v ended with %d", err, code)
		}
	}
	if said := sh.err.(*strings.Builder).String(); said != "" {
		t.Errorf("it said %q", said)
	}
}
