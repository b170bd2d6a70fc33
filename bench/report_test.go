//go:build linux

package main

import (
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestBook(t *testing.T) {
	b := make(book)
	for i, v := range []float64{4, 1, 3} {
		b.add("a", v)
		b.add("b", float64(i+1))
	}
	if got := b.median("a"); got != 3 {
		t.Errorf("median %v, want 3", got)
	}
	if got := b.ratio("a", "b"); got != 1 { // of 4, 0.5 and 1
		t.Errorf("ratio %v, want 1", got)
	}
	if got := b.ratio("a", "nothing"); !math.IsNaN(got) {
		t.Errorf("ratio to nothing is %v", got)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0.1234: "0.123", 1: "1", 12.34: "12.3", 1234: "1,234", 12345.6: "12,346", 1_000_001: "1,000,001", 123.4: "123", math.NaN(): "–",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %s, want %s", v, got, want)
		}
	}
}

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
	b := &bench{book: make(book), options: options{sizes: fullSizes, reps: 5, long: 3}, began: time.Now(), home: t.TempDir()}
	b.notice("something was not as usual")
	page, err := b.page()
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

func TestCommitterAnswersEverybody(t *testing.T) {
	odd := errors.New("a group with an odd one")
	c := newCommitter(func(items []int) error {
		for _, i := range items {
			if i%2 == 1 {
				return odd
			}
		}
		return nil
	})
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if err := c.submit(t.Context(), i); i%2 == 1 && !errors.Is(err, odd) {
				t.Errorf("submit(%d): %v", i, err)
			}
		})
	}
	all.Wait()
	c.close()
}
