package upkeep

import (
	"fmt"
	"strings"

	"personasync/agent"
	"personasync/cli/internal/term"
)

// PrintFindings prints the findings of the doctor, each with what to do.
func PrintFindings(w *term.Terminal, findings []agent.Finding) error {
	paint := map[string]func(string) string{"ok": w.Paint.Green, "warn": w.Paint.Yellow, "fail": w.Paint.Red, "skip": w.Paint.Dim}
	const margin = 19
	hang := "\n" + strings.Repeat(" ", margin)
	for _, f := range findings {
		var lines []string // several, of a file with several faults
		for line := range strings.SplitSeq(f.Message, "\n") {
			lines = append(lines, w.Beside(w.Typed(term.Plain(line)), margin))
		}
		text := strings.Join(lines, hang)
		if f.Do != "" {
			text += hang + w.Beside("→ "+w.Typed(term.Plain(f.Do)), margin)
		}
		if _, err := fmt.Fprintf(w.Out, "%s  %-12s %s\n", paint[f.State](fmt.Sprintf("%-4s", f.State)), f.Check, text); err != nil {
			return err
		}
	}
	return nil
}
