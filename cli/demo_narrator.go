package cli

import (
	"fmt"
	"strings"
	"time"

	"personasync/sync/sandbox"
)

// narrator prints the demo, one line an event, each with the seconds since the beginning.
type narrator struct {
	*terminal
	started time.Time
	acts    int
}

func newNarrator(w *terminal) *narrator {
	return &narrator{terminal: w, started: time.Now()}
}

func (n *narrator) printf(format string, args ...any) { fmt.Fprintf(n.out, format, args...) }

func (n *narrator) title(text string) { n.printf("%s\n\n", n.paint.bold(text)) }

func (n *narrator) fact(name, format string, args ...any) {
	n.printf("   %-9s %s\n", name, fmt.Sprintf(format, args...))
}

// act begins a chapter.
func (n *narrator) act(text string) {
	n.acts++
	n.printf("\n%s %s\n", n.paint.bold(fmt.Sprintf("%d.", n.acts)), n.paint.bold(text))
}

func (n *narrator) line(name, format string, args ...any) {
	n.printf("   %s  %-9s %s\n", n.clock(), name, fmt.Sprintf(format, args...))
}

// block prints lines as they are, behind the margin.
func (n *narrator) block(text string) {
	n.printf("   %s\n", strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n   "))
}

func (n *narrator) clock() string {
	return n.paint.dim(fmt.Sprintf("%5.2fs", time.Since(n.started).Seconds()))
}

// delivered tells of one event of Segment and what became of it.
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
		return n.paint.green(v.word)
	case exits.word:
		return n.paint.cyan(v.word)
	case isParked.word:
		return n.paint.yellow(v.word)
	case repeats.word, isStale.word:
		return n.paint.dim(v.word)
	}
	return n.paint.red(v.word)
}

// outbox draws how much waits.
func (n *narrator) outbox(pending uint64) string {
	if pending == 0 {
		return ""
	}
	bar := strings.Repeat("▪", int(min(pending, 10)))
	return "  " + n.paint.yellow(bar) + n.paint.dim(fmt.Sprintf(" %d wait", pending))
}

// request tells of one request that MoEngage got.
func (n *narrator) request(r sandbox.Request) {
	answer := n.paint.green(fmt.Sprint(r.Status))
	if !r.Stored {
		answer = n.paint.red(fmt.Sprint(r.Status))
	}
	n.line("MoEngage", "%s %s: %s, %s, %s bytes", answer, r.Path, plural(r.Users, "user"), plural(r.Events, "event"), count(r.Bytes))
}

// requests tells of those that MoEngage got since the last time.
func (s *story) requests() {
	all := s.box.Requests()
	if n := s.refusals(); n > 0 {
		s.line("MoEngage", "%s", s.paint.dim(fmt.Sprintf("had answered 503 to %s", plural(n, "request"))))
	}
	for _, r := range all[s.sent:] {
		if r.Stored {
			s.request(r)
		}
	}
	s.sent = len(all)
}
