package cases

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestADiffHasBothTexts rebuilds them from its lines. They are short, so that no equal lines are left out.
func TestADiffHasBothTexts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	text := func() string {
		var b strings.Builder
		for range 1 + r.IntN(2*diffContext) {
			fmt.Fprintln(&b, r.IntN(4))
		}
		return b.String()
	}
	for range 1000 {
		want, got := text(), text()
		diff := lineDiff(want, got)
		if (diff == "") != (want == got) {
			t.Fatalf("%q and %q: %q", want, got, diff)
		}
		if diff == "" {
			continue
		}
		var was, came strings.Builder
		for line := range strings.Lines(diff) {
			if line[0] != '+' {
				was.WriteString(line[2:])
			}
			if line[0] != '-' {
				came.WriteString(line[2:])
			}
		}
		if !strings.Contains(want, was.String()) || !strings.Contains(got, came.String()) {
			t.Fatalf("from %q to %q the diff is\n%s", want, got, diff)
		}
	}
}

func TestADiffLeavesOutWhatIsFarFromADifference(t *testing.T) {
	var lines []string
	for i := range 40 {
		lines = append(lines, fmt.Sprint(i))
	}
	other := slices.Clone(lines)
	other[10], other[30] = "ten", "thirty"
	got := lineDiff(strings.Join(lines, "\n"), strings.Join(other, "\n"))
	want := "  7\n  8\n  9\n- 10\n+ ten\n  11\n  12\n  13\n  …\n  27\n  28\n  29\n- 30\n+ thirty\n  31\n  32\n  33\n"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestLongTextsAreNotCompared: the table would take too much memory.
func TestLongTextsAreNotCompared(t *testing.T) {
	a, b := strings.Repeat("a\n", 3000), strings.Repeat("b\n", 3000)
	if got := lineDiff(a, b); strings.Count(got, "- a\n") != 3000 || strings.Count(got, "+ b\n") != 3000 {
		t.Errorf("%d bytes", len(got))
	}
}
