package command

import (
	"flag"
	"slices"
	"strconv"
	"strings"
	"testing"

	urfave "github.com/urfave/cli/v2"

	"personasync/cli/internal/term"
)

// list prints up to n of the first total numbers, as JSON or as a table.
func list(t *testing.T, total, n int, json bool) (out, remarks string, asked []int) {
	t.Helper()
	set := flag.NewFlagSet("list", flag.ContinueOnError)
	set.Bool("json", json, "")
	var written, said strings.Builder
	next := 0
	l := Listing[int]{Columns: []term.Column{{Title: "N"}}, Row: func(i int) []string { return []string{strconv.Itoa(i)} }}
	l.Fetch = func(want int) (page []int, more bool, err error) {
		asked = append(asked, want)
		for ; len(page) < want && next < total; next++ {
			page = append(page, next)
		}
		return page, next < total, nil
	}
	l.Empty = func() error { said.WriteString("empty\n"); return nil }
	w := &term.Terminal{Out: &written, Err: &said}
	if err := l.Print(w, urfave.NewContext(nil, set, nil), n); err != nil {
		t.Fatal(err)
	}
	return written.String(), said.String(), asked
}

func TestAListingAsksForPagesUntilItHasEnough(t *testing.T) {
	for _, c := range []struct {
		name     string
		total, n int
		asked    []int
		rows     int
		remarks  string
	}{
		{"all on a page", 3, 10, []int{10}, 3, ""},
		{"exactly as many", 3, 3, []int{3}, 3, ""},
		{"more than asked for", 5, 3, []int{3}, 3, "these are the first 3: --limit shows more\n"},
		{"several pages", 1200, 1100, []int{500, 500, 100}, 1100, "these are the first 1100: --limit shows more\n"},
		{"none", 0, 10, []int{10}, 0, "none\nempty\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, remarks, asked := list(t, c.total, c.n, false)
			lines := strings.Count(out, "\n")
			if want := c.rows + min(c.rows, 1); lines != want {
				t.Errorf("%d lines with the titles, want %d", lines, want)
			}
			if remarks != c.remarks || !slices.Equal(asked, c.asked) {
				t.Errorf("it said %q and asked for %v, want %q and %v", remarks, asked, c.remarks, c.asked)
			}
		})
	}
}

func TestAnEmptyListingIsAnEmptyArray(t *testing.T) {
	if out, remarks, _ := list(t, 0, 10, true); out != "[]\n" || remarks != "empty\n" {
		t.Errorf("it wrote %q and said %q", out, remarks)
	}
	if out, _, _ := list(t, 2, 10, true); out != "[\n  0,\n  1\n]\n" {
		t.Errorf("two numbers are %q", out)
	}
}
