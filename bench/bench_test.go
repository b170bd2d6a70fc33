//go:build linux

package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"personasync/bench/internal/figures"
)

func TestVerdict(t *testing.T) {
	for want, g := range map[string]goal{
		"ok":           {figure: 2, bound: 1, least: true},
		"short":        {figure: 2, bound: 1},
		"not measured": {figure: math.NaN(), bound: 1},
	} {
		if got := g.verdict(); got != want {
			t.Errorf("%+v is %s, want %s", g, got, want)
		}
	}
}

func TestThePageIsWholeWhateverWasMeasured(t *testing.T) {
	b := &bench{book: make(figures.Book), options: options{sizes: fullSizes, reps: 5, long: 3}, began: time.Now(), home: t.TempDir()}
	b.notice("something was not as usual")
	page, err := page(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"not measured", "something was not as usual", "SQLite", "≥ 60,000"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestReadOptions(t *testing.T) {
	o, err := readOptions([]string{"-quick", "-only", "ack,drain"})
	if err != nil || o.reps != 1 || o.sizes.Drain != quickSizes.Drain || len(o.only) != 2 || o.out != "" {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := readOptions(nil); err != nil || o.out == "" || o.long != 3 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range [][]string{{"-only", "nothing"}, {"-reps", "0"}, {"stray"}} {
		if _, err := readOptions(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestCountCalls(t *testing.T) {
	const summary = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 99.90    0.123456         123       997         1 fdatasync
  0.10    0.000123          41         3           fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.123579         123      1000         1 total
`
	if got := countCalls(summary); got != 1000 {
		t.Errorf("%d calls, want 1000", got)
	}
}
