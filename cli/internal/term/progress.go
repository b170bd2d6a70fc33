package term

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Bar shows the progress of a long operation on a terminal: share, speed, and remaining time. Without a terminal it
// prints nothing. It draws on standard error, so that it is not part of the output.
//
//	[##########..........]  52 %  340.2 MiB of 654.1 MiB  113.4 MiB/s  3 s left
type Bar struct {
	w     io.Writer // nil: print nothing
	now   func() time.Time
	begun time.Time
	drawn time.Time
	width int // of the last line drawn
	Unit  func(int64) string
}

const (
	redraw   = 100 * time.Millisecond
	barWidth = 20
)

// Tell reports how much is done.
func (p *Bar) Tell(done, total int64) {
	if p.w == nil || total <= 0 {
		return
	}
	now := p.now()
	if p.begun.IsZero() {
		p.begun = now
	}
	if now.Sub(p.drawn) < redraw {
		return
	}
	p.drawn = now
	p.draw(p.line(min(done, total), total, now.Sub(p.begun)))
}

func (p *Bar) line(done, total int64, took time.Duration) string {
	full := int(barWidth * done / total)
	line := fmt.Sprintf("[%s%s] %3d %%  %s of %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full),
		100*done/total, p.Unit(done), p.Unit(total))
	if took < time.Second || done == 0 {
		return line // too early to tell
	}
	rate := float64(done) / took.Seconds()
	return line + fmt.Sprintf("  %s/s  %s left", p.Unit(int64(rate)), Ago(int64(float64(total-done)/rate)))
}

func (p *Bar) draw(line string) {
	fmt.Fprintf(p.w, "\r%-*s", p.width, line)
	p.width = len(line)
}

// Next begins a bar for another part of the work, with another unit.
func (p *Bar) Next(unit func(n int64) string) {
	p.End()
	p.begun, p.drawn, p.Unit = time.Time{}, time.Time{}, unit
}

// End removes the bar. The next line of output reports the result.
func (p *Bar) End() {
	if p.width > 0 {
		fmt.Fprintf(p.w, "\r%*s\r", p.width, "")
		p.width = 0
	}
}
