package cli

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"
)

func printTable(t *testing.T, sh *shell, wide bool, pages ...[][]string) string {
	t.Helper()
	table := sh.newTable(wide, column{title: "ID"}, column{title: "USER", flexible: true}, column{title: "WHY", flexible: true}, column{title: "N", right: true})
	for _, rows := range pages {
		if err := table.print(rows); err != nil {
			t.Fatal(err)
		}
	}
	return sh.out.(*strings.Builder).String()
}

func TestTableLinesUp(t *testing.T) {
	got := printTable(t, testShell(), false,
		[][]string{{"1", "ann", "", "7"}, {"22", "bob", "http_503", "1,000"}},
		[][]string{{"3", "a later page", "stays in line", "5"}})
	want := `ID  USER  WHY           N
1   ann                 7
22  bob   http_503  1,000
3   a l…  stays i…      5
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestTableFitsUnlessItIsToBeWide(t *testing.T) {
	long := [][]string{{"id", strings.Repeat("ü", 300), strings.Repeat("y", 60), "1"}}
	for _, line := range strings.Split(printTable(t, testShell(), false, long), "\n") {
		if n := utf8.RuneCountInString(line); n > tableWidth {
			t.Errorf("a line of %d columns", n)
		}
	}
	if got := printTable(t, testShell(), true, long); !strings.Contains(got, long[0][1]) {
		t.Error("the wide table is cut")
	}
}

func TestCharactersThatTakeTwoColumnsFitToo(t *testing.T) {
	wide := [][]string{{"id", strings.Repeat("会員", 60), strings.Repeat("한국", 40), "1"}, {"id", "e\u0301va", "🙂🙂", "22"}}
	lines := strings.Split(strings.TrimSpace(printTable(t, testShell(), false, wide)), "\n")
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
	if got := printTable(t, testShell(), false, nil); got != "" {
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
		if code := sh.report(err); code != ExitDone {
			t.Errorf("%v ended with %d", err, code)
		}
	}
	if said := sh.err.(*strings.Builder).String(); said != "" {
		t.Errorf("it said %q", said)
	}
}
