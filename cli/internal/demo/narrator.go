package demo

import (
	"fmt"
	"strings"
	"time"

	"personasync/cli/internal/term"
	"personasync/sync/sandbox"
)

// narrator prints the demo, one line an event, with the seconds since the beginning.
type narrator struct {
	*term.Terminal
	started time.Time
	acts    int
}

func newNarrator(w *term.Terminal) *narrator {
	return &narrator{Terminal: w, started: time.Now()}
}

func (n *narrator) printf(format string, args ...any) { fmt.Fprintf(n.Out, format, args...) }

func (n *narrator) title(text string) { n.printf("%s\n\n", n.Paint.Bold(text)) }

func (n *narrator) fact(name, format string, args ...any) {
	n.printf("   %-9s %s\n", name, fmt.Sprintf(format, args...))
}

// act begins a chapter.
func (n *narrator) act(text string) {
	n.acts++
	n.printf("\n%s %s\n", n.Paint.Bold(fmt.Sprintf("%d.", n.acts)), n.Paint.Bold(text))
}

func (n *narrator) line(name, format string, args ...any) {
	n.printf("   %s  %-9s %s\n", n.clock(), name, fmt.Sprintf(format, args...))
}

// block prints lines unchanged, after the margin.
func (n *narrator) block(text string) {
	n.printf("   %s\n", strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n   "))
}

func (n *narrator) clock() string {
	return n.Paint.Dim(fmt.Sprintf("%5.2fs", time.Since(n.started).Seconds()))
}

// delivered prints one event of Segment and its outcome.
func (n *narrator) delivered(d *delivery, v verdict, pending uint64) {
	stated := "no flag"
	if d.value != nil {
		stated = fmt.Sprint(d.value)
	}
	n.printf("   %s  %-9s %-12s %-20s %-8s %s\n", n.clock(), d.call, d.user, d.key, stated, n.verdict(v)+n.outbox(pending))
}

func (n *narrator) verdict(v verdict) string {
	switch v.word {
	case enters.word, changes.word:
		return n.Paint.Green(v.word)
	case exits.word:
		return n.Paint.Cyan(v.word)
	case isParked.word:
		return n.Paint.Yellow(v.word)
	case repeats.word, isStale.word:
		return n.Paint.Dim(v.word)
	}
	return n.Paint.Red(v.word)
}

// outbox draws the number of pending changes.
func (n *narrator) outbox(pending uint64) string {
	if pending == 0 {
		return ""
	}
	bar := strings.Repeat("▪", int(min(pending, 10)))
	return "  " + n.Paint.Yellow(bar) + n.Paint.Dim(fmt.Sprintf(" %d wait", pending))
}

// request prints one request that MoEngage received.
func (n *narrator) request(r sandbox.Request) {
	answer := n.Paint.Green(fmt.Sprint(r.Status))
	if !r.Stored {
		answer = n.Paint.Red(fmt.Sprint(r.Status))
	}
	n.line("MoEngage", "%s %s: %s, %s, %s bytes", answer, r.Path, term.Plural(r.Users, "user"), term.Plural(r.Events, "event"), term.Count(r.Bytes))
}
