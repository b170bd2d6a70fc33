package cases

import "strings"

// diffContext is how many equal lines stand around a difference.
const diffContext = 3

// lineDiff returns the lines of two texts, each after "-" if only want has it, "+" if only got has it, and a blank if both
// do. Equal lines far from a difference are left out. It is "" for equal texts.
func lineDiff(want, got string) string {
	if want == got {
		return ""
	}
	a, b := strings.Split(strings.TrimSuffix(want, "\n"), "\n"), strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	end := 0
	for end < len(a)-start && end < len(b)-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	var out []string
	for _, line := range a[max(0, start-diffContext):start] {
		out = append(out, "  "+line)
	}
	out = append(out, shortened(between(a[start:len(a)-end], b[start:len(b)-end]))...)
	for _, line := range a[len(a)-end : len(a)-end+min(end, diffContext)] {
		out = append(out, "  "+line)
	}
	return strings.Join(out, "\n") + "\n"
}

// diffMost bounds the table of between. Longer texts are shown whole.
const diffMost = 4 << 20

// between returns the shortest way from a to b, by the longest common subsequence.
func between(a, b []string) (out []string) {
	if len(a)*len(b) > diffMost {
		return append(prefixed("- ", a), prefixed("+ ", b)...)
	}
	common := make([][]int, len(a)+1) // the length of it in a[i:] and b[j:]
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if common[i][j] = max(common[i+1][j], common[i][j+1]); a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			out = append(out, "  "+a[i])
			i, j = i+1, j+1
		case common[i+1][j] >= common[i][j+1]:
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	return append(append(out, prefixed("- ", a[i:])...), prefixed("+ ", b[j:])...)
}

func prefixed(mark string, lines []string) (out []string) {
	for _, line := range lines {
		out = append(out, mark+line)
	}
	return out
}

// shortened leaves out the middle of long runs of equal lines.
func shortened(lines []string) (out []string) {
	for i := 0; i < len(lines); {
		run := i
		for run < len(lines) && lines[run][0] == ' ' {
			run++
		}
		if run-i > 2*diffContext {
			out = append(append(append(out, lines[i:i+diffContext]...), "  …"), lines[run-diffContext:run]...)
			i = run
			continue
		}
		out = append(out, lines[i:max(run, i+1)]...)
		i = max(run, i+1)
	}
	return out
}
